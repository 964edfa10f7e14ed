"""Transactions: recorded, changed, moved, deleted and restored, listed and added up."""

from collections.abc import Callable
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest

from app.core.errors import CofferError, Invalid, NotFound, Stale
from app.core.pages import CursorInvalid
from app.core.query import UnknownField
from app.ledger.accounts.models import Account
from app.ledger.transactions import bulk, service
from app.ledger.transactions.errors import CurrencyDiffers, ExternalIdTaken, TransactionNotFound
from app.ledger.transactions.models import Transaction
from app.ledger.transactions.repository import Filters
from app.ledger.upkeep.service import reconcile
from app.unit_of_work import UnitOfWork
from tests.conftest import Database
from tests.counting import Counter
from tests.factories.ledger import (
    FIRST_DAY,
    balance_of,
    bulk_rows,
    make_account,
    make_category,
    make_owner,
    make_transaction,
    uow_of,
)


def change(row: Transaction, **changes: Any) -> Transaction:
    return service.change_transaction(uow_of(row.user_id), owner_id=row.user_id, transaction_id=row.id, changes=changes)


def delete(row: Transaction) -> None:
    service.delete_transaction(uow_of(row.user_id), owner_id=row.user_id, transaction_id=row.id)


def restore(row: Transaction) -> Transaction:
    return service.restore_transaction(uow_of(row.user_id), owner_id=row.user_id, transaction_id=row.id)


def listed(owner: UUID, sort: str = "-booked_on", **filters: Any) -> list[str]:
    page = service.list_transactions(uow_of(owner), owner_id=owner, filters=Filters(**filters), sort=sort, limit=200)
    return [one.description for one in page.items]


def all_is_in_order() -> bool:
    return not reconcile(UnitOfWork(everybody=True))


def test_recording_moves_the_balance(account: Account, database: Database) -> None:
    row = make_transaction(account, "-12.34", merchant="Café", notes="with milk", external_id="1")
    make_transaction(account, "100")
    make_transaction(account, "-5", pending=True)
    assert (row.amount, row.currency, balance_of(account)) == (Decimal("-12.34"), "EUR", Decimal("87.66"))
    told = database.scalar("SELECT changes FROM audit_logs WHERE entity_id = :id", id=row.id)
    assert told["amount"] == [None, "-12.34"]
    assert not told.keys() & {"search", "amount_units", "id"}
    assert all_is_in_order()


@pytest.mark.parametrize(
    "changes",
    [
        {"amount": "0"},
        {"amount": 1.5},
        {"amount": "1.234"},
        {"amount": "NaN"},
        {"amount": "1e3"},
        {"amount": "10000000000"},
        {"booked_on": "2024-01-01"},
        {"booked_on": datetime(2024, 1, 1)},  # noqa: DTZ001  # not a date in any zone
        {"description": "x" * 501},
        {"description": None},
        {"merchant": "a\0b"},
        {"notes": "\udfff"},
        {"pending": "yes"},
        {"category_id": "x"},
    ],
)
def test_a_transaction_that_breaks_a_rule_is_refused(account: Account, changes: dict[str, Any]) -> None:
    """Number 102, on creation and on change."""
    row = make_transaction(account)
    with pytest.raises(Invalid) as refusal:
        make_transaction(account, **changes)
    assert list(refusal.value.errors or {}) == list(changes)
    with pytest.raises(Invalid) as refusal:
        change(row, **changes)
    assert list(refusal.value.errors or {}) == list(changes)
    assert balance_of(account) == row.amount


