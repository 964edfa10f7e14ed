"""Alerts: each threshold of a period is remembered once, and told of at most once."""

from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from flask import Flask

from app.core.extensions import parts
from app.core.mail import MailDelayed
from app.jobs.models import OutboxMessage
from app.jobs.names import SEND_BUDGET_ALERT
from app.ledger.accounts.models import Account
from app.ledger.budgets import alerts
from app.ledger.budgets.alerts import record_crossings
from app.ledger.budgets.mail import send_budget_alert
from app.ledger.budgets.models import BudgetPeriod, BudgetRollover
from app.ledger.categories.models import Category
from app.unit_of_work import UnitOfWork
from tasks.ledger import sweep_budget_alerts
from tests.conftest import Database, Worker
from tests.factories.budgets import change_budget, make_budget, progress_of, today_is
from tests.factories.categories import change, merge, new_category, new_chain, undo
from tests.factories.ledger import make_account, make_owner, uow_of
from tests.integration.test_concurrency import at_once

TODAY = date(2024, 3, 15)
LAST_MONTH = date(2024, 2, 10)


@pytest.fixture(autouse=True)
def today() -> Any:
    with today_is(TODAY):
        yield


@pytest.fixture
def food(owner: UUID) -> Category:
    return new_category(owner)


def spend(account: Account, amount: str, category: Category, on: date = TODAY, **told: Any) -> None:
    """A purchase, told of to the budgets in its own transaction, as recording one does."""
    owner_id = account.user_id
    with uow_of(owner_id) as uow:
        locked = uow.accounts.lock([account.id], owner_id=owner_id)[account.id]
        uow.transactions.add(
            locked.record(amount=-Decimal(amount), booked_on=on, category_id=category.id, description="")
        )
        record_crossings(uow, owner_id=owner_id, category_ids=[category.id], since=on, **told)
        uow.commit()


def remembered(database: Database) -> list[tuple[str, int, bool]]:
    found = database.scalar(
        "SELECT jsonb_agg(jsonb_build_array(period_start, percent, silent) ORDER BY period_start, percent) "
        "FROM budget_alerts"
    )
    return [tuple(one) for one in found or []]


def messages(database: Database) -> int:
    return database.count(OutboxMessage, OutboxMessage.task == SEND_BUDGET_ALERT.name)


def test_a_crossing_is_remembered_and_mailed_once(
    owner: UUID, food: Category, account: Account, database: Database, worker: Worker
) -> None:
    budget = make_budget(owner, food.id, name='Food & "fun"', alert_thresholds=[80, 100])
    spend(account, "79.99", food)
    assert remembered(database) == []
    spend(account, "0.01", food)
    spend(account, "5.00", food)
    assert remembered(database) == [("2024-03-01", 80, False)]
    assert messages(database) == 1
    (mail,) = worker.deliver()
    assert mail.subject == 'Budget "Food & "fun"": 80 % is spent'
    assert "80.00 EUR since 2024-03-01" in mail.mail.text
    assert "“Food &amp; &#34;fun&#34;”" in mail.mail.html
    assert database.scalar("SELECT notified_at IS NOT NULL FROM budget_alerts")
    (alert,) = progress_of(budget, TODAY).alerts
    assert (alert.percent, alert.silent) == (80, False)


def test_several_at_once_give_one_message_for_the_highest(
    owner: UUID, food: Category, account: Account, database: Database, worker: Worker
) -> None:
    make_budget(owner, food.id, alert_thresholds=[50, 80, 100, 150])
    spend(account, "120.00", food)
    assert remembered(database) == [("2024-03-01", 50, True), ("2024-03-01", 80, True), ("2024-03-01", 100, False)]
    assert [one.subject for one in worker.deliver()] == ['Budget "Food": 100 % is spent']


def test_falling_below_and_crossing_again_is_silent(
    owner: UUID, food: Category, account: Account, database: Database
) -> None:
    make_budget(owner, food.id, alert_thresholds=[100])
    for amount in ("100.00", "-50.00", "60.00"):
        spend(account, amount, food)
    assert (remembered(database), messages(database)) == ([("2024-03-01", 100, False)], 1)


