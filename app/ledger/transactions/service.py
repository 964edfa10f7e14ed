"""What a person can do with their transactions. The balance changes with the row, under the account's lock."""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from app.core.db import new_id
from app.core.errors import Stale
from app.core.extensions import parts
from app.core.pages import USUAL_PER_PAGE, Page
from app.ledger.budgets.alerts import record_crossings
from app.ledger.checks import checked_texts
from app.ledger.errors import FieldsInvalid
from app.ledger.history import differences
from app.ledger.money import quantised
from app.ledger.owned import once_more
from app.ledger.transactions.checks import checked
from app.ledger.transactions.errors import CurrencyDiffers, PartOfTransfer, TransactionNotFound
from app.ledger.transactions.models import Transaction
from app.ledger.transactions.repository import Filters, Total, TotalsBy
from app.unit_of_work import UnitOfWork

LONGEST_SEARCH = 200

_CHANGEABLE = {"account_id", "category_id", "amount", "booked_on", "pending", "description", "merchant", "notes"}
# One side of a transfer has these alone.
_OWN_OF_A_SIDE = {"category_id", "description", "merchant", "notes"}

CheckVersion = Callable[[datetime], None]


def get_transaction(uow: UnitOfWork, *, owner_id: UUID, transaction_id: UUID) -> Transaction:
    """One transaction. Raises TransactionNotFound."""
    with uow:
        return uow.transactions.get_owned(transaction_id, owner_id=owner_id)


def list_transactions(
    uow: UnitOfWork,
    *,
    owner_id: UUID,
    filters: Filters | None = None,
    sort: str = "-booked_on",
    limit: int = USUAL_PER_PAGE,
    cursor: str | None = None,
) -> Page[Transaction]:
    """The person's transactions, filtered, by `booked_on` or `amount`.

    Raises AccountNotFound or CategoryUnusable for a filter by what is not theirs, UnknownField, CursorInvalid.
    """
    filters = filters or Filters()
    with uow:
        _check_filters(uow, owner_id, filters)
        return uow.transactions.list_owned(
            owner_id, filters, cursors=parts().cursors, sort=sort, limit=limit, cursor=cursor
        )


def summarise_transactions(
    uow: UnitOfWork, *, owner_id: UUID, by: TotalsBy, filters: Filters | None = None, without_transfers: bool = True
) -> Sequence[Total]:
    """What moved, by month, category or account and currency. Raises as `list_transactions`."""
    filters = filters or Filters(pending=False)
    with uow:
        _check_filters(uow, owner_id, filters)
        return uow.transactions.totals(owner_id, by, filters, without_transfers=without_transfers)


@once_more
def record_transaction(
    uow: UnitOfWork,
    *,
    owner_id: UUID,
    account_id: UUID,
    amount: Decimal | int | str,
    booked_on: date,
    category_id: UUID | None = None,
    description: str = "",
    merchant: str | None = None,
    notes: str | None = None,
    pending: bool = False,
    external_id: str | None = None,
) -> Transaction:
    """Record money in (positive) or out (negative).

    Raises AccountNotFound, CategoryUnusable, AmountInvalid, FieldsInvalid, ExternalIdTaken.
    """
    fields = checked(
        {
            "booked_on": booked_on,
            "category_id": category_id,
            "description": description,
            "merchant": merchant,
            "notes": notes,
            "pending": pending,
            "external_id": external_id,
        }
    )
    with uow:
        uow.transactions.check_category(category_id, owner_id=owner_id)
        account = uow.accounts.lock([account_id], owner_id=owner_id)[account_id]
        transaction = account.record(amount=quantised(amount, account.currency), **fields)
        uow.transactions.add(transaction)
        uow.audit.record("transaction.recorded", transaction, changes=differences({}, transaction.as_dict()))
        _look_at_budgets(uow, owner_id, [_spent(transaction)])
        uow.commit()
    return transaction


