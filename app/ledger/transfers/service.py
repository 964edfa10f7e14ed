"""Money moved between two accounts of one person: two transactions that come, change and go together."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from app.core.db import new_id
from app.ledger.errors import FieldsInvalid
from app.ledger.history import differences
from app.ledger.money import quantised
from app.ledger.owned import once_more
from app.ledger.transactions.checks import checked
from app.ledger.transactions.errors import TransferInvalid, TransferNotFound
from app.ledger.transactions.models import Transaction
from app.ledger.transactions.service import lock_rows, remove_rows, rewrite
from app.unit_of_work import UnitOfWork

Amount = Decimal | int | str
CheckVersion = Callable[[datetime], None]

_SHARED = {"booked_on", "description", "notes", "pending"}
_CHANGEABLE = _SHARED | {"from_account_id", "to_account_id", "amount", "received"}
SIDES = 2


@dataclass(frozen=True, slots=True)
class Transfer:
    """Both sides of a transfer: `outgoing` is negative, `incoming` positive."""

    id: UUID
    outgoing: Transaction
    incoming: Transaction


@once_more
def record_transfer(
    uow: UnitOfWork,
    *,
    owner_id: UUID,
    from_account_id: UUID,
    to_account_id: UUID,
    amount: Amount,
    booked_on: date,
    received: Amount | None = None,
    description: str = "",
    notes: str | None = None,
    pending: bool = False,
) -> Transfer:
    """Move a positive amount; `received` is what arrives where the currencies differ.

    Raises AccountNotFound, TransferInvalid, AmountInvalid, FieldsInvalid.
    """
    fields = checked({"booked_on": booked_on, "description": description, "notes": notes, "pending": pending})
    if from_account_id == to_account_id:
        raise _same_account()
    with uow:
        accounts = uow.accounts.lock({from_account_id, to_account_id}, owner_id=owner_id)
        source, target = accounts[from_account_id], accounts[to_account_id]
        sent, arriving = _amounts(amount, received, source.currency, target.currency)
        transfer_id = new_id()
        outgoing = source.record(amount=-sent, transfer_id=transfer_id, **fields)
        incoming = target.record(amount=arriving, transfer_id=transfer_id, **fields)
        uow.transactions.add_all([outgoing, incoming])
        for side in (outgoing, incoming):
            uow.audit.record("transfer.recorded", side, changes=differences({}, side.as_dict()))
        uow.commit()
    return Transfer(transfer_id, outgoing, incoming)


def get_transfer(uow: UnitOfWork, *, owner_id: UUID, transfer_id: UUID) -> Transfer:
    """One transfer. Raises TransferNotFound, also when one of its accounts was deleted."""
    with uow:
        sides = uow.transactions.list_transfer(transfer_id, owner_id=owner_id)
        if len(sides) < SIDES:
            raise TransferNotFound
    return Transfer(transfer_id, *sides)


@once_more
def change_transfer(
    uow: UnitOfWork,
    *,
    owner_id: UUID,
    transfer_id: UUID,
    changes: Mapping[str, Any],
    check_version: CheckVersion | None = None,
) -> Transfer:
    """Change both sides: accounts, amounts, date, texts, or from pending to booked.

    `check_version` raises Stale under the rows' locks. Raises TransferNotFound, AccountNotFound, TransferInvalid,
    AmountInvalid, FieldsInvalid.
    """
    if unknown := set(changes) - _CHANGEABLE:
        raise FieldsInvalid(errors={name: ["Cannot be changed."] for name in sorted(unknown)})
    shared = checked(
        {name: changes[name] for name in changes.keys() & {"booked_on", "description", "notes", "pending"}}
    )
    new_accounts = _account_ids(changes)
    with uow:
        outgoing, incoming = _lock(uow, owner_id, transfer_id, new_accounts)
        if check_version:
            check_version(max(outgoing.updated_at, incoming.updated_at))
        source = uow.accounts.locked(changes.get("from_account_id", outgoing.account_id))
        target = uow.accounts.locked(changes.get("to_account_id", incoming.account_id))
        if source.id == target.id:
            raise _same_account()
        sent, arriving = _changed_amounts(changes, outgoing, incoming, source.currency, target.currency)
        told = {
            outgoing: rewrite(uow, outgoing, {**shared, "account_id": source.id, "amount": -sent}),
            incoming: rewrite(uow, incoming, {**shared, "account_id": target.id, "amount": arriving}),
        }
        for side, changed in told.items():
            if changed:
                uow.audit.record("transfer.changed", side, changes=changed)
        uow.flush()
        uow.commit()
    return Transfer(transfer_id, outgoing, incoming)


@once_more
def delete_transfer(
    uow: UnitOfWork, *, owner_id: UUID, transfer_id: UUID, check_version: CheckVersion | None = None
) -> None:
    """Delete both sides as one batch; `restore_transaction` of either brings both back.

    Raises TransferNotFound, or what `check_version` raises.
    """
    with uow:
        outgoing, incoming = _lock(uow, owner_id, transfer_id, [])
        if check_version:
            check_version(max(outgoing.updated_at, incoming.updated_at))
        remove_rows(uow, [outgoing, incoming])
        uow.commit()


def _account_ids(changes: Mapping[str, Any]) -> list[UUID]:
    """The accounts that a change names. Raises FieldsInvalid."""
    named = {name: changes[name] for name in ("from_account_id", "to_account_id") if name in changes}
    wrong = {name: ["Not an id."] for name, value in named.items() if not isinstance(value, UUID)}
    if wrong:
        raise FieldsInvalid(errors=wrong)
    return list(named.values())


def _lock(uow: UnitOfWork, owner_id: UUID, transfer_id: UUID, accounts: list[UUID]) -> tuple[Transaction, Transaction]:
    seen = uow.transactions.list_transfer(transfer_id, owner_id=owner_id)
    if len(seen) < SIDES:
        raise TransferNotFound
    rows = lock_rows(uow, [one.id for one in seen], owner_id=owner_id, accounts=accounts)
    outgoing, incoming = sorted(rows, key=lambda row: row.amount)
    return outgoing, incoming


def _amounts(sent: Amount, received: Amount | None, source: str, target: str) -> tuple[Decimal, Decimal]:
    going = _positive(sent, source, "amount")
    if received is None:
        if source != target:
            raise TransferInvalid(errors={"received": [f"Say what arrives in {target}."]})
        return going, going
    arriving = _positive(received, target, "received")
    if source == target and arriving != going:
        raise TransferInvalid(errors={"received": ["Within one currency as much arrives as was sent."]})
    return going, arriving


def _changed_amounts(
    changes: Mapping[str, Any], outgoing: Transaction, incoming: Transaction, source: str, target: str
) -> tuple[Decimal, Decimal]:
    """Both amounts after the change; one that is in another currency now must be given anew."""
    if source != outgoing.currency and "amount" not in changes:
        raise TransferInvalid(errors={"amount": [f"Say how much in {source}."]})
    sent = changes.get("amount", -outgoing.amount)
    if source == target:
        return _amounts(sent, changes.get("received"), source, target)
    if target != incoming.currency or outgoing.currency == incoming.currency:
        return _amounts(sent, changes.get("received"), source, target)
    return _amounts(sent, changes.get("received", incoming.amount), source, target)


def _positive(amount: Amount, currency: str, field: str) -> Decimal:
    exact = quantised(amount, currency, field=field)
    if exact < 0:
        raise TransferInvalid(errors={field: ["Must be positive: the sides have their signs by themselves."]})
    return exact


def _same_account() -> TransferInvalid:
    return TransferInvalid(errors={"to_account_id": ["A transfer is between two accounts."]})
