"""Alerts: thresholds that the spending has reached, each told of once in a period.

A row for each (budget, period, percentage) is the memory. It is written in the transaction that changed the spending,
and only who wrote it sends the message. Of two transactions that reach a threshold together, neither may see the other:
hence the lock on the budgets, before what was spent is asked.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import date, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from app.core import clock
from app.core.db import new_id
from app.core.uow import retried
from app.jobs.names import SEND_BUDGET_ALERT
from app.ledger.budgets.models import Budget, BudgetAlert
from app.ledger.budgets.progress import (
    WantedPeriod,
    budget_period,
    index_on,
    passed_thresholds,
    progress_of,
    today_in,
    wanted,
)
from app.people.models import User
from app.unit_of_work import UnitOfWork

SWEEP_BATCH = 500
SWEEPS_BACK = timedelta(days=7)
ONE_DAY = timedelta(days=1)


def record_crossings(
    uow: UnitOfWork,
    *,
    owner_id: UUID,
    category_ids: Collection[UUID] | None = None,
    since: date | None = None,
    silent: bool = False,
) -> Sequence[BudgetAlert]:
    """Remember which thresholds are reached now and were not before; call it last, in the transaction that changed it.

    `category_ids`: the categories whose spending has changed, before and after the change; None means any. `since`: the
    earliest day on which it has changed, if that may lie before today's period. Several thresholds reached at once give
    one message, for the highest. Periods that are over are remembered without a message, and so is everything when it
    is `silent`: when the person changed the budget or the categories and not the spending. Periods that have not begun
    are left to `sweep_alerts`. Never commits.
    """
    if category_ids is not None and not category_ids:
        return []
    budgets = uow.spending.lock_budgets(owner_id, category_ids)
    person = uow.users.find(owner_id) if budgets else None
    if person is None:
        return []
    return record_crossings_of(uow, person, budgets, since=since, silent=silent)


def record_crossings_of(
    uow: UnitOfWork, person: User, budgets: Sequence[Budget], *, since: date | None = None, silent: bool = False
) -> Sequence[BudgetAlert]:
    """`record_crossings` of budgets that are locked already."""
    today = today_in(person.timezone)
    spans = {one: span for one in budgets if (span := _span(one, since, today))}
    sums = uow.spending.by_period(person.id, _periods(spans))
    crossed = [
        _alert(standing.budget, standing.period_start, percent, standing.spent)
        for budget, (first, last) in spans.items()
        for standing in progress_of(budget, sums, first=first, last=last, today=today)
        for percent in passed_thresholds(standing)
    ]
    added = uow.budget_alerts.add_new(crossed)
    if not silent:
        _tell(uow, person, spans, added, today)
    return added


def sweep_alerts(uow: UnitOfWork) -> int:
    """Find what was missed in the present periods of everybody, and what has begun; returns how many rows were missing.

    Periods that ended a few days ago are looked at too, without a message. Each person is a transaction of their own,
    so that none waits for another or is lost with another.
    """
    today = clock.now().date()
    since = today - SWEEPS_BACK
    found = 0
    after: UUID | None = None
    while True:
        with uow:
            # It may be tomorrow already where the person is.
            people = uow.budgets.list_people(since, today + ONE_DAY, after=after, limit=SWEEP_BATCH)
        for person_id in people:
            found += retried(partial(_sweep, uow, person_id, since))
        if len(people) < SWEEP_BATCH:
            return found
        after = people[-1]


def _sweep(uow: UnitOfWork, person_id: UUID, since: date) -> int:
    with uow:
        added = record_crossings(uow, owner_id=person_id, since=since)
        uow.commit()
    return len(added)


def _span(budget: Budget, since: date | None, today: date) -> tuple[int, int] | None:
    """The first and the last period to look at: up to today's, or to the one in which the budget has ended."""
    if not budget.alert_thresholds or budget.starts_on > today:
        return None
    last = index_on(budget, today)
    if budget.ends_on is not None and budget.ends_on <= today:
        if since is None:
            return None
        last = index_on(budget, budget.ends_on)
        if budget_period(budget, last).start == budget.ends_on:
            last -= 1
    first = last if since is None else index_on(budget, max(min(since, today), budget.starts_on))
    return (first, last) if first <= last else None


def _periods(spans: Mapping[Budget, tuple[int, int]]) -> list[WantedPeriod]:
    return [one for budget, (first, last) in spans.items() for one in wanted(budget, first=first, last=last)]


def _alert(budget: Budget, period_start: date, percent: int, spent: Any) -> dict[str, Any]:
    return {
        "id": new_id(),
        "user_id": budget.user_id,
        "budget_id": budget.id,
        "period_start": period_start,
        "percent": percent,
        "spent": spent,
        "silent": True,
        "notified_at": None,
    }


def _tell(
    uow: UnitOfWork, person: User, budgets: Collection[Budget], added: Sequence[BudgetAlert], today: date
) -> None:
    """Ask for the message of the highest new threshold of each budget, in the period that today is in."""
    highest: dict[UUID, BudgetAlert] = {}
    present = {one.id: budget_period(one, index_on(one, today)).start for one in budgets}
    for alert in sorted(added, key=lambda one: one.percent):
        if present[alert.budget_id] == alert.period_start:
            highest[alert.budget_id] = alert
    if not highest:
        return
    uow.budget_alerts.mark_loud([one.id for one in highest.values()])
    for alert in highest.values():
        uow.outbox.send(SEND_BUDGET_ALERT, user_id=person.id, alert_id=alert.id)
