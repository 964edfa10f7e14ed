"""Every query over transactions. The bulk insert is in `staging.py`."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, Literal, NamedTuple, get_args
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    CTE,
    ColumnElement,
    CursorResult,
    Date,
    DateTime,
    FromClause,
    Select,
    Uuid,
    any_,
    cast,
    column,
    delete,
    func,
    literal,
    literal_column,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.orm import InstrumentedAttribute, aliased, undefer

from app.core.db import Base
from app.core.pages import USUAL_PER_PAGE, Cursors, Page
from app.core.query import Query, UnknownField
from app.ledger.money import units
from app.ledger.owned import OwnedRepository, owned_by
from app.ledger.transactions.errors import CategoryUnusable, TransactionNotFound, TransferNotFound
from app.ledger.transactions.models import Transaction
from app.ledger.transactions.staging import Staging

TotalsBy = Literal["month", "category", "account"]

_PLAIN_WORDS: ColumnElement[Any] = literal_column("'simple'")
_MONTH = cast(func.date_trunc(literal_column("'month'"), cast(Transaction.booked_on, DateTime)), Date)
_GROUPS: dict[str, ColumnElement[Any]] = {
    "month": _MONTH,
    "category": Transaction.category_id.expression,
    "account": Transaction.account_id.expression,
}


@dataclass(frozen=True, slots=True)
class Filters:
    """Which of the person's transactions. Dates are inclusive; a category stands for its descendants, too."""

    account_id: UUID | None = None
    category_id: UUID | None = None
    booked_from: date | None = None
    booked_to: date | None = None
    min_amount: Decimal | int | str | None = None
    max_amount: Decimal | int | str | None = None
    text: str | None = None
    pending: bool | None = None


class Total(NamedTuple):
    """What moved in one month, category or account (`key`), in one currency."""

    key: date | UUID | None
    currency: str
    income: Decimal
    spending: Decimal
    net: Decimal
    transactions: int


