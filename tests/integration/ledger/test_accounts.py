"""Accounts and their balances."""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from flask import Flask

from app.core.errors import Invalid, Stale
from app.core.query import UnknownField
from app.ledger.accounts import service
from app.ledger.accounts.errors import AccountNotFound, BalanceOutOfRange
from app.ledger.accounts.models import Account, AccountType
from app.ledger.transactions.service import change_transaction, delete_transaction
from app.ledger.transfers.service import record_transfer
from app.ledger.upkeep.service import purge_deleted, reconcile
from app.unit_of_work import UnitOfWork
from tests.conftest import Database
from tests.counting import Counter
from tests.factories.ledger import FIRST_DAY, balance_of, make_account, make_owner, make_transaction, uow_of


def list_of(owner: UUID, **filters: Any) -> list[str]:
    page = service.list_accounts(uow_of(owner), owner_id=owner, **filters)
    return [one.account.name for one in page.items]


def test_an_account_begins_with_its_opening_balance(owner: UUID, database: Database) -> None:
    account = make_account(owner, name="Savings", opening_balance="100.5", institution_name="Bank", mask="1234")
    assert (account.balance, account.currency, account.mask) == (Decimal("100.50"), "EUR", "1234")
    changes = database.scalar("SELECT changes FROM audit_logs WHERE action = 'account.opened'")
    assert changes["opening_balance"] == [None, "100.50"]
    assert changes["name"] == [None, "Savings"]


@pytest.mark.parametrize(
    "changes",
    [
        {"name": " "},
        {"name": None},
        {"name": "x" * 101},
        {"name": "a\0b"},
        {"name": "\ud800"},
        {"mask": "123456789"},
        {"currency": "EUX"},
        {"currency": "XXX"},
        {"opening_balance": 1.5},
        {"opening_balance": "1.234"},
        {"opening_balance": "NaN"},
    ],
)
def test_an_account_that_breaks_a_rule_is_refused(owner: UUID, changes: dict[str, Any]) -> None:
    with pytest.raises(Invalid) as refusal:
        make_account(owner, **changes)
    assert list(refusal.value.errors or {}) == list(changes)
    assert list_of(owner) == []


def test_accounts_are_filtered_and_sorted(owner: UUID) -> None:
    make_account(owner, name="B", opening_balance=3)
    make_account(owner, name="C", opening_balance=1, type=AccountType.CASH)
    old = make_account(owner, name="A", opening_balance=2)
    service.change_account(uow_of(owner), owner_id=owner, account_id=old.id, changes={"archived": True})
    assert list_of(owner) == ["A", "B", "C"]
    assert list_of(owner, sort="-balance") == ["B", "A", "C"]
    assert list_of(owner, sort="created_at") == ["B", "C", "A"]
    assert list_of(owner, type=AccountType.CASH) == ["C"]
    assert list_of(owner, active=True) == ["B", "C"]
    assert list_of(owner, active=False) == ["A"]
    with pytest.raises(UnknownField):
        list_of(owner, sort="user_id")


@pytest.mark.parametrize("sort", ["name", "-balance", "created_at"])
def test_pages_of_accounts_make_the_whole_list(owner: UUID, sort: str) -> None:
    for number in range(7):
        make_account(owner, name=f"N{number % 3}", opening_balance=number % 2)
    names: list[str] = []
    cursor = None
    while True:
        page = service.list_accounts(uow_of(owner), owner_id=owner, sort=sort, limit=2, cursor=cursor)
        names += [one.account.name for one in page.items]
        if (cursor := page.next_cursor) is None:
            break
    assert names == list_of(owner, sort=sort)
    assert len(names) == 7


def test_pending_money_is_available_and_not_in_the_balance(account: Account) -> None:
    make_transaction(account, "100.00")
    make_transaction(account, "-30.00", pending=True)
    found = service.get_account(uow_of(account.user_id), owner_id=account.user_id, account_id=account.id)
    assert (found.account.balance, found.available_balance) == (Decimal(100), Decimal(70))
    assert found.recent_transactions is None


def test_totals_are_by_type_and_currency_in_one_statement(owner: UUID, counter: Counter) -> None:
    first = make_account(owner, opening_balance="10.10")
    make_account(owner, opening_balance="-5")
    make_account(owner, opening_balance="7", currency="USD")
    yen = make_account(owner, opening_balance="900", currency="JPY", type=AccountType.CASH)
    make_transaction(first, "-1.10", pending=True)
    make_account(make_owner(), opening_balance="1000")
    gone = make_account(owner, opening_balance="5000")
    service.delete_account(uow_of(owner), owner_id=owner, account_id=gone.id)
    service.change_account(uow_of(owner), owner_id=owner, account_id=yen.id, changes={"archived": True})
    with counter() as statements:
        totals = service.summarise_accounts(uow_of(owner), owner_id=owner)
    assert [tuple(map(str, one)) for one in totals] == [
        ("checking", "EUR", "2", "5.1000", "4.0000"),
        ("checking", "USD", "1", "7.0000", "7.0000"),
        ("cash", "JPY", "1", "900.0000", "900.0000"),
    ]
    assert len(statements) == 1
    assert len(service.summarise_accounts(uow_of(owner), owner_id=owner, active=True)) == 2


