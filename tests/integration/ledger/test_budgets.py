"""Budgets: their fields, what was spent, what is carried over, and how it is asked."""

from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from flask import Flask
from sqlalchemy import event

from app.core.errors import CofferError, Stale
from app.core.extensions import db
from app.ledger.accounts.models import Account
from app.ledger.budgets import service
from app.ledger.budgets.errors import BudgetNotFound
from app.ledger.budgets.models import BudgetPeriod, BudgetRollover
from app.ledger.budgets.progress import BudgetStatus, Progress
from app.ledger.categories.errors import CategoryNotFound
from app.ledger.categories.models import Category
from app.ledger.errors import AmountInvalid, CurrencyUnknown, FieldsInvalid
from app.ledger.transactions import bulk
from app.ledger.transactions import service as transactions
from app.ledger.transfers.service import record_transfer
from tests.conftest import Database
from tests.counting import Counter
from tests.factories.budgets import change_budget, make_budget, progress_of, today_is
from tests.factories.categories import new_category, new_chain
from tests.factories.ledger import (
    FIRST_DAY,
    bulk_rows,
    make_account,
    make_category,
    make_owner,
    make_transaction,
    uow_of,
)

JANUARY, FEBRUARY, MARCH = date(2024, 1, 15), date(2024, 2, 15), date(2024, 3, 15)


@pytest.fixture
def food(owner: UUID) -> Category:
    return new_category(owner)


def test_a_budget_takes_its_normal_form(owner: UUID, food: Category) -> None:
    made = make_budget(owner, food.id, "100", name=" Food ", alert_thresholds=[100, 50, 100])
    assert (str(made.amount), made.name, made.alert_thresholds) == ("100.00", "Food", [50, 100])
    assert make_budget(owner, food.id, "100", currency="JPY").amount == 100


@pytest.mark.parametrize(
    ("fields", "error", "wrong"),
    [
        ({"amount": "0"}, AmountInvalid, "amount"),
        ({"amount": "-1.00"}, FieldsInvalid, "amount"),
        ({"amount": "1.001"}, AmountInvalid, "amount"),
        ({"amount": 1.5}, AmountInvalid, "amount"),
        ({"currency": "XYZ"}, CurrencyUnknown, "currency"),
        ({"name": " "}, FieldsInvalid, "name"),
        ({"name": "x" * 81}, FieldsInvalid, "name"),
        ({"period": "monthly"}, FieldsInvalid, "period"),
        ({"rollover": "full"}, FieldsInvalid, "rollover"),
        ({"starts_on": "2024-01-01"}, FieldsInvalid, "starts_on"),
        ({"starts_on": date(1999, 12, 31)}, FieldsInvalid, "starts_on"),
        ({"ends_on": FIRST_DAY}, FieldsInvalid, "ends_on"),
        ({"ends_on": date(2101, 1, 1)}, FieldsInvalid, "ends_on"),
        ({"alert_thresholds": [0]}, FieldsInvalid, "alert_thresholds"),
        ({"alert_thresholds": [1001]}, FieldsInvalid, "alert_thresholds"),
        ({"alert_thresholds": [True]}, FieldsInvalid, "alert_thresholds"),
        ({"alert_thresholds": ["80"]}, FieldsInvalid, "alert_thresholds"),
        ({"alert_thresholds": [[80]]}, FieldsInvalid, "alert_thresholds"),
        ({"alert_thresholds": "80"}, FieldsInvalid, "alert_thresholds"),
        ({"alert_thresholds": list(range(1, 22))}, FieldsInvalid, "alert_thresholds"),
    ],
)
def test_fields_that_break_a_rule_are_named(
    owner: UUID, food: Category, fields: dict[str, Any], error: type[CofferError], wrong: str
) -> None:
    with pytest.raises(error) as refusal:
        make_budget(owner, food.id, **fields)
    assert set(refusal.value.errors or {}) == {wrong}
    budget = make_budget(owner, food.id)
    with pytest.raises(error):
        change_budget(budget, **fields)