@once_more
def change_transaction(
    uow: UnitOfWork,
    *,
    owner_id: UUID,
    transaction_id: UUID,
    changes: Mapping[str, Any],
    check_version: CheckVersion | None = None,
) -> Transaction:
    """Change some fields; the balances of the old and the new account follow.

    `check_version` raises Stale under the row's lock. Raises TransactionNotFound, AccountNotFound, CategoryUnusable,
    AmountInvalid, FieldsInvalid, CurrencyDiffers, PartOfTransfer.
    """
    if unknown := set(changes) - _CHANGEABLE:
        raise FieldsInvalid(errors={name: ["Cannot be changed."] for name in sorted(unknown)})
    new = checked(changes)
    with uow:
        uow.transactions.check_category(new.get("category_id"), owner_id=owner_id)
        also = [new["account_id"]] if "account_id" in new else []
        (row,) = lock_rows(uow, [transaction_id], owner_id=owner_id, accounts=also)
        if check_version:
            check_version(row.updated_at)
        if row.transfer_id is not None and not set(new) <= _OWN_OF_A_SIDE:
            raise PartOfTransfer
        before = _spent(row)
        changed = rewrite(uow, row, new)
        if changed:
            uow.audit.record("transaction.changed", row, changes=changed)
            uow.flush()
            _look_at_budgets(uow, owner_id, [before, _spent(row)])
            uow.commit()
    return row


@once_more
def delete_transaction(
    uow: UnitOfWork, *, owner_id: UUID, transaction_id: UUID, check_version: CheckVersion | None = None
) -> None:
    """Delete the transaction, and with one side of a transfer the other; `restore_transaction` brings both back.

    Raises TransactionNotFound, or what `check_version` raises.
    """
    with uow:
        row = uow.transactions.get_owned(transaction_id, owner_id=owner_id)
        rows = lock_rows(uow, _sides(uow, row), owner_id=owner_id)
        if check_version:
            check_version(row.updated_at)
        remove_rows(uow, rows)
        _look_at_budgets(uow, owner_id, [_spent(one) for one in rows])
        uow.commit()


@once_more
def restore_transaction(uow: UnitOfWork, *, owner_id: UUID, transaction_id: UUID) -> Transaction:
    """Bring back a deleted transaction and what went with it; a live one stays as it is.

    Raises TransactionNotFound, also when it was deleted too long ago, AccountNotFound when its account is deleted,
    ExternalIdTaken.
    """
    with uow:
        row = uow.transactions.get_restorable(transaction_id, owner_id=owner_id)
        rows = lock_rows(uow, _sides(uow, row, include_deleted=True), owner_id=owner_id, include_deleted=True)
        for one in rows:
            # Asked under the lock: of two at once, one brings it back.
            if one.deleted_at is not None:
                uow.audit.record("transaction.restored", one, batch=str(one.deleted_batch))
                one.deleted_at = one.deleted_batch = None
                uow.accounts.locked(one.account_id).count_in(one)
        uow.flush()
        _look_at_budgets(uow, owner_id, [_spent(one) for one in rows])
        uow.commit()
    return row


@once_more
def categorise_transactions(
    uow: UnitOfWork, *, owner_id: UUID, transaction_ids: Collection[UUID], category_id: UUID | None
) -> int:
    """Give many transactions one category, all or none; returns how many.

    Raises TransactionNotFound when one is not there, CategoryUnusable.
    """
    ids = set(transaction_ids)
    with uow:
        uow.transactions.check_category(category_id, owner_id=owner_id)
        rows = lock_rows(uow, ids, owner_id=owner_id)
        before: dict[UUID, Counter[str | None]] = defaultdict(Counter)
        for one in rows:
            before[one.account_id][str(one.category_id) if one.category_id else None] += 1
        touched = [_spent(one) for one in rows]
        count = uow.transactions.set_category(ids, category_id, owner_id=owner_id)
        for account_id, categories in before.items():
            uow.audit.record(
                "transactions.categorised",
                uow.accounts.locked(account_id),
                category_id=str(category_id) if category_id else None,
                before=[[category, number] for category, number in categories.items()],
            )
        _look_at_budgets(uow, owner_id, [*touched, *((category_id, day) for _, day in touched)])
        uow.commit()
    return count


