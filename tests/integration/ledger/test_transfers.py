"""Transfers: two transactions that are one thing."""

from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest

from app.core.errors import CofferError, Invalid, NotFound, Stale
from app.ledger.accounts.models import Account
from app.ledger.accounts.service import delete_account
from app.ledger.transactions.errors import PartOfTransfer, TransferInvalid, TransferNotFound
from app.ledger.transactions.repository import Filters
from app.ledger.transactions.service import (
    change_transaction,
    delete_transaction,
    restore_transaction,
    summarise_transactions,
)
from app.ledger.transfers import service
from app.ledger.transfers.service import Transfer
from app.ledger.upkeep.service import reconcile
from app.unit_of_work import UnitOfWork
from tests.conftest import Database
from tests.factories.ledger import FIRST_DAY, balance_of, make_account, make_owner, uow_of


@pytest.fixture
def other(owner: UUID) -> Account:
    return make_account(owner)


@pytest.fixture
def yen(owner: UUID) -> Account:
    return make_account(owner, currency="JPY")


def transfer(source: Account, target: Account, amount: Any = "10", **changes: Any) -> Transfer:
    sides: dict[str, Any] = {"from_account_id": source.id, "to_account_id": target.id}
    return service.record_transfer(
        uow_of(source.user_id),
        owner_id=source.user_id,
        **sides | {"amount": amount, "booked_on": FIRST_DAY} | changes,
    )


def change(one: Transfer, **changes: Any) -> Transfer:
    owner = one.outgoing.user_id
    return service.change_transfer(uow_of(owner), owner_id=owner, transfer_id=one.id, changes=changes)


def in_order() -> bool:
    return not reconcile(UnitOfWork(everybody=True))


def test_a_transfer_is_two_rows_of_opposite_signs(account: Account, other: Account, database: Database) -> None:
    made = transfer(account, other, "10.50", description="Savings")
    assert (made.outgoing.amount, made.incoming.amount) == (Decimal("-10.50"), Decimal("10.50"))
    assert made.outgoing.transfer_id == made.incoming.transfer_id == made.id
    assert (balance_of(account), balance_of(other)) == (Decimal("-10.5"), Decimal("10.5"))
    found = service.get_transfer(uow_of(account.user_id), owner_id=account.user_id, transfer_id=made.id)
    assert (found.outgoing.id, found.incoming.id) == (made.outgoing.id, made.incoming.id)
    assert database.scalar("SELECT count(*) FROM audit_logs WHERE action = 'transfer.recorded'") == 2
    assert in_order()


def test_across_currencies_both_amounts_are_given(account: Account, yen: Account) -> None:
    with pytest.raises(TransferInvalid):
        transfer(account, yen)
    made = transfer(account, yen, "10", received="1600")
    assert (balance_of(account), balance_of(yen)) == (-10, 1600)
    change(made, amount="20")
    assert (balance_of(account), balance_of(yen)) == (-20, 1600)
    change(made, received="3200")
    assert (balance_of(account), balance_of(yen)) == (-20, 3200)
    assert in_order()


@pytest.mark.parametrize(
    "changes", [{"amount": "-1"}, {"amount": "0"}, {"amount": 1.5}, {"received": "9"}, {"received": "-10"}]
)
def test_amounts_that_make_no_transfer_are_refused(account: Account, other: Account, changes: dict[str, Any]) -> None:
    made = transfer(account, other)
    with pytest.raises(Invalid):
        transfer(account, other, **changes)
    with pytest.raises(Invalid):
        change(made, **changes)
    assert (balance_of(account), balance_of(other)) == (-10, 10)


def test_a_transfer_is_between_two_accounts(account: Account, other: Account) -> None:
    with pytest.raises(TransferInvalid):
        transfer(account, account)
    with pytest.raises(TransferInvalid):
        change(transfer(account, other), to_account_id=account.id)


def test_both_sides_change_together(owner: UUID, account: Account, other: Account, yen: Account) -> None:
    third = make_account(owner)
    made = transfer(account, other)
    changed = change(made, amount="7", booked_on=date(2024, 5, 5), notes="n", pending=True)
    assert (changed.outgoing.amount, changed.incoming.amount) == (Decimal(-7), Decimal(7))
    assert changed.outgoing.booked_on == changed.incoming.booked_on == date(2024, 5, 5)
    assert (balance_of(account), balance_of(other)) == (0, 0)
    change(made, pending=False, to_account_id=third.id)
    assert (balance_of(account), balance_of(other), balance_of(third)) == (-7, 0, 7)
    change(made, from_account_id=third.id, to_account_id=account.id)
    assert (balance_of(account), balance_of(third)) == (7, -7)
    with pytest.raises(TransferInvalid):
        change(made, to_account_id=yen.id)
    change(made, to_account_id=yen.id, received="1100")
    assert (balance_of(account), balance_of(third), balance_of(yen)) == (0, -7, 1100)
    with pytest.raises(Invalid):
        change(made, currency="EUR")
    assert in_order()


