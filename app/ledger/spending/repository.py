"""The queries that see transactions, categories and budgets together: what categories are used for, what was spent.

A part of its own, which nothing but the unit of work imports: transactions tell budgets of what they changed, and
budgets ask what was spent, and this keeps those two from importing each other.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    CTE,
    ColumnElement,
    Date,
    Integer,
    LargeBinary,
    String,
    Table,
    TableValuedAlias,
    Uuid,
    and_,
    any_,
    column,
    func,
    literal,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.orm import Session, aliased

from app.ledger.budgets.models import Budget
from app.ledger.budgets.progress import ZERO, PeriodSum, Sums, WantedPeriod
from app.ledger.categories.models import Category
from app.ledger.categories.usage import Figures, Usage
from app.ledger.owned import owned_by
from app.ledger.transactions.models import Transaction

# The table itself: deletion is said here, in the words of the index.
_table: Table = Transaction.__table__  # type: ignore[assignment]
_transactions = _table.c


class Moved(NamedTuple):
    """The transactions that left a category: how many, and their ids as `packed_ids` writes them."""

    transactions: int
    packed_ids: str


class SpendingRepository:
    """What was spent, on which categories and against which budgets."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def by_period(self, owner_id: UUID, wanted: Iterable[WantedPeriod]) -> Sums:
        """What was spent in each of these periods, in one statement; periods without transactions are left out.

        Each period is one look into the index by person, categories and dates: no row is read for nothing, and the
        arithmetic of periods stands in one place.
        """
        rows = list(wanted)
        if not rows:
            return {}
        budget_ids, category_ids, currencies, numbers, starts, ends = zip(*rows, strict=True)
        periods = _rows(
            "periods",
            budget_id=(budget_ids, Uuid()),
            category_id=(category_ids, Uuid()),
            currency=(currencies, String()),
            number=(numbers, Integer()),
            start=(starts, Date()),
            end=(ends, Date()),
        ).c
        reach = _reach(owner_id, set(category_ids))
        ids = func.array_agg(reach.c.id, type_=ARRAY(Uuid())).label("ids")
        groups = select(reach.c.root, ids).group_by(reach.c.root).cte("groups")
        spent = -_transactions.amount
        sums = (
            select(
                func.coalesce(func.sum(spent).filter(~_transactions.pending), ZERO).label("spent"),
                func.coalesce(func.sum(spent).filter(_transactions.pending), ZERO).label("pending_spent"),
            )
            .where(
                *_live(owner_id),
                _transactions.category_id == any_(groups.c.ids),
                _transactions.booked_on >= periods.start,
                _transactions.booked_on < periods.end,
                _transactions.currency == periods.currency,
                _transactions.transfer_id.is_(None),
            )
            .having(func.count() > 0)
            .lateral("sums")
        )
        statement = (
            select(periods.budget_id, periods.number, sums.c.spent, sums.c.pending_spent)
            .join(groups, groups.c.root == periods.category_id)
            .join(sums, literal(value=True))
        )
        return {
            (budget_id, number): PeriodSum(booked, pending)
            for budget_id, number, booked, pending in self._session.execute(statement)
        }

    def lock_budgets(self, owner_id: UUID, category_ids: Collection[UUID] | None = None) -> Sequence[Budget]:
        """The budgets that see these categories, or all of the person's, as of now; locked in the order of their ids.

        A budget sees its category and those below: these are the budgets of the categories and of those above.
        """
        budgets = select(Budget).where(owned_by(Budget, owner_id)).order_by(Budget.id).with_for_update(of=Budget)
        if category_ids is not None:
            budgets = budgets.where(Budget.category_id.in_(select(_above(category_ids).c.id)))
        return self._session.scalars(budgets, execution_options={"populate_existing": True}).all()

    def usage(self, owner_id: UUID) -> dict[UUID, Usage]:
        """How much each category of the person and of the system is used, by itself and with those below; one query.

        Pending transactions and transfers count too; categories that are not used are left out.
        """
        reach = _reach(owner_id)
        of_one = (
            select(
                _transactions.category_id,
                _transactions.currency,
                func.count().label("count"),
                func.sum(_transactions.amount).label("total"),
                func.min(_transactions.booked_on).label("first_on"),
                func.max(_transactions.booked_on).label("last_on"),
            )
            .where(*_live(owner_id), _transactions.category_id.is_not(None))
            .group_by(_transactions.category_id, _transactions.currency)
            .cte("of_one")
        )
        itself = reach.c.id == reach.c.root
        found: dict[UUID, tuple[list[Figures], list[Figures]]] = defaultdict(lambda: ([], []))
        statement = (
            select(reach.c.root, itself, *of_one.c)
            .join(of_one, of_one.c.category_id == reach.c.id)
            .order_by(of_one.c.currency)
        )
        for root, is_itself, _, currency, count, total, first_on, last_on in self._session.execute(statement):
            figures = Figures(currency, count, total, first_on, last_on)
            own, whole = found[root]
            whole.append(figures)
            if is_itself:
                own.append(figures)
        return {root: Usage.of(own, whole) for root, (own, whole) in found.items()}

    def count_transactions(self, owner_id: UUID, category_id: UUID) -> int:
        """How many live transactions have this very category."""
        statement = select(func.count()).where(*_live(owner_id), _transactions.category_id == category_id)
        return self._session.scalar(statement) or 0

    def move_transactions(self, owner_id: UUID, targets: Mapping[UUID, UUID | None]) -> dict[UUID, Moved]:
        """Give the transactions of each category its target, the deleted ones too; one statement for all.

        The ids come back packed, so that not one of them is handled here.
        """
        pairs = _rows("pairs", source=(list(targets), Uuid()), target=(list(targets.values()), Uuid())).c
        moved = (
            update(_table)
            .where(_transactions.user_id == owner_id, _transactions.category_id == pairs.source)
            .values(category_id=pairs.target, updated_at=func.now())
            .returning(_transactions.id, pairs.source)
            .cte("moved")
        )
        joined = func.string_agg(
            func.uuid_send(moved.c.id), aggregate_order_by(literal(b"", LargeBinary()), moved.c.id)
        )
        statement = select(moved.c.source, func.count(), func.encode(joined, "base64")).group_by(moved.c.source)
        return {source: Moved(count, packed) for source, count, packed in self._session.execute(statement)}

    def take_back_transactions(self, owner_id: UUID, ids: Sequence[UUID], *, source: UUID, target: UUID) -> int:
        """Give those of the transactions that still have the target its source again; returns how many."""
        taken = (
            update(_table)
            .where(
                _transactions.user_id == owner_id,
                _transactions.id == any_(literal(list(ids), ARRAY(Uuid()))),
                _transactions.category_id == target,
            )
            .values(category_id=source, updated_at=func.now())
            .returning(_transactions.id)
            .cte("taken")
        )
        return self._session.scalar(select(func.count()).select_from(taken)) or 0