def test_a_new_period_tells_anew(owner: UUID, food: Category, account: Account, database: Database) -> None:
    make_budget(owner, food.id, alert_thresholds=[100])
    spend(account, "100.00", food)
    with today_is(date(2024, 4, 2)):
        spend(account, "100.00", food, on=date(2024, 4, 1))
    assert remembered(database) == [("2024-03-01", 100, False), ("2024-04-01", 100, False)]
    assert messages(database) == 2


def test_a_threshold_that_is_passed_when_it_is_added_is_silent(
    owner: UUID, food: Category, account: Account, database: Database
) -> None:
    spend(account, "90.00", food)
    budget = make_budget(owner, food.id, alert_thresholds=[80])
    change_budget(budget, alert_thresholds=[50, 80, 100])
    change_budget(budget, amount="90.00")
    assert remembered(database) == [("2024-03-01", 50, True), ("2024-03-01", 80, True), ("2024-03-01", 100, True)]
    spend(account, "5.00", food)
    assert messages(database) == 0


def test_a_period_that_is_over_is_silent(owner: UUID, food: Category, account: Account, database: Database) -> None:
    make_budget(owner, food.id, alert_thresholds=[100])
    spend(account, "200.00", food, on=LAST_MONTH)
    assert (remembered(database), messages(database)) == ([("2024-02-01", 100, True)], 0)


def test_what_is_carried_over_from_the_past_counts_today(
    owner: UUID, food: Category, account: Account, database: Database
) -> None:
    make_budget(owner, food.id, alert_thresholds=[100], rollover=BudgetRollover.DEFICIT)
    spend(account, "50.00", food)
    assert remembered(database) == []
    spend(account, "160.00", food, on=LAST_MONTH)
    assert remembered(database) == [("2024-02-01", 100, True), ("2024-03-01", 100, False)]
    assert messages(database) == 1


def test_where_nothing_is_available_spending_anything_reaches_all(
    owner: UUID, food: Category, account: Account, database: Database
) -> None:
    make_budget(owner, food.id, alert_thresholds=[1000], rollover=BudgetRollover.DEFICIT)
    spend(account, "200.00", food, on=LAST_MONTH)
    assert remembered(database) == []
    spend(account, "0.01", food)
    assert remembered(database) == [("2024-03-01", 1000, False)]


def test_a_period_that_has_not_begun_waits_for_the_sweep(
    owner: UUID, food: Category, account: Account, database: Database
) -> None:
    make_budget(owner, food.id, alert_thresholds=[100])
    spend(account, "100.00", food, on=date(2024, 4, 1))
    assert remembered(database) == []
    with today_is(date(2024, 4, 1)):
        for _ in range(2):
            sweep_budget_alerts()
    assert (remembered(database), messages(database)) == ([("2024-04-01", 100, False)], 1)


def test_the_budgets_above_hear_of_it_and_the_others_do_not(owner: UUID, account: Account, database: Database) -> None:
    food, coffee = new_chain(owner, "Food", "Coffee")
    above = make_budget(owner, food.id, alert_thresholds=[10])
    make_budget(owner, new_category(owner, "Other").id, alert_thresholds=[10])
    make_budget(owner, food.id, currency="USD", alert_thresholds=[10])
    make_budget(owner, food.id, starts_on=date(2024, 4, 1), alert_thresholds=[10])
    make_budget(owner, food.id, ends_on=date(2024, 3, 1), alert_thresholds=[10])
    make_budget(owner, food.id)
    spend(account, "50.00", coffee)
    assert database.scalar("SELECT array_agg(budget_id) FROM budget_alerts") == [above.id]


def test_an_ended_budget_remembers_its_last_periods(
    owner: UUID, food: Category, account: Account, database: Database
) -> None:
    for ends_on in (date(2024, 2, 1), date(2024, 2, 20)):
        make_budget(owner, food.id, ends_on=ends_on, alert_thresholds=[100])
    spend(account, "100.00", food, on=date(2024, 1, 31))
    spend(account, "100.00", food, on=LAST_MONTH)
    assert remembered(database) == [("2024-01-01", 100, True), ("2024-01-01", 100, True), ("2024-02-01", 100, True)]