def test_a_change_is_followed_by_the_balances(owner: UUID, account: Account, database: Database) -> None:
    other, food = make_account(owner, opening_balance="50"), make_category(owner)
    row = make_transaction(account, "-10", pending=True)
    assert balance_of(account) == 0
    change(row, pending=False)
    assert balance_of(account) == -10
    change(row, amount="-7.5", booked_on=date(2024, 2, 29))
    assert balance_of(account) == Decimal("-7.5")
    moved = change(row, account_id=other.id, category_id=food.id, description="Lunch")
    assert (balance_of(account), balance_of(other)) == (0, Decimal("42.5"))
    assert (moved.account_id, moved.category_id, moved.booked_on) == (other.id, food.id, date(2024, 2, 29))
    change(row, pending=True, category_id=None)
    assert balance_of(other) == 50
    told = database.scalar(
        "SELECT changes FROM audit_logs WHERE action = 'transaction.changed' AND entity_id = :id ORDER BY id LIMIT 1",
        id=row.id,
    )
    assert told == {"pending": [True, False]}
    change(row, pending=True)
    assert database.scalar("SELECT count(*) FROM audit_logs WHERE action = 'transaction.changed'") == 4
    assert all_is_in_order()


def test_a_move_to_another_currency_needs_the_amount_in_it(owner: UUID, account: Account) -> None:
    yen = make_account(owner, currency="JPY")
    row = make_transaction(account, "-10.50")
    with pytest.raises(CurrencyDiffers):
        change(row, account_id=yen.id)
    with pytest.raises(Invalid):
        change(row, account_id=yen.id, amount="-10.50")
    moved = change(row, account_id=yen.id, amount="-1700")
    assert (moved.currency, balance_of(yen), balance_of(account)) == ("JPY", -1700, 0)
    assert all_is_in_order()


@pytest.mark.parametrize(
    "field",
    ["id", "user_id", "currency", "transfer_id", "external_id", "source", "deleted_at", "amount_units", "search"],
)
def test_other_fields_of_a_transaction_do_not_change(account: Account, field: str) -> None:
    """Number 91."""
    with pytest.raises(Invalid) as refusal:
        change(make_transaction(account), **{field: "1"})
    assert list(refusal.value.errors or {}) == [field]


def test_a_version_is_checked_under_the_lock(account: Account) -> None:
    """Number 103."""
    row = make_transaction(account, "-1")
    seen: list[datetime] = []

    def refuse(version: datetime) -> None:
        seen.append(version)
        raise Stale

    where: dict[str, Any] = {"owner_id": row.user_id, "transaction_id": row.id, "check_version": refuse}
    with pytest.raises(Stale):
        service.change_transaction(uow_of(row.user_id), **where, changes={"amount": "-2"})
    with pytest.raises(Stale):
        service.delete_transaction(uow_of(row.user_id), **where)
    assert seen == [row.updated_at] * 2
    assert balance_of(account) == -1


def test_deleting_and_restoring_are_exact(account: Account) -> None:
    row, other = make_transaction(account, "-10"), make_transaction(account, "-20")
    delete(row)
    assert balance_of(account) == -20
    with pytest.raises(TransactionNotFound):
        delete(row)
    with pytest.raises(TransactionNotFound):
        change(row, amount="-1")
    with pytest.raises(TransactionNotFound):
        service.get_transaction(uow_of(row.user_id), owner_id=row.user_id, transaction_id=row.id)
    delete(other)
    back = restore(row)
    assert (back.deleted_at, back.deleted_batch, balance_of(account)) == (None, None, -10)
    restore(row)
    assert balance_of(account) == -10
    assert len(listed(account.user_id)) == 1
    assert all_is_in_order()


def test_a_bank_s_id_is_unique_among_live_rows_of_an_account(owner: UUID, account: Account) -> None:
    row = make_transaction(account, external_id="7")
    make_transaction(make_account(owner), external_id="7")
    with pytest.raises(ExternalIdTaken):
        make_transaction(account, external_id="7")
    delete(row)
    make_transaction(account, external_id="7")
    with pytest.raises(ExternalIdTaken):
        restore(row)
    assert balance_of(account) == row.amount


