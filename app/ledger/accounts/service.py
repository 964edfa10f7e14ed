"""What a person can do with their accounts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from app.core import clock
from app.core.db import new_id
from app.core.extensions import parts
from app.core.pages import USUAL_PER_PAGE, Page
from app.ledger.accounts.models import Account, AccountType
from app.ledger.accounts.repository import ZERO, AccountTotal
from app.ledger.budgets.alerts import record_crossings
from app.ledger.checks import checked_texts
from app.ledger.errors import FieldsInvalid
from app.ledger.history import differences
from app.ledger.money import quantised
from app.ledger.owned import once_more
from app.ledger.transactions.models import Transaction
from app.unit_of_work import UnitOfWork

RECENT = 5

_LONGEST = {"name": 100, "institution_name": 100, "mask": 8}
_CHANGEABLE = {"name", "institution_name", "mask", "archived"}

CheckVersion = Callable[[datetime], None]


@dataclass(frozen=True, slots=True)
class AccountDetails:
    """An account as it is shown. `available_balance` has what is pending in it."""

    account: Account
    available_balance: Decimal
    # None when nobody asked for them.
    recent_transactions: Sequence[Transaction] | None = None


def open_account(
    uow: UnitOfWork,
    *,
    owner_id: UUID,
    name: str,
    type: AccountType,  # noqa: A002  # the word of the API and of the column
    currency: str,
    opening_balance: Decimal | int | str = 0,
    institution_name: str | None = None,
    mask: str | None = None,
) -> Account:
    """Begin an account. Raises FieldsInvalid, AmountInvalid, CurrencyUnknown."""
    texts = {"name": name, "institution_name": institution_name, "mask": mask}
    checked_texts(texts, _LONGEST, required=("name",))
    opening = quantised(opening_balance, currency, field="opening_balance", zero=True)
    with uow:
        account = uow.accounts.add(
            Account(
                id=new_id(),
                user_id=owner_id,
                type=type,
                currency=currency,
                opening_balance=opening,
                balance=opening,
                **texts,
            )
        )
        uow.audit.record("account.opened", account, changes=differences({}, account.as_dict()))
        uow.commit()
    return account


def get_account(uow: UnitOfWork, *, owner_id: UUID, account_id: UUID, include_recent: bool = False) -> AccountDetails:
    """One account. Raises AccountNotFound."""
    with uow:
        account = uow.accounts.get_owned(account_id, owner_id=owner_id)
        (details,) = _details(uow, owner_id, [account], include_recent=include_recent)
    return details


def list_accounts(
    uow: UnitOfWork,
    *,
    owner_id: UUID,
    type: AccountType | None = None,  # noqa: A002  # as above
    active: bool | None = None,
    include_recent: bool = False,
    sort: str = "name",
    limit: int = USUAL_PER_PAGE,
    cursor: str | None = None,
) -> Page[AccountDetails]:
    """The person's accounts by `name`, `balance` or `created_at`. Raises UnknownField, CursorInvalid."""
    with uow:
        page = uow.accounts.list_owned(
            owner_id, cursors=parts().cursors, kind=type, active=active, sort=sort, limit=limit, cursor=cursor
        )
        details = _details(uow, owner_id, page.items, include_recent=include_recent)
    return Page(details, page.next_cursor)


def summarise_accounts(uow: UnitOfWork, *, owner_id: UUID, active: bool | None = None) -> Sequence[AccountTotal]:
    """What the person's accounts hold, by type and currency."""
    with uow:
        return uow.accounts.totals(owner_id, active=active)


def change_account(
    uow: UnitOfWork,
    *,
    owner_id: UUID,
    account_id: UUID,
    changes: Mapping[str, Any],
    check_version: CheckVersion | None = None,
) -> Account:
    """Change `name`, `institution_name` or `mask`, or archive it with `archived`.

    `check_version` raises Stale under the row's lock. Raises AccountNotFound, FieldsInvalid.
    """
    new = _checked(changes)
    with uow:
        account = uow.accounts.get_owned_for_update(account_id, owner_id=owner_id)
        if check_version:
            check_version(account.updated_at)
        before = account.as_dict()
        archived = new.pop("archived", account.archived_at is not None)
        if archived != (account.archived_at is not None):
            account.archived_at = clock.now() if archived else None
        for name, value in new.items():
            setattr(account, name, value)
        if changed := differences(before, account.as_dict()):
            uow.audit.record("account.changed", account, changes=changed)
            uow.commit()
    return account


@once_more
def delete_account(
    uow: UnitOfWork, *, owner_id: UUID, account_id: UUID, check_version: CheckVersion | None = None
) -> None:
    """Delete the account and its live transactions as one batch, which `restore_account` brings back.

    Other accounts keep their sides of transfers. Raises AccountNotFound, or what `check_version` raises.
    """
    with uow:
        account = uow.accounts.get_owned_for_update(account_id, owner_id=owner_id)
        if check_version:
            check_version(account.updated_at)
        batch = new_id()
        count, booked = uow.transactions.delete_of_account(account.id, owner_id=owner_id, batch=batch)
        account.move(-booked)
        uow.accounts.delete_softly([account], batch=batch)
        uow.audit.record("account.deleted", account, batch=str(batch), transactions=count)
        uow.flush()
        record_crossings(uow, owner_id=owner_id)
        uow.commit()


@once_more
def restore_account(uow: UnitOfWork, *, owner_id: UUID, account_id: UUID) -> Account:
    """Bring back a deleted account and what went with it, and nothing else; a live one stays as it is.

    Raises AccountNotFound, also when it was deleted too long ago.
    """
    with uow:
        account = uow.accounts.get_restorable(account_id, owner_id=owner_id, lock=True)
        if account.deleted_batch is not None:
            batch = account.deleted_batch
            count, booked = uow.transactions.restore_of_account(account.id, owner_id=owner_id, batch=batch)
            account.deleted_at = account.deleted_batch = None
            account.move(booked)
            uow.audit.record("account.restored", account, batch=str(batch), transactions=count)
            uow.flush()
            record_crossings(uow, owner_id=owner_id)
            uow.commit()
    return account


def _details(
    uow: UnitOfWork, owner_id: UUID, accounts: Sequence[Account], *, include_recent: bool
) -> list[AccountDetails]:
    ids = [one.id for one in accounts]
    pending = uow.accounts.pending_sums(ids, owner_id=owner_id)
    recent = uow.transactions.recent_of_accounts(ids, owner_id=owner_id, each=RECENT) if include_recent else None
    return [
        AccountDetails(
            account=one,
            available_balance=one.balance + pending.get(one.id, ZERO),
            recent_transactions=None if recent is None else recent.get(one.id, []),
        )
        for one in accounts
    ]


def _checked(changes: Mapping[str, Any]) -> dict[str, Any]:
    if unknown := set(changes) - _CHANGEABLE:
        raise FieldsInvalid(errors={name: ["Cannot be changed."] for name in sorted(unknown)})
    if not isinstance(changes.get("archived", False), bool):
        raise FieldsInvalid(errors={"archived": ["Neither true nor false."]})
    checked_texts(changes, _LONGEST, required=("name",))
    return dict(changes)