def test_a_budget_is_changed_deleted_and_told_of(owner: UUID, food: Category, database: Database) -> None:
    budget = make_budget(owner, food.id)
    change_budget(budget, amount="50.00", rollover=BudgetRollover.FULL)
    assert database.scalar("SELECT changes FROM audit_logs WHERE action = 'budget.changed'") == {
        "amount": ["100.0000", "50.00"],
        "rollover": ["none", "full"],
    }
    with pytest.raises(FieldsInvalid):
        change_budget(budget, user_id=uuid4())

    def stale(_: object) -> None:
        raise Stale

    with pytest.raises(Stale):
        service.delete_budget(uow_of(owner), owner_id=owner, budget_id=budget.id, check_version=stale)
    service.delete_budget(uow_of(owner), owner_id=owner, budget_id=budget.id)
    with pytest.raises(BudgetNotFound):
        service.get_budget(uow_of(owner), owner_id=owner, budget_id=budget.id)


def test_somebody_elses_budget_is_not_there(owner: UUID, food: Category) -> None:
    stranger = make_owner()
    theirs = make_budget(stranger, new_category(stranger).id)
    uow = uow_of(owner)
    attempts: list[Callable[[], object]] = [
        lambda: service.get_budget(uow, owner_id=owner, budget_id=theirs.id),
        lambda: service.change_budget(uow, owner_id=owner, budget_id=theirs.id, changes={"amount": "1.00"}),
        lambda: service.delete_budget(uow, owner_id=owner, budget_id=theirs.id),
        lambda: service.budget_progress(uow, owner_id=owner, budget_id=theirs.id),
    ]
    for attempt in attempts:
        with pytest.raises(BudgetNotFound):
            attempt()
    mine = make_budget(owner, food.id)
    for wrong in (theirs.category_id, uuid4()):
        with pytest.raises(CategoryNotFound):
            change_budget(mine, category_id=wrong)
    assert [one.id for one in service.list_budgets(uow, owner_id=owner).items] == [mine.id]


def test_budgets_come_in_pages_and_by_category(owner: UUID, food: Category) -> None:
    other = new_category(owner, "Other")
    made = [make_budget(owner, category.id).id for category in (food, other, food)]
    first = service.list_budgets(uow_of(owner), owner_id=owner, limit=2)
    rest = service.list_budgets(uow_of(owner), owner_id=owner, limit=2, cursor=first.next_cursor)
    assert [one.id for one in [*first.items, *rest.items]] == made[::-1]
    only = service.list_budgets(uow_of(owner), owner_id=owner, category_id=food.id)
    assert [one.id for one in only.items] == [made[2], made[0]]
    with uow_of(owner) as uow:
        grouped = uow.budgets.list_by_category(owner, FIRST_DAY)
    assert {key: [one.id for one in rows] for key, rows in grouped.items()} == {
        food.id: [made[0], made[2]],
        other.id: [made[1]],
    }


def test_progress_counts_what_is_spent_in_the_period(owner: UUID, account: Account) -> None:
    food, coffee = new_chain(owner, "Food", "Coffee")
    budget = make_budget(owner, food.id)
    make_transaction(account, "-30.00", category_id=food.id, booked_on=date(2024, 1, 1))
    make_transaction(account, "-5.55", category_id=coffee.id, booked_on=date(2024, 1, 31))
    make_transaction(account, "2.00", category_id=coffee.id, booked_on=JANUARY)
    make_transaction(account, "-7.00", category_id=food.id, booked_on=JANUARY, pending=True)
    # None of these: the month after, another category, none, another currency, deleted, a transfer.
    make_transaction(account, "-1.00", category_id=food.id, booked_on=date(2024, 2, 1))
    make_transaction(account, "-1.00", category_id=new_category(owner, "Other").id, booked_on=JANUARY)
    make_transaction(account, "-1.00", booked_on=JANUARY)
    make_transaction(make_account(owner, currency="USD"), "-1.00", category_id=food.id, booked_on=JANUARY)
    gone = make_transaction(account, "-1.00", category_id=food.id, booked_on=JANUARY)
    transactions.delete_transaction(uow_of(owner), owner_id=owner, transaction_id=gone.id)
    sent = record_transfer(
        uow_of(owner),
        owner_id=owner,
        from_account_id=account.id,
        to_account_id=make_account(owner).id,
        amount="9.00",
        booked_on=JANUARY,
    )
    transactions.change_transaction(
        uow_of(owner), owner_id=owner, transaction_id=sent.outgoing.id, changes={"category_id": food.id}
    )
    with today_is(date(2024, 1, 22)):
        found = progress_of(budget, JANUARY)
    assert (found.period_start, found.period_end) == (date(2024, 1, 1), date(2024, 2, 1))
    assert (found.amount, found.carried_in, found.available) == (Decimal(100), Decimal(0), Decimal(100))
    assert (found.spent, found.pending_spent, found.remaining) == (
        Decimal("33.55"),
        Decimal("7.00"),
        Decimal("66.45"),
    )
    assert (found.percent, found.status, found.alerts) == (Decimal("33.55"), BudgetStatus.WITHIN, ())
    assert (found.days_left, str(found.daily_allowance)) == (10, "6.64")