def test_a_list_is_filtered(owner: UUID, account: Account) -> None:
    other = make_account(owner)
    food = make_category(owner)
    lunch = make_category(owner, "Lunch", food.id)
    soup = make_category(owner, "Soup", lunch.id)
    transport = make_category(None, "Transport")
    day = date(2024, 3, 10)
    make_transaction(account, "-1.5", booked_on=day, description="one", category_id=food.id)
    make_transaction(account, "-20", booked_on=day + timedelta(days=1), description="two", category_id=soup.id)
    make_transaction(other, "300", booked_on=day + timedelta(days=2), description="three", merchant="Café Zürich")
    make_transaction(other, "-4", booked_on=day + timedelta(days=3), description="four", pending=True)
    make_transaction(
        account, "-5", booked_on=day - timedelta(days=1), description="zero", notes="A note", category_id=transport.id
    )
    assert listed(owner) == ["four", "three", "two", "one", "zero"]
    assert listed(owner, "booked_on") == ["zero", "one", "two", "three", "four"]
    assert listed(owner, "-amount") == ["three", "one", "four", "zero", "two"]
    assert listed(owner, "amount") == ["two", "zero", "four", "one", "three"]
    assert listed(owner, account_id=other.id) == ["four", "three"]
    assert listed(owner, category_id=food.id) == ["two", "one"]
    assert listed(owner, category_id=lunch.id) == ["two"]
    assert listed(owner, category_id=transport.id) == ["zero"]
    assert listed(owner, booked_from=day, booked_to=day + timedelta(days=1)) == ["two", "one"]
    assert listed(owner, min_amount="-5", max_amount="-1.50") == ["four", "one", "zero"]
    assert listed(owner, min_amount=Decimal(0)) == ["three"]
    assert listed(owner, max_amount=0, pending=False) == ["two", "one", "zero"]
    assert listed(owner, text="café") == ["three"]
    assert listed(owner, text="note or two") == ["two", "zero"]
    assert listed(owner, text="ca -zürich") == []
    assert listed(owner, text="'); DROP TABLE transactions; --") == []
    assert listed(owner, pending=True, account_id=other.id) == ["four"]
    with pytest.raises(Invalid):
        listed(owner, text="a\0")
    with pytest.raises(Invalid):
        listed(owner, min_amount="1e3")
    with pytest.raises(UnknownField):
        listed(owner, "-user_id")


def test_pages_at_any_depth_are_the_one_big_list(account: Account) -> None:
    owner = account.user_id
    rows = [
        {**row, "booked_on": FIRST_DAY + timedelta(days=number % 7), "amount": Decimal(number % 11 - 20)}
        for number, row in enumerate(bulk_rows(account, 500))
    ]
    bulk.record_transactions(uow_of(owner), owner_id=owner, rows=rows)
    for sort in ("-booked_on", "booked_on", "-amount", "amount"):
        for filters in (Filters(), Filters(max_amount=-11)):
            with uow_of(owner) as uow:
                query = uow.transactions._filtered(owner, filters).sort(sort)
                whole = [one.id for one in uow.transactions.list_all(query)]
            found: list[UUID] = []
            cursor = None
            while True:
                page = service.list_transactions(
                    uow_of(owner), owner_id=owner, filters=filters, sort=sort, limit=33, cursor=cursor
                )
                found += [one.id for one in page.items]
                if (cursor := page.next_cursor) is None:
                    break
            assert found == whole
            assert len(set(found)) == len(found) >= 450


def test_a_cursor_is_good_for_its_own_list_only(owner: UUID, account: Account) -> None:
    for _ in range(3):
        make_transaction(account)

    def page(cursor: str | None, sort: str = "-booked_on", who: UUID = owner, **filters: Any) -> str | None:
        return service.list_transactions(
            uow_of(who), owner_id=who, filters=Filters(**filters), sort=sort, limit=1, cursor=cursor
        ).next_cursor

    cursor = page(None, max_amount=5)
    assert page(cursor, max_amount=5)
    other = make_owner()
    elsewhere: list[dict[str, Any]] = [
        {"max_amount": 6},
        {},
        {"sort": "amount", "max_amount": 5},
        {"who": other, "max_amount": 5},
    ]
    for wrong in elsewhere:
        with pytest.raises(CursorInvalid):
            page(cursor, **wrong)