def test_recent_transactions_cost_one_statement_for_all_accounts(owner: UUID, counter: Counter) -> None:
    """N+1."""
    accounts = [make_account(owner, name=f"{number}") for number in range(4)]
    for account in accounts[:3]:
        for day in range(7):
            make_transaction(account, booked_on=FIRST_DAY + timedelta(days=day), description=f"{account.name}.{day}")
    with counter() as few:
        service.list_accounts(uow_of(owner), owner_id=owner, limit=1, include_recent=True)
    with counter() as many:
        page = service.list_accounts(uow_of(owner), owner_id=owner, include_recent=True)
        shown = [[one.description for one in details.recent_transactions or ()] for details in page.items]
    assert shown == [[f"{name}.{day}" for day in (6, 5, 4, 3, 2)] for name in (0, 1, 2)] + [[]]
    assert len(few) == len(many) == 3
    with counter() as without:
        service.list_accounts(uow_of(owner), owner_id=owner)
    assert len(without) == 2


def test_an_account_changes_and_the_audit_row_says_how(account: Account, database: Database) -> None:
    owner = account.user_id
    changes = {"name": "Main", "institution_name": "Bank", "mask": None, "archived": True}
    changed = service.change_account(uow_of(owner), owner_id=owner, account_id=account.id, changes=changes)
    assert (changed.name, changed.institution_name, changed.active) == ("Main", "Bank", False)
    told = database.scalar("SELECT changes FROM audit_logs WHERE action = 'account.changed'")
    assert told["name"] == ["Giro", "Main"]
    assert set(told) == {"name", "institution_name", "archived_at"}
    again = service.change_account(uow_of(owner), owner_id=owner, account_id=account.id, changes={"archived": False})
    assert again.active
    service.change_account(uow_of(owner), owner_id=owner, account_id=account.id, changes={"name": "Main"})
    assert database.scalar("SELECT count(*) FROM audit_logs WHERE action = 'account.changed'") == 2


@pytest.mark.parametrize(
    "field", ["id", "user_id", "balance", "opening_balance", "currency", "type", "deleted_at", "created_at", "x"]
)
def test_other_fields_of_an_account_do_not_change(account: Account, field: str) -> None:
    """Number 91."""
    with pytest.raises(Invalid) as refusal:
        service.change_account(
            uow_of(account.user_id), owner_id=account.user_id, account_id=account.id, changes={field: "1"}
        )
    assert list(refusal.value.errors or {}) == [field]


def test_a_version_is_checked_under_the_lock(account: Account) -> None:
    """Number 103."""

    def refuse(_: object) -> None:
        raise Stale

    where = {"owner_id": account.user_id, "account_id": account.id}
    with pytest.raises(Stale):
        service.change_account(uow_of(account.user_id), **where, changes={"name": "X"}, check_version=refuse)
    with pytest.raises(Stale):
        service.delete_account(uow_of(account.user_id), **where, check_version=refuse)
    assert list_of(account.user_id) == ["Giro"]


def test_an_account_comes_back_with_exactly_what_went_with_it(owner: UUID, database: Database) -> None:
    account = make_account(owner, opening_balance="10")
    other = make_account(owner)
    kept = [make_transaction(account, "-1"), make_transaction(account, "-2", pending=True)]
    before = make_transaction(account, "-4")
    delete_transaction(uow_of(owner), owner_id=owner, transaction_id=before.id)
    transfer = record_transfer(
        uow_of(owner),
        owner_id=owner,
        from_account_id=account.id,
        to_account_id=other.id,
        amount="3",
        booked_on=FIRST_DAY,
    )
    service.delete_account(uow_of(owner), owner_id=owner, account_id=account.id)
    assert list_of(owner) == ["Giro"]
    assert balance_of(other) == 3
    assert reconcile(UnitOfWork(everybody=True)) == []
    with pytest.raises(AccountNotFound):
        make_transaction(account)
    batches = "SELECT count(DISTINCT deleted_batch) FROM (SELECT id, deleted_batch FROM accounts UNION "
    batches += "SELECT id, deleted_batch FROM transactions) gone WHERE id = ANY(:ids)"
    together = [account.id, *(one.id for one in kept), transfer.outgoing.id]
    assert database.scalar(batches, ids=together) == 1
    assert database.scalar(batches, ids=[account.id, before.id]) == 2

    restored = service.restore_account(uow_of(owner), owner_id=owner, account_id=account.id)
    assert restored.balance == balance_of(account) == Decimal(6)
    live = "SELECT array_agg(id ORDER BY id) FROM transactions WHERE account_id = :id AND deleted_at IS NULL"
    assert database.scalar(live, id=account.id) == sorted([*(one.id for one in kept), transfer.outgoing.id])
    assert reconcile(UnitOfWork(everybody=True)) == []
    service.restore_account(uow_of(owner), owner_id=owner, account_id=account.id)
    assert balance_of(account) == Decimal(6)


