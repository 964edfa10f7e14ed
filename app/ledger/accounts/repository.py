"""Every query over accounts and their balances."""

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import CursorResult, Numeric, delete, exists, func, literal, select, true
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.core.pages import USUAL_PER_PAGE, Cursors, Page
from app.ledger.accounts.errors import AccountNotFound
from app.ledger.accounts.models import Account, AccountType
from app.ledger.owned import OwnedRepository, owned_by
from app.ledger.transactions.models import Transaction

ZERO = Decimal(0)


class AccountTotal(NamedTuple):
    """What accounts of one type and currency hold together."""

    type: AccountType
    currency: str
    accounts: int
    balance: Decimal
    available_balance: Decimal


class Difference(NamedTuple):
    """A balance that is not what the account's transactions say."""

    account_id: UUID
    user_id: UUID
    currency: str
    balance: Decimal
    expected: Decimal


class AccountRepository(OwnedRepository[Account]):
    """Accounts. Whoever changes balances locks the accounts first, all in one call, and so in one order."""

    model = Account
    not_found = AccountNotFound
    fields: Mapping[str, InstrumentedAttribute[Any]] = {
        "name": Account.name,
        "balance": Account.balance,
        "created_at": Account.created_at,
    }

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._locked: dict[UUID, Account] = {}

    def list_owned(
        self,
        owner_id: UUID,
        *,
        cursors: Cursors,
        kind: AccountType | None = None,
        active: bool | None = None,
        sort: str = "name",
        limit: int = USUAL_PER_PAGE,
        cursor: str | None = None,
    ) -> Page[Account]:
        """The person's accounts. Raises UnknownField, CursorInvalid."""
        query = self.query().also(owned_by(Account, owner_id), trail=f"of {owner_id}").sort(sort)
        if kind is not None:
            query = query.also(Account.type == kind, trail=f"type {kind}")
        if active is not None:
            archived = Account.archived_at.is_not(None)
            query = query.also(~archived if active else archived, trail=f"active {active}")
        return query.page(self._session, cursors, limit=limit, cursor=cursor)

    def lock(self, account_ids: Collection[UUID], *, owner_id: UUID) -> Mapping[UUID, Account]:
        """The person's live accounts as of now, locked in the order of their ids. Raises AccountNotFound."""
        statement = (
            select(Account)
            .where(Account.id.in_(account_ids), owned_by(Account, owner_id))
            .order_by(Account.id)
            .with_for_update(key_share=True)
        )
        rows = self._session.scalars(statement, execution_options={"populate_existing": True})
        found = {one.id: one for one in rows}
        if len(found) < len(set(account_ids)):
            raise AccountNotFound
        self._locked.update(found)
        return found

    def locked(self, account_id: UUID) -> Account:
        """An account that `lock` has locked for this transaction."""
        return self._locked[account_id]

    def currencies(self, account_ids: Collection[UUID], *, owner_id: UUID) -> dict[UUID, str]:
        """The currency of each of these accounts that the person has."""
        statement = select(Account.id, Account.currency).where(Account.id.in_(account_ids), owned_by(Account, owner_id))
        return dict(self._session.execute(statement).all())

    def pending_sums(self, account_ids: Collection[UUID], *, owner_id: UUID) -> dict[UUID, Decimal]:
        """What is pending on each of these accounts; accounts with nothing pending are left out."""
        statement = (
            select(Transaction.account_id, func.sum(Transaction.amount))
            .where(Transaction.account_id.in_(account_ids), Transaction.pending, owned_by(Transaction, owner_id))
            .group_by(Transaction.account_id)
        )
        return dict(self._session.execute(statement).all())

    def totals(self, owner_id: UUID, *, active: bool | None = None) -> Sequence[AccountTotal]:
        """What the person's accounts hold by type and currency, which are never added up across currencies."""
        waiting = (
            select(func.sum(Transaction.amount))
            .where(Transaction.account_id == Account.id, Transaction.pending, Transaction.deleted_at.is_(None))
            .correlate(Account)
            .lateral("waiting")
        )
        (pending,) = waiting.c
        statement = (
            select(
                Account.type,
                Account.currency,
                func.count(),
                func.sum(Account.balance),
                func.sum(Account.balance + func.coalesce(pending, 0)),
            )
            .select_from(Account)
            .join(waiting, true())
            .where(owned_by(Account, owner_id))
            .group_by(Account.type, Account.currency)
            .order_by(Account.type, Account.currency)
        )
        if active is not None:
            statement = statement.where(Account.archived_at.is_(None) == active)
        return [AccountTotal(*row) for row in self._session.execute(statement)]

    def purge(self, *, older_than: timedelta, limit: int) -> int:
        """Delete for good a batch of what was deleted so long ago; accounts that still have transactions wait."""
        due = (
            select(Account.id)
            .where(
                Account.deleted_at < func.now() - older_than,
                ~exists().where(Transaction.account_id == Account.id),
            )
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        ids = self._session.scalars(due, execution_options={"include_deleted": True}).all()
        result = self._session.execute(delete(Account).where(Account.id.in_(ids)))
        return result.rowcount if isinstance(result, CursorResult) else 0

    def list_differences(self, *, after: UUID | None, limit: int) -> tuple[Sequence[Difference], UUID | None]:
        """Balances among the next accounts by id that are not right, and the last id looked at; None at the end.

        A statement sees one moment, so that changes going on meanwhile are no differences.
        """
        some = select(Account.id, Account.user_id, Account.currency, Account.balance, Account.opening_balance)
        some = some.order_by(Account.id).limit(limit)
        if after is not None:
            some = some.where(Account.id > after)
        accounts = some.subquery("some")
        booked = (
            select(func.coalesce(func.sum(Transaction.amount), literal(0, Numeric)).label("booked"))
            .where(
                Transaction.account_id == accounts.c.id,
                Transaction.deleted_at.is_(None),
                Transaction.pending.is_(False),
            )
            .lateral("sums")
        )
        expected = accounts.c.opening_balance + booked.c.booked
        columns = (accounts.c.id, accounts.c.user_id, accounts.c.currency, accounts.c.balance, expected)
        rows = self._session.execute(
            select(*columns).join(booked, true()).order_by(accounts.c.id), execution_options={"include_deleted": True}
        ).all()
        wrong = [Difference(*row) for row in rows if row[3] != row[4]]
        return wrong, rows[-1][0] if len(rows) == limit else None