class TransactionRepository(OwnedRepository[Transaction]):
    """Transactions."""

    model = Transaction
    not_found = TransactionNotFound
    # Amounts in their comparable form, which an index can serve under row-level security.
    fields: Mapping[str, InstrumentedAttribute[Any]] = {
        "booked_on": Transaction.booked_on,
        "amount": Transaction.amount_units,
    }

    def count_of_account(self, account_id: UUID) -> int:
        """How many live transactions the account has."""
        statement = select(func.count()).select_from(Transaction).where(Transaction.account_id == account_id)
        return self._session.scalar(statement) or 0

    def list_owned(
        self,
        owner_id: UUID,
        filters: Filters,
        *,
        cursors: Cursors,
        sort: str = "-booked_on",
        limit: int = USUAL_PER_PAGE,
        cursor: str | None = None,
    ) -> Page[Transaction]:
        """The person's transactions by `booked_on` or `amount`. Raises UnknownField, CursorInvalid, AmountInvalid."""
        query = self._filtered(owner_id, filters).sort(sort)
        if sort.removeprefix("-") == "amount":
            query = query.load(undefer(Transaction.amount_units))
        return query.page(self._session, cursors, limit=limit, cursor=cursor)

    def totals(
        self, owner_id: UUID, by: TotalsBy, filters: Filters, *, without_transfers: bool = False
    ) -> Sequence[Total]:
        """What moved, by month, category or account and by currency. Raises UnknownField, AmountInvalid."""
        if by not in get_args(TotalsBy):
            raise UnknownField(errors={"by": ["One of month, category, account."]})
        key = _GROUPS[by]
        amount = Transaction.amount
        statement = (
            select(
                key,
                Transaction.currency,
                func.coalesce(func.sum(amount).filter(amount > 0), 0),
                func.coalesce(func.sum(amount).filter(amount < 0), 0),
                func.sum(amount),
                func.count(),
            )
            .where(*self._filtered(owner_id, filters).criteria)
            .group_by(key, Transaction.currency)
            .order_by(key, Transaction.currency)
        )
        if without_transfers:
            statement = statement.where(Transaction.transfer_id.is_(None))
        return [Total(*row) for row in self._session.execute(statement)]

    def recent_of_accounts(
        self, account_ids: Collection[UUID], *, owner_id: UUID, each: int
    ) -> dict[UUID, list[Transaction]]:
        """The newest few of each account, in one statement."""
        accounts = (
            func.unnest(_array(account_ids)).table_valued(column("account_id", Uuid), name="accounts").render_derived()
        )
        newest = (
            select(Transaction)
            .where(
                Transaction.account_id == accounts.c.account_id,
                owned_by(Transaction, owner_id),
                Transaction.deleted_at.is_(None),
            )
            .order_by(Transaction.booked_on.desc(), Transaction.id.desc())
            .limit(each)
            .lateral("newest")
        )
        row = aliased(Transaction, newest)
        statement = select(row).select_from(accounts).join(newest, true())
        found: dict[UUID, list[Transaction]] = defaultdict(list)
        for one in self._session.scalars(statement.order_by(row.booked_on.desc(), row.id.desc())):
            found[one.account_id].append(one)
        return found

    def list_transfer(
        self, transfer_id: UUID, *, owner_id: UUID, include_deleted: bool = False
    ) -> Sequence[Transaction]:
        """The sides of a transfer, the negative one first. Raises TransferNotFound."""
        statement = (
            select(Transaction)
            .where(Transaction.transfer_id == transfer_id, owned_by(Transaction, owner_id))
            .order_by(Transaction.amount)
        )
        found = self._session.scalars(statement, execution_options={"include_deleted": include_deleted}).all()
        if not found:
            raise TransferNotFound
        return found

    def accounts_of(
        self, transaction_ids: Collection[UUID], *, owner_id: UUID, include_deleted: bool = False
    ) -> dict[UUID, UUID]:
        """On which account each of these rows is at the moment."""
        statement = select(Transaction.id, Transaction.account_id).where(
            Transaction.id == any_(_array(transaction_ids)), owned_by(Transaction, owner_id)
        )
        rows = self._session.execute(statement, execution_options={"include_deleted": include_deleted})
        return dict(rows.all())

    def lock_several(
        self, transaction_ids: Collection[UUID], *, owner_id: UUID, include_deleted: bool = False
    ) -> Sequence[Transaction]:
        """These rows as of now, locked, in the order of their ids; those that are gone are left out."""
        statement = (
            select(Transaction)
            .where(Transaction.id == any_(_array(transaction_ids)), owned_by(Transaction, owner_id))
            .order_by(Transaction.id)
            .with_for_update(key_share=True)
        )
        execution = {"include_deleted": include_deleted, "populate_existing": True}
        return self._session.scalars(statement, execution_options=execution).all()

    def delete_of_account(self, account_id: UUID, *, owner_id: UUID, batch: UUID) -> tuple[int, Decimal]:
        """Mark the account's live rows as deleted; returns how many, and the sum of the booked ones."""
        live = (Transaction.account_id == account_id, Transaction.deleted_at.is_(None))
        return self._mark(owner_id, *live, deleted_at=func.now(), deleted_batch=batch)

    def restore_of_account(self, account_id: UUID, *, owner_id: UUID, batch: UUID) -> tuple[int, Decimal]:
        """Bring the account's rows of this batch back; returns how many, and the sum of the booked ones."""
        gone = (Transaction.account_id == account_id, Transaction.deleted_batch == batch)
        return self._mark(owner_id, *gone, deleted_at=None, deleted_batch=None)

    def set_category(self, transaction_ids: Collection[UUID], category_id: UUID | None, *, owner_id: UUID) -> int:
        """Give these live rows this category; returns how many there were."""
        result = self._session.execute(
            update(Transaction)
            .where(
                Transaction.id == any_(_array(transaction_ids)),
                owned_by(Transaction, owner_id),
                Transaction.deleted_at.is_(None),
            )
            .values(category_id=category_id),
            execution_options={"synchronize_session": False},
        )
        return result.rowcount if isinstance(result, CursorResult) else 0

    def purge(self, *, older_than: timedelta, limit: int) -> int:
        """Delete for good a batch of what was deleted so long ago; returns how many rows."""
        due = (
            select(Transaction.id)
            .where(Transaction.deleted_at < func.now() - older_than)
            .order_by(Transaction.deleted_at)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        ids = self._session.scalars(due, execution_options={"include_deleted": True}).all()
        result = self._session.execute(
            delete(Transaction).where(Transaction.id == any_(_array(ids))),
            execution_options={"synchronize_session": False},
        )
        return result.rowcount if isinstance(result, CursorResult) else 0

    def usable_categories(self, category_ids: Collection[UUID], *, owner_id: UUID) -> set[UUID]:
        """Those of these categories that the person's transactions may have: the system's and their own."""
        categories = _categories()
        mine_or_shared = or_(categories.c.user_id.is_(None), categories.c.user_id == owner_id)
        statement = select(categories.c.id).where(
            categories.c.id == any_(_array(category_ids)), mine_or_shared, categories.c.merged_into.is_(None)
        )
        return set(self._session.scalars(statement))

    def check_category(self, category_id: UUID | None, *, owner_id: UUID) -> None:
        """Refuse a category that the person may not use. Raises CategoryUnusable."""
        if category_id is not None and not self.usable_categories([category_id], owner_id=owner_id):
            raise CategoryUnusable

    def staging(self) -> Staging:
        """The way in for many rows at once."""
        return Staging(self._session)

    def _filtered(self, owner_id: UUID, filters: Filters) -> Query[Transaction]:
        query = self.query().also(owned_by(Transaction, owner_id), trail=f"of {owner_id}")
        for condition in self._conditions(filters):
            query = query.also(condition)
        # Values are no part of a condition's text, and a cursor is good for the same values only.
        return query.also(true(), trail=repr(filters))

    def _conditions(self, filters: Filters) -> list[ColumnElement[bool]]:
        amount, booked_on = Transaction.amount_units, Transaction.booked_on
        given: list[tuple[object, Any]] = [
            (filters.account_id, lambda: Transaction.account_id == filters.account_id),
            (filters.category_id, lambda: Transaction.category_id.in_(_with_descendants(filters.category_id))),
            (filters.booked_from, lambda: booked_on >= filters.booked_from),
            (filters.booked_to, lambda: booked_on <= filters.booked_to),
            (filters.min_amount, lambda: amount >= units(filters.min_amount or 0, field="min_amount")),
            (filters.max_amount, lambda: amount <= units(filters.max_amount or 0, field="max_amount")),
            (filters.text, lambda: _says(filters.text)),
            (filters.pending, lambda: Transaction.pending.is_(filters.pending)),
        ]
        return [condition() for value, condition in given if value is not None]

    def _mark(self, owner_id: UUID, *which: ColumnElement[bool], **values: Any) -> tuple[int, Decimal]:
        marked: CTE = (
            update(Transaction)
            .where(owned_by(Transaction, owner_id), *which)
            .values(**values)
            .returning(Transaction.amount, Transaction.pending)
            .cte("marked")
        )
        booked = func.coalesce(func.sum(marked.c.amount).filter(~marked.c.pending), literal(0))
        statement = select(func.count(), booked).select_from(marked)
        count, amount = self._session.execute(statement, execution_options={"include_deleted": True}).one()
        return count, Decimal(amount)


def _array(ids: Collection[UUID]) -> ColumnElement[Any]:
    """One parameter, however many ids there are."""
    return literal(list(ids), ARRAY(Uuid))


def _says(words: str | None) -> ColumnElement[bool]:
    return Transaction.search.bool_op("@@")(func.websearch_to_tsquery(_PLAIN_WORDS, words))


def _categories() -> FromClause:
    # By name: the categories stand on the transactions, which they count and move.
    return Base.metadata.tables["categories"]


def _with_descendants(category_id: UUID | None) -> Select[Any]:
    categories = _categories()
    root: Any = select(literal(category_id, Uuid).label("id"))
    tree = root.cte("tree", recursive=True)
    tree = tree.union(select(categories.c.id).join(tree, categories.c.parent_id == tree.c.id))
    return select(tree.c.id)