def test_what_was_deleted_long_ago_goes_for_good(owner: UUID, account: Account, database: Database) -> None:
    make_transaction(account)
    other = make_account(owner, name="Other")
    gone, recent = make_transaction(other), make_transaction(other)
    kept = make_transaction(other)
    for one in (gone, recent):
        delete_transaction(uow_of(owner), owner_id=owner, transaction_id=one.id)
    service.delete_account(uow_of(owner), owner_id=owner, account_id=account.id)
    for table, row_id in (("transactions", gone.id), ("accounts", account.id)):
        database.execute(f"UPDATE {table} SET deleted_at = now() - interval '31 days' WHERE id = :id", id=row_id)
    database.execute(
        "UPDATE transactions SET deleted_at = now() - interval '31 days' WHERE account_id = :id", id=account.id
    )
    with pytest.raises(AccountNotFound):
        service.restore_account(uow_of(owner), owner_id=owner, account_id=account.id)
    assert purge_deleted(UnitOfWork(everybody=True), at_once=1) == (2, 1)
    assert purge_deleted(UnitOfWork(everybody=True)) == (0, 0)
    left = database.scalar("SELECT array_agg(id ORDER BY id) FROM transactions")
    assert left == sorted([recent.id, kept.id])


def test_a_balance_has_an_end(owner: UUID) -> None:
    account = make_account(owner, opening_balance="9999999999.99")
    with pytest.raises(BalanceOutOfRange):
        account.move(Decimal(10) ** 16)
    assert account.balance == Decimal("9999999999.99")


def refused(other: UUID, account_id: UUID) -> list[Callable[[], object]]:
    """Every use case on an account, by somebody."""
    who: dict[str, Any] = {"owner_id": other, "account_id": account_id}
    return [
        lambda: service.get_account(uow_of(other), **who),
        lambda: service.change_account(uow_of(other), **who, changes={"name": "Mine"}),
        lambda: service.delete_account(uow_of(other), **who),
        lambda: service.restore_account(uow_of(other), **who),
    ]


@pytest.mark.parametrize("number", range(4))
def test_an_account_of_somebody_else_is_not_there(account: Account, number: int) -> None:
    """Numbers 89 and 90: as an id that nobody has."""
    other = make_owner()
    with pytest.raises(AccountNotFound) as theirs:
        refused(other, account.id)[number]()
    with pytest.raises(AccountNotFound) as nobodys:
        refused(other, uuid4())[number]()
    assert vars(theirs.value) == vars(nobodys.value)
    assert list_of(other) == []
    assert list_of(account.user_id) == ["Giro"]


@pytest.mark.parametrize("number", range(4))
def test_row_level_security_alone_keeps_accounts_apart(
    account: Account, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Number 100: the application's own condition is emptied."""
    make_transaction(account)
    for module in ("owned", "accounts.repository", "transactions.repository"):
        monkeypatch.setattr(f"app.ledger.{module}.owned_by", lambda model, _: model.id.is_not(None))
    other = make_owner()
    with pytest.raises(AccountNotFound):
        refused(other, account.id)[number]()
    assert list_of(other) == []
    assert service.summarise_accounts(uow_of(other), owner_id=other) == []
    with uow_of(other) as uow:
        assert uow.accounts.pending_sums([account.id], owner_id=other) == {}
        assert uow.transactions.recent_of_accounts([account.id], owner_id=other, each=5) == {}


def test_nobody_acting_sees_nothing(app: Flask, account: Account) -> None:
    """Number 95."""
    assert service.list_accounts(UnitOfWork(), owner_id=account.user_id).items == []


def test_a_change_of_a_transaction_shows_in_the_available_balance(account: Account) -> None:
    owner = account.user_id
    row = make_transaction(account, "-5", pending=True)
    change_transaction(uow_of(owner), owner_id=owner, transaction_id=row.id, changes={"pending": False})
    found = service.get_account(uow_of(owner), owner_id=owner, account_id=account.id)
    assert (found.account.balance, found.available_balance) == (Decimal(-5), Decimal(-5))
