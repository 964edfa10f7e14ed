"""What a person can do with their categories. Every change of the tree's shape is made under the person's lock."""

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from app.core.db import new_id
from app.ledger.budgets.alerts import record_crossings
from app.ledger.budgets.collisions import collisions, listed
from app.ledger.categories.errors import BudgetsCollide, CategoryInUse, CategoryReadOnly
from app.ledger.categories.models import Category
from app.ledger.categories.system import system_categories
from app.ledger.categories.tree import Branch, check_heir
from app.ledger.categories.usage import Usage
from app.ledger.checks import checked_texts, id_problem
from app.ledger.errors import FieldsInvalid
from app.ledger.history import differences
from app.ledger.owned import once_more
from app.unit_of_work import UnitOfWork

CheckVersion = Callable[[datetime], None]

_LONGEST = {"name": 80, "icon": 40, "color": 7}
_CHANGEABLE = {"name", "parent_id", "icon", "color"}
_COLOR = re.compile(r"#[0-9A-Fa-f]{6}")
_SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True, slots=True)
class Dependants:
    """What depends on a category: live transactions, budgets, and categories directly under it."""

    transactions: int
    budgets: int
    children: int

    @property
    def any(self) -> bool:
        """Whether there is anything."""
        return bool(self.transactions or self.budgets or self.children)


def get_category(uow: UnitOfWork, *, owner_id: UUID, category_id: UUID) -> Category:
    """One category, of the person's or of the system. Raises CategoryNotFound."""
    with uow:
        return uow.categories.get_visible(category_id, owner_id=owner_id)


def list_category_tree(uow: UnitOfWork, *, owner_id: UUID) -> list[Branch]:
    """All that the person sees, each with those under it. There are few enough for one page."""
    system = system_categories(uow)
    with uow:
        return uow.categories.tree(owner_id, system=system).branches()


def count_usage(uow: UnitOfWork, *, owner_id: UUID) -> Mapping[UUID, Usage]:
    """How much each category is used; those that are not used at all are left out."""
    with uow:
        return uow.spending.usage(owner_id)


@once_more
def create_category(
    uow: UnitOfWork,
    *,
    owner_id: UUID,
    name: str,
    parent_id: UUID | None = None,
    icon: str | None = None,
    color: str | None = None,
) -> Category:
    """Make a category, perhaps under one of the system.

    Raises FieldsInvalid, CategoryNotFound (for the parent), CategoryNameTaken, CategoryTooDeep.
    """
    fields = _checked({"name": name, "parent_id": parent_id, "icon": icon, "color": color})
    with uow:
        uow.categories.lock_tree(owner_id)
        category = Category(id=new_id(), user_id=owner_id, is_system=False, **fields)
        uow.categories.tree(owner_id).check_place(category.id, parent_id)
        uow.categories.add(category)
        uow.audit.record("category.created", category, changes=differences({}, category.as_dict()))
        uow.commit()
    return category


@once_more
def change_category(
    uow: UnitOfWork,
    *,
    owner_id: UUID,
    category_id: UUID,
    changes: Mapping[str, Any],
    check_version: CheckVersion | None = None,
) -> Category:
    """Rename it, move it under another parent, change its icon or its colour.

    `check_version` raises Stale under the row's lock. Raises CategoryNotFound, CategoryReadOnly, FieldsInvalid,
    CategoryNameTaken, CategoryCycle, CategoryTooDeep.
    """
    if unknown := set(changes) - _CHANGEABLE:
        raise FieldsInvalid(errors={name: ["Cannot be changed."] for name in sorted(unknown)})
    new = _checked(changes)
    with uow:
        uow.categories.lock_tree(owner_id)
        category = uow.categories.get_own_for_update(category_id, owner_id=owner_id)
        if check_version:
            check_version(category.updated_at)
        before, old_parent_id = category.as_dict(), category.parent_id
        moved = "parent_id" in new and new["parent_id"] != old_parent_id
        if moved:
            uow.categories.tree(owner_id).check_place(category_id, new["parent_id"])
        uow.categories.update(category, new)
        if changed := differences(before, category.as_dict()):
            uow.audit.record("category.changed", category, changes=changed)
            if moved:
                record_crossings(uow, owner_id=owner_id, category_ids=_given(category_id, old_parent_id), silent=True)
            uow.commit()
    return category