def _live(owner_id: UUID) -> tuple[ColumnElement[bool], ...]:
    return _transactions.user_id == owner_id, _transactions.deleted_at.is_(None)


def _visible(category: Any, owner_id: UUID) -> ColumnElement[bool]:
    """A live category of the person or of the system; a job may see everybody's."""
    return and_(or_(category.user_id == owner_id, category.user_id.is_(None)), category.merged_into.is_(None))


def _reach(owner_id: UUID, roots: Collection[UUID] | None = None) -> CTE:
    """Each of these categories, or each that the person sees, with itself and every one below it."""
    first = select(Category.id.label("root"), Category.id.label("id")).where(_visible(Category, owner_id))
    if roots is not None:
        first = first.where(Category.id == any_(literal(list(roots), ARRAY(Uuid()))))
    reach = first.cte("reach", recursive=True)
    child = aliased(Category)
    below = select(reach.c.root, child.id).join(child, child.parent_id == reach.c.id)
    return reach.union(below.where(_visible(child, owner_id)))


def _above(category_ids: Collection[UUID]) -> CTE:
    """These categories and every one above them."""
    above = (
        select(Category.id, Category.parent_id)
        .where(Category.id == any_(literal(list(category_ids), ARRAY(Uuid()))))
        .cte("above", recursive=True)
    )
    return above.union(select(Category.id, Category.parent_id).join(above, above.c.parent_id == Category.id))


def _rows(name: str, **columns: tuple[Sequence[Any], Any]) -> TableValuedAlias:
    """Columns of values as rows that a statement can join."""
    arrays = [literal(list(values), ARRAY(kind)) for values, kind in columns.values()]
    names = [column(one, kind) for one, (_, kind) in columns.items()]
    return func.unnest(*arrays).table_valued(*names, name=name).render_derived()
