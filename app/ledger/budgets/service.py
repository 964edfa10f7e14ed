"""What a person can do with their budgets."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from app.core.db import new_id
from app.core.extensions import parts
from app.core.pages import USUAL_PER_PAGE, Page
from app.ledger.budgets.alerts import record_crossings_of
from app.ledger.budgets.models import DEFAULT_THRESHOLDS, Budget, BudgetAlert, BudgetPeriod, BudgetRollover
from app.ledger.budgets.progress import Progress, index_on, is_active, progress_of, today_in, wanted
from app.ledger.checks import checked_texts, date_problem, id_problem
from app.ledger.errors import FieldsInvalid
from app.ledger.history import differences
from app.ledger.money import quantised
from app.ledger.owned import once_more
from app.people.cards import person_card
from app.unit_of_work import UnitOfWork

CheckVersion = Callable[[datetime], None]

_FIRST_YEAR, _LAST_YEAR = 2000, 2100
# How far ahead one may look: each period between is counted.
FURTHEST_AHEAD = timedelta(days=10 * 366)
_MOST_THRESHOLDS = 20
_HIGHEST_THRESHOLD = 1000
_CHANGEABLE = {
    "category_id", "name", "amount", "currency", "period", "starts_on", "ends_on", "rollover", "alert_thresholds",
}  # fmt: skip


def get_budget(uow: UnitOfWork, *, owner_id: UUID, budget_id: UUID) -> Budget:
    """One budget. Raises BudgetNotFound."""
    with uow:
        return uow.budgets.get_owned(budget_id, owner_id=owner_id)


def list_budgets(
    uow: UnitOfWork,
    *,
    owner_id: UUID,
    category_id: UUID | None = None,
    limit: int = USUAL_PER_PAGE,
    cursor: str | None = None,
) -> Page[Budget]:
    """The person's budgets, the newest first. Raises CursorInvalid."""
    with uow:
        return uow.budgets.list_owned(owner_id, parts().cursors, category_id=category_id, limit=limit, cursor=cursor)


@once_more
def create_budget(
    uow: UnitOfWork,
    *,
    owner_id: UUID,
    category_id: UUID,
    name: str,
    amount: Decimal | int | str,
    currency: str,
    period: BudgetPeriod,
    starts_on: date,
    ends_on: date | None = None,
    rollover: BudgetRollover = BudgetRollover.NONE,
    alert_thresholds: Sequence[int] = DEFAULT_THRESHOLDS,
) -> Budget:
    """Begin a budget, which counts from `starts_on` up to and without `ends_on`.

    Thresholds that the spending has reached already are remembered and give no message. Raises FieldsInvalid,
    AmountInvalid, CurrencyUnknown, CategoryNotFound.
    """
    fields = _checked(
        {
            "category_id": category_id,
            "name": name,
            "amount": amount,
            "currency": currency,
            "period": period,
            "starts_on": starts_on,
            "ends_on": ends_on,
            "rollover": rollover,
            "alert_thresholds": alert_thresholds,
        }
    )
    with uow:
        uow.categories.get_visible(category_id, owner_id=owner_id)
        budget = uow.budgets.add(Budget(id=new_id(), user_id=owner_id, **fields))
        uow.audit.record("budget.created", budget, changes=differences({}, budget.as_dict()))
        record_crossings_of(uow, uow.users.get(owner_id), [budget], silent=True)
        uow.commit()
    return budget


@once_more
def change_budget(
    uow: UnitOfWork,
    *,
    owner_id: UUID,
    budget_id: UUID,
    changes: Mapping[str, Any],
    check_version: CheckVersion | None = None,
) -> Budget:
    """Change some fields. They hold for the past as well: what is carried over is counted anew from the first period.

    `check_version` raises Stale under the row's lock. Raises BudgetNotFound, FieldsInvalid, AmountInvalid,
    CurrencyUnknown, CategoryNotFound.
    """
    if unknown := set(changes) - _CHANGEABLE:
        raise FieldsInvalid(errors={name: ["Cannot be changed."] for name in sorted(unknown)})
    with uow:
        budget = uow.budgets.get_owned_for_update(budget_id, owner_id=owner_id)
        if check_version:
            check_version(budget.updated_at)
        new = _checked({name: getattr(budget, name) for name in _CHANGEABLE} | dict(changes))
        if new["category_id"] != budget.category_id:
            uow.categories.get_visible(new["category_id"], owner_id=owner_id)
        before = budget.as_dict()
        uow.budgets.update(budget, new)
        if changed := differences(before, budget.as_dict()):
            uow.audit.record("budget.changed", budget, changes=changed)
            record_crossings_of(uow, uow.users.get(owner_id), [budget], silent=True)
            uow.commit()
    return budget


