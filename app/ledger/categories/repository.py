"""Every query over categories alone; those that see transactions too are in `app.ledger.spending`."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, CTE, Uuid, column, delete, func, literal, or_, select, update
from sqlalchemy.dialects import postgresql

from app.core.repository import Repository
from app.ledger.categories.errors import CategoryNotFound, CategoryReadOnly
from app.ledger.categories.models import Category
from app.ledger.categories.tree import CategoryTree


class CategoryRepository(Repository[Category]):
    """Categories. Those that were merged into others stay as rows and are not shown."""

    model = Category
    not_found = CategoryNotFound

    def list_system_categories(self) -> Sequence[Category]:
        """The categories that are the same for all."""
        return self._session.scalars(select(Category).where(Category.user_id.is_(None), _LIVE)).all()

    def tree(self, owner_id: UUID, *, system: Iterable[Category] | None = None) -> CategoryTree:
        """All that the person sees, in one statement; `system` are the system's, where they are known already."""
        mine = Category.user_id == owner_id
        seen = mine if system is not None else or_(mine, Category.user_id.is_(None))
        rows = self._session.scalars(
            select(Category).where(seen, _LIVE), execution_options={"populate_existing": True}
        ).all()
        return CategoryTree([*rows, *(system or ())])

    def get_visible(self, category_id: UUID, *, owner_id: UUID) -> Category:
        """A live category of the person's or of the system. Raises CategoryNotFound."""
        found = self.find(category_id)
        if found is None or found.merged_into is not None or found.user_id not in {None, owner_id}:
            raise CategoryNotFound
        return found

    def get_own_for_update(self, category_id: UUID, *, owner_id: UUID) -> Category:
        """The person's own as of now, locked. Raises CategoryNotFound, CategoryReadOnly."""
        if self.get_visible(category_id, owner_id=owner_id).user_id is None:
            raise CategoryReadOnly
        return self.get_for_update(category_id)

    def descendants(self, category_id: UUID) -> CTE:
        """The ids of a category and of every live one below it, to be used in another statement."""
        found = select(Category.id).where(Category.id == category_id).cte("descendants", recursive=True)
        return found.union(select(Category.id).join(found, Category.parent_id == found.c.id).where(_LIVE))

    def lock_tree(self, owner_id: UUID) -> None:
        """Let nobody else change the shape of the person's tree before this transaction ends."""
        key = func.hashtextextended(f"coffer.categories.{owner_id}", 0)
        self._session.execute(select(func.pg_advisory_xact_lock(key)))

    def lock_rows(self, category_ids: Collection[UUID]) -> None:
        """Let nothing new point at these before this transaction ends; what is being written is waited for."""
        self._session.execute(
            select(Category.id).where(Category.id.in_(category_ids)).order_by(Category.id).with_for_update()
        )

    def mark_merged(self, targets: Mapping[UUID, UUID], *, owner_id: UUID) -> None:
        """Note of each category into which it was merged."""
        pairs = _pairs(targets)
        self._session.execute(
            update(Category)
            .where(Category.id == pairs.first, Category.user_id == owner_id)
            .values(merged_into=pairs.second)
            .execution_options(synchronize_session=False)
        )

    def unmark_merged(self, targets: Mapping[UUID, UUID], *, owner_id: UUID) -> int:
        """Make those live again that are still merged into their targets; returns how many."""
        pairs = _pairs(targets)
        return len(
            self._session.scalars(
                update(Category)
                .where(Category.id == pairs.first, Category.merged_into == pairs.second, Category.user_id == owner_id)
                .values(merged_into=None)
                .returning(Category.id)
                .execution_options(synchronize_session=False)
            ).all()
        )

    def move(self, parents: Mapping[UUID, UUID | None], *, owner_id: UUID) -> None:
        """Put each category under its parent. Raises CategoryNameTaken."""
        pairs = _pairs(parents)
        self._session.execute(
            update(Category)
            .where(Category.id == pairs.first, Category.user_id == owner_id)
            .values(parent_id=pairs.second)
            .execution_options(synchronize_session=False)
        )

    def remove_with_merged(self, category: Category, *, heir_id: UUID | None) -> None:
        """Delete the category and the rows of those merged into it; all that lie under these go under the heir.

        Those rows would else come to life again with their mark gone. Raises CategoryNameTaken.
        """
        doomed = select(Category.id).where(Category.id == category.id).cte("doomed", recursive=True)
        doomed = doomed.union(select(Category.id).join(doomed, Category.merged_into == doomed.c.id))
        ids = self._session.scalars(select(doomed.c.id)).all()
        unsynchronised = {"synchronize_session": False}
        self._session.execute(
            update(Category).where(Category.parent_id.in_(ids)).values(parent_id=heir_id),
            execution_options=unsynchronised,
        )
        self._session.execute(delete(Category).where(Category.id.in_(ids)), execution_options=unsynchronised)

    def count_children(self, category_id: UUID) -> int:
        """How many live ones lie directly under this one."""
        return self._session.scalar(select(func.count()).where(Category.parent_id == category_id, _LIVE)) or 0

    def add_missing(self, categories: Sequence[Mapping[str, Any]]) -> int:
        """Insert those whose parents have no child of the same name; returns how many."""
        statement = postgresql.insert(Category).on_conflict_do_nothing().returning(Category.id)
        return len(self._session.scalars(statement, [dict(one) for one in categories]).all())


_LIVE = Category.merged_into.is_(None)


def _pairs(pairs: Mapping[UUID, UUID | None] | Mapping[UUID, UUID]) -> Any:
    """A mapping as rows that a statement can join."""
    sides = [literal(list(side), ARRAY(Uuid())) for side in (pairs, pairs.values())]
    columns = (column("first", Uuid()), column("second", Uuid()))
    return func.unnest(*sides).table_valued(*columns, name="pairs").render_derived().c
