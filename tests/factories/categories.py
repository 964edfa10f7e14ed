"""Categories for tests, made as people make them."""

from typing import Any
from uuid import UUID

from app.ledger.categories import merges, service
from app.ledger.categories.models import Category
from app.ledger.categories.tree import Branch
from tests.factories.ledger import uow_of


def new_category(owner_id: UUID, name: str = "Food", **changes: Any) -> Category:
    """A category of the person's own."""
    return service.create_category(uow_of(owner_id), owner_id=owner_id, name=name, **changes)


def new_chain(owner_id: UUID, *names: str) -> list[Category]:
    """Categories one under the other, from the top."""
    chain: list[Category] = []
    for name in names:
        chain.append(new_category(owner_id, name, parent_id=chain[-1].id if chain else None))
    return chain


def change(category: Category, **changes: Any) -> Category:
    """Change a category as its owner."""
    owner_id = _owner(category)
    return service.change_category(uow_of(owner_id), owner_id=owner_id, category_id=category.id, changes=changes)


def delete(category: Category, **choice: Any) -> None:
    """Delete a category as its owner."""
    owner_id = _owner(category)
    service.delete_category(uow_of(owner_id), owner_id=owner_id, category_id=category.id, **choice)


def merge(source: Category, target: Category, **choice: Any) -> merges.Merge:
    """Merge a category into another as its owner."""
    owner_id = _owner(source)
    return merges.merge_categories(
        uow_of(owner_id), owner_id=owner_id, source_id=source.id, target_id=target.id, **choice
    )


def undo(owner_id: UUID, merged: merges.Merge) -> Category:
    """Undo a merge."""
    return merges.undo_merge(uow_of(owner_id), owner_id=owner_id, audit_id=merged.audit_id)


def names_of(branches: list[Branch]) -> dict[str, Any]:
    """A tree by its names."""
    return {one.category.name: names_of(list(one.children)) for one in branches}


def tree_of(owner_id: UUID) -> dict[str, Any]:
    """All that the person sees, by name."""
    return names_of(service.list_category_tree(uow_of(owner_id), owner_id=owner_id))


def _owner(category: Category) -> UUID:
    assert category.user_id is not None
    return category.user_id