def test_sums_are_exact_and_by_currency(owner: UUID, account: Account, counter: Counter) -> None:
    dollars = make_account(owner, currency="USD")
    food = make_category(owner)
    make_transaction(account, "-10.10", booked_on=date(2024, 1, 31), category_id=food.id)
    make_transaction(account, "-0.20", booked_on=date(2024, 2, 1), category_id=food.id)
    make_transaction(account, "3.00", booked_on=date(2024, 2, 29))
    make_transaction(dollars, "-7", booked_on=date(2024, 2, 1))
    make_transaction(account, "-100", booked_on=date(2024, 2, 1), pending=True)
    delete(make_transaction(account, "-1000"))

    def totals(by: Any, **options: Any) -> list[tuple[str, ...]]:
        found = service.summarise_transactions(uow_of(owner), owner_id=owner, by=by, **options)
        return [tuple(str(part) for part in one) for one in found]

    with counter() as statements:
        months = totals("month")
    assert len(statements) == 1
    assert months == [
        ("2024-01-01", "EUR", "0", "-10.1000", "-10.1000", "1"),
        ("2024-02-01", "EUR", "3.0000", "-0.2000", "2.8000", "2"),
        ("2024-02-01", "USD", "0", "-7.0000", "-7.0000", "1"),
    ]
    assert {(one[0], one[1], one[4]) for one in totals("category")} == {
        (str(food.id), "EUR", "-10.3000"),
        ("None", "EUR", "3.0000"),
        ("None", "USD", "-7.0000"),
    }
    assert {(one[0], one[4]) for one in totals("account")} == {
        (str(account.id), "-7.3000"),
        (str(dollars.id), "-7.0000"),
    }
    february = Filters(booked_from=date(2024, 2, 1), booked_to=date(2024, 2, 29), account_id=account.id)
    assert [one[4] for one in totals("month", filters=february)] == ["-97.2000"]
    with pytest.raises(UnknownField):
        totals("user_id")


def test_a_list_costs_the_same_statements_at_any_length(account: Account, counter: Counter) -> None:
    """N+1."""
    owner = account.user_id
    make_transaction(account)
    with counter() as few:
        listed(owner)
    for sort in ("-booked_on", "amount"):
        bulk.record_transactions(uow_of(owner), owner_id=owner, rows=bulk_rows(account, 60))
        with counter() as many:
            page = service.list_transactions(uow_of(owner), owner_id=owner, sort=sort)
            [one.as_dict() for one in page.items]
        assert len(few) == len(many) == 1
    with counter() as filtered:
        listed(owner, account_id=account.id, category_id=make_category(owner).id)
    assert len([one for one in filtered.texts if one.startswith(("SELECT", "WITH"))]) == 3


def test_many_get_one_category(owner: UUID, account: Account, counter: Counter, database: Database) -> None:
    food = make_category(owner)
    ids = [make_transaction(account).id for _ in range(5)]
    theirs = make_transaction(make_account(make_owner())).id

    def categorise(*which: UUID, category_id: UUID | None = food.id) -> int:
        return service.categorise_transactions(
            uow_of(owner), owner_id=owner, transaction_ids=which, category_id=category_id
        )

    with counter() as statements:
        assert categorise(*ids[:4]) == 4
    assert len(statements) == 7, "the same for any number; one of them asks which budgets look on"
    for wrong in (theirs, uuid4()):
        with pytest.raises(TransactionNotFound):
            categorise(ids[4], wrong)
    assert database.scalar("SELECT count(*) FROM transactions WHERE category_id = :id", id=food.id) == 4
    assert categorise(*ids, category_id=None) == 5
    assert database.scalar("SELECT count(*) FROM transactions WHERE category_id = :id", id=food.id) == 0


