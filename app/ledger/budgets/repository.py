"""Every query over budgets and their alerts; what was spent is asked of `app.ledger.spending`."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import delete, func, insert, literal, or_, select, tuple_, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import InstrumentedAttribute

from app.core.pages import Cursors, Page
from app.core.repository import Repository
from app.ledger.budgets.errors import BudgetNotFound
from app.ledger.budgets.models import Budget, BudgetAlert
from app.ledger.owned import OwnedRepository, owned_by

# What was read before is read again where it matters.
_UNSYNCHRONISED = {"synchronize_session": False}


class BudgetRepository(OwnedRepository[Budget]):
    """Budgets."""

    model = Budget
    not_found = BudgetNotFound
    fields: Mapping[str, InstrumentedAttribute[Any]] = {
        "category_id": Budget.category_id,
        "currency": Budget.currency,
        "period": Budget.period,
        "starts_on": Budget.starts_on,
        "amount": Budget.amount,
    }

    def list_owned(
        self,
        owner_id: UUID,
        cursors: Cursors,
        *,
        category_id: UUID | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[Budget]:
        """The person's budgets, the newest first."""
        query = self.query().also(owned_by(Budget, owner_id), trail=f"owner {owner_id}")
        query = query.where_given(category=("category_id", "eq", category_id))
        return query.page(self._session, cursors, limit=limit, cursor=cursor)

    def list_active(self, owner_id: UUID, on: date) -> Sequence[Budget]:
        """The budgets that the day belongs to, oldest first."""
        return self._session.scalars(
            select(Budget).where(owned_by(Budget, owner_id), *_active(on)).order_by(Budget.id)
        ).all()

    def list_by_category(self, owner_id: UUID, on: date) -> Mapping[UUID, list[Budget]]:
        """The budgets that the day belongs to, by their category."""
        grouped: defaultdict[UUID, list[Budget]] = defaultdict(list)
        for budget in self.list_active(owner_id, on):
            grouped[budget.category_id].append(budget)
        return grouped

    def list_people(self, first: date, last: date, *, after: UUID | None = None, limit: int) -> Sequence[UUID]:
        """Who has a budget with thresholds that one of these days belongs to, in the order of their ids."""
        in_use = or_(Budget.ends_on.is_(None), Budget.ends_on > first)
        people = select(Budget.user_id).distinct().where(Budget.starts_on <= last, in_use)
        people = people.where(func.cardinality(Budget.alert_thresholds) > 0)
        if after is not None:
            people = people.where(Budget.user_id > after)
        return self._session.scalars(people.order_by(Budget.user_id).limit(limit)).all()

    def lock_of_categories(self, owner_id: UUID, category_ids: Collection[UUID]) -> Sequence[Budget]:
        """The budgets of these very categories as of now, locked."""
        return self._session.scalars(
            select(Budget)
            .where(owned_by(Budget, owner_id), Budget.category_id.in_(category_ids))
            .order_by(Budget.id)
            .with_for_update(),
            execution_options={"populate_existing": True},
        ).all()

    def move_to_category(
        self, budget_ids: Collection[UUID], category_id: UUID, *, owner_id: UUID, only_from: UUID | None = None
    ) -> None:
        """Let these budgets be of this category; perhaps only those that are still of a certain other."""
        moved = update(Budget).where(owned_by(Budget, owner_id), Budget.id.in_(budget_ids))
        if only_from is not None:
            moved = moved.where(Budget.category_id == only_from)
        self._session.execute(moved.values(category_id=category_id), execution_options=_UNSYNCHRONISED)

    def change_amount(self, budget_id: UUID, *, owner_id: UUID, old: str, new: str) -> None:
        """Give the budget a new amount if it still has the old one."""
        self._session.execute(
            update(Budget)
            .where(owned_by(Budget, owner_id), Budget.id == budget_id, Budget.amount == Decimal(old))
            .values(amount=Decimal(new)),
            execution_options=_UNSYNCHRONISED,
        )

    def take_out(self, budget_ids: Collection[UUID], *, owner_id: UUID) -> dict[str, list[dict[str, Any]]]:
        """Delete these budgets with their alerts. Returns all of both, for `put_back`."""
        if not budget_ids:
            return {}
        taken = {
            model.__tablename__: self._as_json(model, key.in_(budget_ids), owner_id)
            for model, key in ((Budget, Budget.id), (BudgetAlert, BudgetAlert.budget_id))
        }
        self._session.execute(
            delete(Budget).where(owned_by(Budget, owner_id), Budget.id.in_(budget_ids)),
            execution_options=_UNSYNCHRONISED,
        )
        return taken

    def put_back(self, taken: Mapping[str, list[dict[str, Any]]], *, owner_id: UUID) -> None:
        """Insert again, to the last column, what `take_out` returned."""
        for model in (Budget, BudgetAlert):
            rows = [row for row in taken.get(model.__tablename__, []) if row["user_id"] == str(owner_id)]
            if rows:
                self._insert_json(model, rows)

    def _as_json(self, model: type[Any], which: Any, owner_id: UUID) -> list[dict[str, Any]]:
        row = func.to_jsonb(model.__table__.table_valued())
        return list(self._session.scalars(select(row).where(owned_by(model, owner_id), which).order_by(model.id)))

    def _insert_json(self, model: type[Any], rows: list[dict[str, Any]]) -> None:
        # The columns that the rows have: one that was added since keeps its default.
        columns = [one for one in model.__table__.columns if one.name in rows[0]]
        document = literal(rows, postgresql.JSONB)
        typed = func.jsonb_to_recordset(document).table_valued(*columns, name="given").render_derived(with_types=True)
        self._session.execute(insert(model).from_select([one.name for one in columns], select(typed)))