@once_more
def delete_category(
    uow: UnitOfWork,
    *,
    owner_id: UUID,
    category_id: UUID,
    replacement_id: UUID | None = None,
    uncategorise: bool = False,
    check_version: CheckVersion | None = None,
) -> None:
    """Delete it, and say what becomes of what depends on it.

    With a replacement, its transactions, its budgets and the categories under it all go there. With `uncategorise`,
    its transactions lose their category, its budgets are deleted, and the categories under it move up to its parent.

    Raises CategoryInUse when something depends on it and neither is given; CategoryNotFound, CategoryReadOnly,
    CategoryCycle for a replacement that lies under it, CategoryTooDeep, CategoryNameTaken, BudgetsCollide.
    """
    if replacement_id is not None and uncategorise:
        raise FieldsInvalid(errors={"uncategorise": ["Cannot be given together with replacement_id."]})
    with uow:
        uow.categories.lock_tree(owner_id)
        category = uow.categories.get_own_for_update(category_id, owner_id=owner_id)
        if check_version:
            check_version(category.updated_at)
        found = _dependants(uow, category)
        if found.any and replacement_id is None and not uncategorise:
            raise CategoryInUse(
                errors={"transactions": found.transactions, "budgets": found.budgets, "children": found.children}
            )
        heir_id = replacement_id or category.parent_id
        if replacement_id is not None:
            check_heir(uow.categories.tree(owner_id), category_id, replacement_id)
        # The deleted ones go along, so that a restored transaction is like the others.
        moved = uow.spending.move_transactions(owner_id, {category_id: replacement_id})
        budgets = _pass_on_budgets(uow, category, replacement_id)
        uow.categories.remove_with_merged(category, heir_id=heir_id)
        uow.audit.record(
            "category.deleted",
            category,
            changes={name: [value, None] for name, value in category.as_dict().items()},
            replacement_id=str(replacement_id) if replacement_id else None,
            transactions=sum(one.transactions for one in moved.values()),
            budgets=budgets,
        )
        record_crossings(uow, owner_id=owner_id, category_ids=_given(heir_id), silent=True)
        uow.commit()


def _dependants(uow: UnitOfWork, category: Category) -> Dependants:
    owner_id = _owner(category)
    return Dependants(
        transactions=uow.spending.count_transactions(owner_id, category.id),
        budgets=len(uow.budgets.lock_of_categories(owner_id, [category.id])),
        children=uow.categories.count_children(category.id),
    )


def _pass_on_budgets(uow: UnitOfWork, category: Category, heir_id: UUID | None) -> Any:
    """Give the budgets to the heir, or delete them when there is none; returns what the audit row tells of it."""
    owner_id = _owner(category)
    given = [category.id] if heir_id is None else [category.id, heir_id]
    budgets = uow.budgets.lock_of_categories(owner_id, given)
    own = [one for one in budgets if one.category_id == category.id]
    if pairs := collisions(own, [one for one in budgets if one.category_id == heir_id]):
        raise BudgetsCollide(
            "Delete or change one of the budgets first, or merge the categories and say what becomes of both.",
            errors={"budgets": listed(pairs)},
        )
    ids = [one.id for one in own]
    if not ids:
        return None
    if heir_id is None:
        return uow.budgets.take_out(ids, owner_id=owner_id)
    uow.budgets.move_to_category(ids, heir_id, owner_id=owner_id)
    return [str(one) for one in ids]


def _owner(category: Category) -> UUID:
    if category.user_id is None:
        raise CategoryReadOnly
    return category.user_id


def _given(*category_ids: UUID | None) -> Sequence[UUID]:
    return [one for one in category_ids if one is not None]


def _checked(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields in their normal form. Raises FieldsInvalid."""
    fields = dict(fields)
    if isinstance(fields.get("name"), str):
        fields["name"] = " ".join(unicodedata.normalize("NFC", fields["name"]).split())
    checked_texts(fields, _LONGEST, required=("name",))
    problems: dict[str, list[str]] = {}
    if any(unicodedata.category(char) in {"Cc", "Cs"} for char in fields.get("name", "")):
        problems["name"] = ["Must be one line without control characters."]
    if fields.get("icon") is not None and not _SLUG.fullmatch(fields["icon"]):
        problems["icon"] = ["Must be a word such as shopping-cart."]
    if fields.get("color") is not None:
        fields["color"] = fields["color"].upper()
        if not _COLOR.fullmatch(fields["color"]):
            problems["color"] = ["Must be a colour such as #12604A."]
    if fields.get("parent_id") is not None and (problem := id_problem(fields["parent_id"])):
        problems["parent_id"] = [problem]
    if problems:
        raise FieldsInvalid(errors=problems)
    return fields