def uses_of(other: UUID, row: Transaction, category_id: UUID, mine: Transaction) -> list[Callable[[], object]]:
    """Everything that `other` might do with an id of somebody else's."""
    who: dict[str, Any] = {"owner_id": other}
    uow = uow_of(other)

    def put(**changes: Any) -> Callable[[], object]:
        return lambda: service.change_transaction(uow, **who, transaction_id=mine.id, changes=changes)

    def record(**changes: Any) -> Callable[[], object]:
        fields: dict[str, Any] = {"account_id": mine.account_id, "amount": 1, "booked_on": FIRST_DAY} | changes
        return lambda: service.record_transaction(uow, **who, **fields)

    return [
        lambda: service.get_transaction(uow, **who, transaction_id=row.id),
        lambda: service.change_transaction(uow, **who, transaction_id=row.id, changes={"amount": "1"}),
        lambda: service.delete_transaction(uow, **who, transaction_id=row.id),
        lambda: service.restore_transaction(uow, **who, transaction_id=row.id),
        lambda: service.categorise_transactions(uow, **who, transaction_ids=[row.id], category_id=None),
        lambda: service.categorise_transactions(uow, **who, transaction_ids=[mine.id], category_id=category_id),
        lambda: service.list_transactions(uow, **who, filters=Filters(account_id=row.account_id)),
        lambda: service.list_transactions(uow, **who, filters=Filters(category_id=category_id)),
        lambda: service.summarise_transactions(uow, **who, by="month", filters=Filters(account_id=row.account_id)),
        record(account_id=row.account_id),
        record(category_id=category_id),
        put(account_id=row.account_id),
        put(category_id=category_id),
    ]


class TestIdsOfSomebodyElse:
    """Numbers 89, 90 and 100."""

    @pytest.fixture
    def row(self, account: Account) -> Transaction:
        return make_transaction(account, "-3")

    @pytest.fixture
    def mine(self) -> Transaction:
        return make_transaction(make_account(make_owner()), "-5")

    @pytest.mark.parametrize("number", range(13))
    def test_are_as_ids_that_nobody_has(self, row: Transaction, mine: Transaction, number: int) -> None:
        category = make_category(row.user_id)
        nobodys = Transaction(id=uuid4(), account_id=uuid4())
        refusals = []
        for what, category_id in ((row, category.id), (nobodys, uuid4())):
            with pytest.raises(NotFound) as refusal:
                uses_of(mine.user_id, what, category_id, mine)[number]()
            refusals.append((type(refusal.value), vars(refusal.value)))
        assert refusals[0] == refusals[1]
        assert listed(mine.user_id) == ["Coffee"]

    @pytest.mark.parametrize("number", range(13))
    def test_are_nothing_to_the_database_either(
        self, row: Transaction, mine: Transaction, number: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for module in ("owned", "accounts.repository", "transactions.repository"):
            monkeypatch.setattr(f"app.ledger.{module}.owned_by", lambda model, _: model.id.is_not(None))
        category = make_category(row.user_id)
        with pytest.raises(CofferError) as refusal:
            uses_of(mine.user_id, row, category.id, mine)[number]()
        assert isinstance(refusal.value, NotFound)
        assert [one.id for one in service.list_transactions(uow_of(mine.user_id), owner_id=mine.user_id).items] == [
            mine.id
        ]
        totals = service.summarise_transactions(uow_of(mine.user_id), owner_id=mine.user_id, by="month")
        assert [one.net for one in totals] == [-5]

    def test_make_no_transaction_by_the_database_s_own_rules(self, row: Transaction, mine: Transaction) -> None:
        """The composite key, and the trigger for the category, when nothing else looks."""
        category = make_category(row.user_id)
        for wrong in ({"account_id": row.account_id}, {"category_id": category.id}):
            fields = {"account_id": mine.account_id, "amount": 1, "currency": "EUR", "booked_on": FIRST_DAY} | wrong
            with pytest.raises(CofferError), uow_of(mine.user_id) as uow:
                uow.transactions.add(Transaction(user_id=mine.user_id, **fields))