def lock_rows(
    uow: UnitOfWork,
    transaction_ids: Collection[UUID],
    *,
    owner_id: UUID,
    accounts: Collection[UUID] = (),
    include_deleted: bool = False,
) -> Sequence[Transaction]:
    """These rows as of now, locked after their accounts and these others. The one order in which all locks are taken.

    Raises TransactionNotFound, AccountNotFound, Stale when one moved to another account in this very moment.
    """
    of_rows = uow.transactions.accounts_of(transaction_ids, owner_id=owner_id, include_deleted=include_deleted)
    if len(of_rows) < len(set(transaction_ids)):
        raise TransactionNotFound
    held = uow.accounts.lock({*of_rows.values(), *accounts}, owner_id=owner_id)
    rows = uow.transactions.lock_several(transaction_ids, owner_id=owner_id, include_deleted=include_deleted)
    if len(rows) < len(of_rows):
        raise TransactionNotFound
    if any(one.account_id not in held for one in rows):
        raise Stale
    return rows


def rewrite(uow: UnitOfWork, row: Transaction, new: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Change a locked row and the balances that it is in; returns what changed.

    Raises CurrencyDiffers, AmountInvalid.
    """
    before = row.as_dict()
    account = uow.accounts.locked(row.account_id)
    account.count_out(row)
    if "account_id" in new:
        account = uow.accounts.locked(new["account_id"])
        if account.currency != row.currency and "amount" not in new:
            raise CurrencyDiffers(errors={"account_id": [f"Its currency is {account.currency}."]})
    if "amount" in new:
        new = {**new, "amount": quantised(new["amount"], account.currency)}
    for name, value in {**new, "currency": account.currency}.items():
        if getattr(row, name) != value:
            setattr(row, name, value)
    account.count_in(row)
    return differences(before, row.as_dict())


def remove_rows(uow: UnitOfWork, rows: Sequence[Transaction]) -> None:
    """Delete locked rows softly, as one batch."""
    batch = new_id()
    for one in rows:
        uow.accounts.locked(one.account_id).count_out(one)
        uow.audit.record("transaction.deleted", one, batch=str(batch))
    uow.transactions.delete_softly(rows, batch=batch)


def _sides(uow: UnitOfWork, row: Transaction, *, include_deleted: bool = False) -> list[UUID]:
    """The row, and of a transfer the other side, as far as it went or would go together with it."""
    if row.transfer_id is None:
        return [row.id]
    sides = uow.transactions.list_transfer(row.transfer_id, owner_id=row.user_id, include_deleted=include_deleted)
    return [one.id for one in sides if one.deleted_batch == row.deleted_batch]


def _check_filters(uow: UnitOfWork, owner_id: UUID, filters: Filters) -> None:
    if filters.text is not None:
        checked_texts({"q": filters.text}, {"q": LONGEST_SEARCH})
    if filters.account_id is not None:
        uow.accounts.get_owned(filters.account_id, owner_id=owner_id)
    uow.transactions.check_category(filters.category_id, owner_id=owner_id)


def _spent(row: Transaction) -> tuple[UUID | None, date]:
    """What of a transaction decides in which budgets it counts."""
    return row.category_id, row.booked_on


def _look_at_budgets(uow: UnitOfWork, owner_id: UUID, spent: Collection[tuple[UUID | None, date]]) -> None:
    """Remember the thresholds that were crossed in these categories, from the earliest of these days on."""
    categories = {category for category, _ in spent if category is not None}
    if categories:
        record_crossings(uow, owner_id=owner_id, category_ids=categories, since=min(day for _, day in spent))