def test_both_sides_go_and_come_back_together(account: Account, other: Account) -> None:
    owner = account.user_id
    made = transfer(account, other)
    service.delete_transfer(uow_of(owner), owner_id=owner, transfer_id=made.id)
    assert (balance_of(account), balance_of(other)) == (0, 0)
    with pytest.raises(TransferNotFound):
        service.delete_transfer(uow_of(owner), owner_id=owner, transfer_id=made.id)
    restore_transaction(uow_of(owner), owner_id=owner, transaction_id=made.incoming.id)
    assert (balance_of(account), balance_of(other)) == (-10, 10)
    delete_transaction(uow_of(owner), owner_id=owner, transaction_id=made.outgoing.id)
    assert (balance_of(account), balance_of(other)) == (0, 0)
    delete_account(uow_of(owner), owner_id=owner, account_id=other.id)
    with pytest.raises(NotFound):
        restore_transaction(uow_of(owner), owner_id=owner, transaction_id=made.outgoing.id)
    assert balance_of(account) == 0
    assert in_order()


def test_one_side_does_not_change_alone(account: Account, other: Account) -> None:
    owner, made = account.user_id, transfer(account, other)

    def alone(**changes: Any) -> str:
        return change_transaction(
            uow_of(owner), owner_id=owner, transaction_id=made.outgoing.id, changes=changes
        ).description

    for changes in ({"amount": "-6"}, {"booked_on": date(2025, 1, 1)}, {"pending": True}, {"account_id": account.id}):
        with pytest.raises(PartOfTransfer):
            alone(**changes)
    assert alone(description="Saved") == "Saved"


def test_a_side_whose_account_is_gone_stays_and_is_no_transfer(account: Account, other: Account) -> None:
    owner, made = account.user_id, transfer(account, other)
    delete_account(uow_of(owner), owner_id=owner, account_id=other.id)
    assert balance_of(account) == -10
    with pytest.raises(TransferNotFound):
        change(made, amount="5")
    with pytest.raises(TransferNotFound):
        service.get_transfer(uow_of(owner), owner_id=owner, transfer_id=made.id)
    assert in_order()


def test_transfers_are_left_out_of_sums_where_asked(account: Account, other: Account) -> None:
    owner = account.user_id
    transfer(account, other)
    assert summarise_transactions(uow_of(owner), owner_id=owner, by="month") == []
    (total,) = summarise_transactions(
        uow_of(owner), owner_id=owner, by="month", filters=Filters(), without_transfers=False
    )
    assert (total.income, total.spending, total.net) == (Decimal(10), Decimal(-10), Decimal(0))


def test_versions_are_checked_under_the_locks(account: Account, other: Account) -> None:
    made = transfer(account, other)

    def refuse(_: object) -> None:
        raise Stale

    where: dict[str, Any] = {"owner_id": account.user_id, "transfer_id": made.id, "check_version": refuse}
    with pytest.raises(Stale):
        service.change_transfer(uow_of(account.user_id), **where, changes={"amount": "1"})
    with pytest.raises(Stale):
        service.delete_transfer(uow_of(account.user_id), **where)


@pytest.mark.parametrize("narrow", [True, False])
def test_somebody_else_s_transfers_and_accounts_are_not_there(
    account: Account, other: Account, monkeypatch: pytest.MonkeyPatch, *, narrow: bool
) -> None:
    """Numbers 89, 90 and 100."""
    made = transfer(account, other)
    stranger = make_owner()
    mine, my_other = make_account(stranger), make_account(stranger)
    own = transfer(mine, my_other)
    if not narrow:
        for module in ("owned", "accounts.repository", "transactions.repository"):
            monkeypatch.setattr(f"app.ledger.{module}.owned_by", lambda model, _: model.id.is_not(None))
    for transfer_id in (made.id, uuid4()):
        theirs: dict[str, Any] = {"owner_id": stranger, "transfer_id": transfer_id}
        for use in (
            lambda theirs=theirs: service.get_transfer(uow_of(stranger), **theirs),
            lambda theirs=theirs: service.change_transfer(uow_of(stranger), **theirs, changes={"amount": "1"}),
            lambda theirs=theirs: service.delete_transfer(uow_of(stranger), **theirs),
        ):
            with pytest.raises(TransferNotFound):
                use()
    for account_id in (account.id, uuid4()):
        for name in ("from_account_id", "to_account_id"):
            with pytest.raises(NotFound):
                change(own, **{name: account_id})
            with pytest.raises(CofferError):
                transfer(mine, my_other, **{name: account_id})
    assert (balance_of(mine), balance_of(account)) == (-10, -10)