@once_more
def delete_budget(
    uow: UnitOfWork, *, owner_id: UUID, budget_id: UUID, check_version: CheckVersion | None = None
) -> None:
    """Delete a budget with the memory of its alerts. Raises BudgetNotFound, or what `check_version` raises."""
    with uow:
        budget = uow.budgets.get_owned_for_update(budget_id, owner_id=owner_id)
        if check_version:
            check_version(budget.updated_at)
        changes = {name: [value, None] for name, value in budget.as_dict().items()}
        uow.budgets.remove(budget)
        uow.audit.record("budget.deleted", budget, changes=changes)
        uow.commit()


def budget_progress(
    uow: UnitOfWork, *, owner_id: UUID, on: date | None = None, budget_id: UUID | None = None
) -> list[Progress]:
    """How each budget, or this one, stands in the period that holds the day: today in the person's time zone.

    Budgets that the day does not belong to are left out. Raises FieldsInvalid for a day too far ahead, BudgetNotFound.
    """
    today = today_in(person_card(uow, user_id=owner_id).timezone)
    with uow:
        day = today if on is None else on
        if day > today + FURTHEST_AHEAD:
            raise FieldsInvalid(errors={"on": ["Too far ahead."]})
        if budget_id is None:
            budgets = uow.budgets.list_active(owner_id, day)
        else:
            budgets = [one for one in [uow.budgets.get_owned(budget_id, owner_id=owner_id)] if is_active(one, day)]
        numbers = {one.id: index_on(one, day) for one in budgets}
        periods = (each for one in budgets for each in wanted(one, first=numbers[one.id], last=numbers[one.id]))
        sums = uow.spending.by_period(owner_id, periods)
        standings = [
            standing
            for one in budgets
            for standing in progress_of(one, sums, first=numbers[one.id], last=numbers[one.id], today=today)
        ]
        return _with_alerts(uow, owner_id, standings)


def _with_alerts(uow: UnitOfWork, owner_id: UUID, standings: Sequence[Progress]) -> list[Progress]:
    of_period: dict[tuple[UUID, date], list[BudgetAlert]] = {(one.budget.id, one.period_start): [] for one in standings}
    for alert in uow.budget_alerts.list_of_periods(owner_id, of_period):
        of_period[alert.budget_id, alert.period_start].append(alert)
    return [replace(one, alerts=tuple(of_period[one.budget.id, one.period_start])) for one in standings]


def _checked(fields: Mapping[str, Any]) -> dict[str, Any]:
    """All fields of a budget in their normal form. Raises FieldsInvalid, AmountInvalid, CurrencyUnknown."""
    fields = dict(fields)
    checked_texts(fields, {"name": 80}, required=("name",))
    problems = {name: [problem] for name, value in fields.items() if (problem := _problem(name, value))}
    if not problems and fields["ends_on"] is not None and fields["ends_on"] <= fields["starts_on"]:
        problems["ends_on"] = ["Must be after starts_on."]
    if problems:
        raise FieldsInvalid(errors=problems)
    fields["amount"] = quantised(fields["amount"], fields["currency"])
    if fields["amount"] < 0:
        raise FieldsInvalid(errors={"amount": ["Must be more than zero."]})
    fields["name"] = fields["name"].strip()
    fields["alert_thresholds"] = sorted(set(fields["alert_thresholds"]))
    return fields


def _problem(name: str, value: Any) -> str | None:  # noqa: PLR0911  # a table of one line each
    match name:
        case "category_id":
            return id_problem(value)
        case "starts_on":
            return _day_problem(value)
        case "ends_on":
            return None if value is None else _day_problem(value)
        case "period":
            return None if isinstance(value, BudgetPeriod) else "Not a period."
        case "rollover":
            return None if isinstance(value, BudgetRollover) else "Not a way of rolling over."
        case "alert_thresholds":
            return _thresholds_problem(value)
        case _:
            return None


def _day_problem(value: Any) -> str | None:
    problem = date_problem(value)
    if problem is None and not _FIRST_YEAR <= value.year <= _LAST_YEAR:
        problem = f"Must lie in the years from {_FIRST_YEAR} to {_LAST_YEAR}."
    return problem


def _thresholds_problem(value: Any) -> str | None:
    if isinstance(value, str) or not isinstance(value, Sequence):
        return "Not a list."
    if any(isinstance(one, bool) or not isinstance(one, int) or not 1 <= one <= _HIGHEST_THRESHOLD for one in value):
        return f"Whole percentages from 1 to {_HIGHEST_THRESHOLD}."
    return f"More than {_MOST_THRESHOLDS}." if len(set(value)) > _MOST_THRESHOLDS else None