def test_refunds_lower_what_is_spent_below_zero(owner: UUID, food: Category, account: Account) -> None:
    budget = make_budget(owner, food.id, rollover=BudgetRollover.FULL)
    make_transaction(account, "25.00", category_id=food.id, booked_on=JANUARY)
    found = progress_of(budget, JANUARY)
    assert (found.spent, found.remaining, found.percent) == (Decimal(-25), Decimal(125), Decimal(-25))
    assert progress_of(budget, FEBRUARY).carried_in == 125


@pytest.mark.parametrize(
    ("spent", "percent", "status"),
    [
        ("99.99", "99.99", BudgetStatus.WITHIN),
        ("100.00", "100.00", BudgetStatus.REACHED),
        ("100.01", "100.01", BudgetStatus.EXCEEDED),
    ],
)
def test_exactly_all_is_reached_and_more_is_exceeded(
    *, owner: UUID, food: Category, account: Account, spent: str, percent: str, status: BudgetStatus
) -> None:
    budget = make_budget(owner, food.id)
    make_transaction(account, f"-{spent}", category_id=food.id, booked_on=JANUARY)
    found = progress_of(budget, JANUARY)
    assert (str(found.percent), found.status) == (percent, status)


def test_a_large_budget_is_not_rounded_to_reached(owner: UUID, food: Category, account: Account) -> None:
    budget = make_budget(owner, food.id, "1000000.00")
    make_transaction(account, "-999999.99", category_id=food.id, booked_on=JANUARY)
    found = progress_of(budget, JANUARY)
    assert (str(found.percent), found.status) == ("99.99", BudgetStatus.WITHIN)


def test_there_is_no_percentage_of_nothing(owner: UUID, food: Category, account: Account) -> None:
    budget = make_budget(owner, food.id, rollover=BudgetRollover.DEFICIT)
    make_transaction(account, "-250.00", category_id=food.id, booked_on=JANUARY)
    found = progress_of(budget, FEBRUARY)
    assert (found.carried_in, found.available, found.percent) == (Decimal(-150), Decimal(-50), None)
    assert (found.status, found.daily_allowance) == (BudgetStatus.EXCEEDED, None)
    with today_is(FEBRUARY):
        assert str(progress_of(budget, FEBRUARY).daily_allowance) == "0.00"


@pytest.mark.parametrize(
    ("rollover", "february", "march"),
    [
        (BudgetRollover.NONE, "0", "0"),
        (BudgetRollover.SURPLUS, "40", "0"),
        (BudgetRollover.DEFICIT, "0", "-70"),
        (BudgetRollover.FULL, "40", "-30"),
    ],
)
def test_what_is_left_over_is_carried_as_the_budget_says(
    *, owner: UUID, food: Category, account: Account, rollover: BudgetRollover, february: str, march: str
) -> None:
    budget = make_budget(owner, food.id, rollover=rollover)
    make_transaction(account, "-60.00", category_id=food.id, booked_on=JANUARY)
    make_transaction(account, "-170.00", category_id=food.id, booked_on=FEBRUARY)
    assert progress_of(budget, JANUARY).carried_in == 0
    assert progress_of(budget, FEBRUARY).carried_in == Decimal(february)
    assert progress_of(budget, MARCH).carried_in == Decimal(march)


def test_a_change_in_the_past_shows_at_once(owner: UUID, food: Category, account: Account) -> None:
    budget = make_budget(owner, food.id, rollover=BudgetRollover.FULL)
    assert progress_of(budget, MARCH).carried_in == 200
    row = make_transaction(account, "-60.00", category_id=food.id, booked_on=JANUARY)
    assert progress_of(budget, MARCH).carried_in == 140
    transactions.change_transaction(
        uow_of(owner), owner_id=owner, transaction_id=row.id, changes={"booked_on": date(2023, 12, 31)}
    )
    assert progress_of(budget, MARCH).carried_in == 200