class BudgetAlertRepository(Repository[BudgetAlert]):
    """The memory of thresholds that were crossed."""

    model = BudgetAlert

    def list_of_periods(self, owner_id: UUID, periods: Iterable[tuple[UUID, date]]) -> Sequence[BudgetAlert]:
        """What was crossed in these periods of budgets, in the order of the percentages."""
        return self._session.scalars(
            select(BudgetAlert)
            .where(
                owned_by(BudgetAlert, owner_id),
                tuple_(BudgetAlert.budget_id, BudgetAlert.period_start).in_(list(periods)),
            )
            .order_by(BudgetAlert.percent)
        ).all()

    def list_due(self, owner_id: UUID) -> Sequence[BudgetAlert]:
        """The alerts whose message was asked for and has not been sent."""
        return self._session.scalars(
            select(BudgetAlert)
            .where(owned_by(BudgetAlert, owner_id), ~BudgetAlert.silent, BudgetAlert.notified_at.is_(None))
            .order_by(BudgetAlert.id)
        ).all()

    def add_new(self, alerts: Sequence[Mapping[str, Any]]) -> Sequence[BudgetAlert]:
        """Insert those that are not there; returns them. Of two who try at once, one gets the row."""
        if not alerts:
            return []
        statement = postgresql.insert(BudgetAlert).on_conflict_do_nothing(
            index_elements=["budget_id", "period_start", "percent"]
        )
        return self._session.scalars(statement.returning(BudgetAlert), [dict(one) for one in alerts]).all()

    def remove_all(self, alert_ids: Collection[UUID], *, owner_id: UUID) -> None:
        """Forget these."""
        self._session.execute(delete(BudgetAlert).where(owned_by(BudgetAlert, owner_id), BudgetAlert.id.in_(alert_ids)))

    def mark_loud(self, alert_ids: Collection[UUID]) -> None:
        """Note that a message goes out for these."""
        self._session.execute(
            update(BudgetAlert).where(BudgetAlert.id.in_(alert_ids)).values(silent=False),
            execution_options=_UNSYNCHRONISED,
        )

    def mark_notified(self, alert_id: UUID) -> None:
        """Note that the message was sent."""
        self._session.execute(update(BudgetAlert).where(BudgetAlert.id == alert_id).values(notified_at=func.now()))


def _active(on: date) -> tuple[Any, ...]:
    return Budget.starts_on <= on, or_(Budget.ends_on.is_(None), Budget.ends_on > on)