def test_today_is_the_persons(owner: UUID, food: Category, account: Account, database: Database) -> None:
    make_budget(owner, food.id, alert_thresholds=[100])
    database.execute("UPDATE users SET timezone = 'Pacific/Auckland' WHERE id = :id", id=owner)
    with today_is(date(2024, 3, 31), hour=20):
        spend(account, "100.00", food, on=date(2024, 4, 1))
        spend(account, "100.00", food, on=date(2024, 3, 31))
    assert remembered(database) == [("2024-03-01", 100, True), ("2024-04-01", 100, False)]


def test_a_changed_tree_is_silent_and_undoing_it_forgets(
    owner: UUID, food: Category, account: Account, database: Database
) -> None:
    other = new_category(owner, "Other")
    make_budget(owner, food.id, alert_thresholds=[100])
    spend(account, "100.00", other)
    done = merge(other, food)
    assert (remembered(database), messages(database)) == ([("2024-03-01", 100, True)], 0)
    undo(owner, done)
    assert remembered(database) == []
    change(other, parent_id=food.id)
    assert (remembered(database), messages(database)) == ([("2024-03-01", 100, True)], 0)


def test_the_sweep_finds_what_was_missed(
    owner: UUID, food: Category, account: Account, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alerts, "SWEEP_BATCH", 1)
    people = [(owner, food, account)]
    for _ in range(2):
        person = make_owner()
        people.append((person, new_category(person), make_account(person)))
    for person, category, theirs in people:
        make_budget(person, category.id, alert_thresholds=[100])
        make_budget(person, category.id, period=BudgetPeriod.WEEKLY, alert_thresholds=[100])
        with uow_of(person) as uow:
            for on in (TODAY, TODAY - timedelta(days=7)):
                uow.transactions.add(theirs.record(amount=Decimal(-100), booked_on=on, category_id=category.id))
            uow.commit()
    assert alerts.sweep_alerts(UnitOfWork(everybody=True)) == 9
    assert database.scalar("SELECT count(*) FROM budget_alerts WHERE NOT silent") == 6
    assert messages(database) == 6
    with uow_of(owner) as uow:
        assert len(uow.budget_alerts.list_due(owner)) == 2
    assert alerts.sweep_alerts(UnitOfWork(everybody=True)) == 0


def test_a_mail_is_sent_again_only_when_it_was_not_sent(
    *,
    owner: UUID,
    food: Category,
    account: Account,
    worker: Worker,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_budget(owner, food.id, alert_thresholds=[100])
    spend(account, "100.00", food)
    alert_id = database.scalar("SELECT id FROM budget_alerts")
    outbox_id = database.scalar("SELECT id FROM outbox WHERE task = :task", task=SEND_BUDGET_ALERT.name)

    def send() -> None:
        send_budget_alert(uow_of(owner), alert_id=alert_id, outbox_id=outbox_id)

    mailer: Any = parts().mailer
    real = mailer.send
    monkeypatch.setattr(mailer, "send", _delayed)
    with pytest.raises(MailDelayed):
        send()
    monkeypatch.setattr(mailer, "send", real)
    send()
    send()
    assert len(mailer.sent) == 1


def _delayed(_: object) -> None:
    raise MailDelayed("busy")


def test_nobody_is_told_of_a_budget_that_is_gone(
    owner: UUID, food: Category, account: Account, worker: Worker, database: Database
) -> None:
    make_budget(owner, food.id, alert_thresholds=[100])
    spend(account, "100.00", food)
    database.execute("DELETE FROM budgets")
    assert worker.deliver() == []


def test_two_transactions_that_cross_together_give_one_alert(committed: Flask, committed_rows: Database) -> None:
    """Neither sees the other's money while both are at it, and together they reach the threshold."""
    for _ in range(5):
        committed_rows.execute("DELETE FROM budget_alerts; DELETE FROM outbox")
        owner = make_owner()
        food = new_category(owner)
        make_budget(owner, food.id, alert_thresholds=[80])

        def buy(account: Account, category: Category) -> Callable[[], None]:
            return lambda: spend(account, "20.00", category)

        at_once(committed, *[buy(make_account(owner), food) for _ in range(4)])
        assert remembered(committed_rows) == [("2024-03-01", 80, False)]
        assert messages(committed_rows) == 1