def test_a_budget_is_there_from_its_start_to_its_end(owner: UUID, food: Category, account: Account) -> None:
    budget = make_budget(owner, food.id, starts_on=date(2024, 1, 10), ends_on=date(2024, 2, 20))
    make_transaction(account, "-5.00", category_id=food.id, booked_on=date(2024, 2, 19))
    make_transaction(account, "-7.00", category_id=food.id, booked_on=date(2024, 2, 20))

    def on(day: date) -> list[Progress]:
        return service.budget_progress(uow_of(owner), owner_id=owner, on=day)

    assert on(date(2024, 1, 9)) == on(date(2024, 2, 20)) == []
    (last,) = on(date(2024, 2, 19))
    assert (last.period_start, last.period_end, last.spent) == (date(2024, 2, 10), date(2024, 2, 20), Decimal(5))
    assert budget.ends_on == last.period_end
    with pytest.raises(FieldsInvalid):
        on(date(2090, 1, 1))


def test_today_is_the_persons(owner: UUID, food: Category, database: Database) -> None:
    make_budget(owner, food.id)
    database.execute("UPDATE users SET timezone = 'Pacific/Auckland' WHERE id = :id", id=owner)
    with today_is(date(2024, 1, 31), hour=20):
        (found,) = service.budget_progress(uow_of(owner), owner_id=owner)
    assert (found.period_start, found.days_left) == (date(2024, 2, 1), 29)


def test_fifty_budgets_cost_no_more_statements_than_one(owner: UUID, account: Account, counter: Counter) -> None:
    food, coffee = new_chain(owner, "Food", "Coffee")
    bulk.record_transactions(uow_of(owner), owner_id=owner, rows=bulk_rows(account, 500, category_id=coffee.id))

    def ask() -> list[Progress]:
        return service.budget_progress(uow_of(owner), owner_id=owner, on=date(2025, 6, 1))

    make_budget(owner, food.id)
    ask()  # the person's card is in the cache from now on
    with counter() as of_one:
        assert len(ask()) == 1
    for number in range(49):
        make_budget(owner, (food, coffee)[number % 2].id, rollover=list(BudgetRollover)[number % 4])
    with counter() as of_fifty:
        assert len(ask()) == 50
    assert len(of_one) == len(of_fifty) <= 5
    assert len([one for one in of_fifty.texts if "FROM transactions" in one]) == 1


def test_progress_reads_no_table_as_a_whole(committed: Flask, committed_rows: Database) -> None:
    """On 100,000 transactions of two people, as the role of the API, under row-level security."""
    food = make_category(None, "Food")
    coffee = make_category(None, "Coffee", food.id)
    owner, stranger = make_owner(), make_owner()
    for person, count in ((owner, 60_000), (stranger, 40_000)):
        rows = bulk_rows(make_account(person), count, category_id=coffee.id)
        bulk.record_transactions(uow_of(person), owner_id=person, rows=rows)
    committed_rows.execute("VACUUM ANALYZE transactions")
    for number in range(20):
        period, rollover = list(BudgetPeriod)[number % 5], list(BudgetRollover)[number % 4]
        make_budget(owner, food.id, period=period, rollover=rollover)
    plan = plan_of_progress(owner, date(2025, 6, 1))
    assert "Seq Scan on transactions" not in plan
    assert "ix_transactions_spending" in plan


def plan_of_progress(owner: UUID, on: date) -> str:
    """How the database answers the one statement that reads transactions."""
    asked: list[tuple[str, Any]] = []

    def note(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        asked.append((statement, parameters))

    event.listen(db.engine, "before_cursor_execute", note)
    try:
        service.budget_progress(uow_of(owner), owner_id=owner, on=on)
    finally:
        event.remove(db.engine, "before_cursor_execute", note)
    ((statement, parameters),) = (one for one in asked if "FROM transactions" in one[0])
    with uow_of(owner) as uow:
        rows = uow._session.connection().exec_driver_sql(f"EXPLAIN {statement}", parameters)
        return "\n".join(rows.scalars())
