"""Periods: the nth starts at the anchor plus n periods, clamped to the month's last day.

It is counted from the anchor and never from the period before: 31 January is followed by 28 or 29 February and then by
31 March. Periods are half open, without gap or overlap, and go on before the anchor with negative numbers.
"""

import calendar
from dataclasses import dataclass
from datetime import date, timedelta

from app.ledger.budgets.models import BudgetPeriod

_DAYS = {BudgetPeriod.WEEKLY: 7, BudgetPeriod.BIWEEKLY: 14}
_MONTHS = {BudgetPeriod.MONTHLY: 1, BudgetPeriod.QUARTERLY: 3, BudgetPeriod.YEARLY: 12}


@dataclass(frozen=True, slots=True)
class Period:
    """The days from `start` up to and without `end`."""

    number: int
    start: date
    end: date


def period_start(length: BudgetPeriod, anchor: date, number: int) -> date:
    """The first day of the nth period; outside of the calendar's years, its first or last day."""
    if length in _DAYS:
        return _within_calendar(anchor.toordinal() + number * _DAYS[length])
    year, month = divmod(anchor.year * 12 + anchor.month - 1 + number * _MONTHS[length], 12)
    if year < date.min.year:
        return date.min
    if year > date.max.year:
        return date.max
    return date(year, month + 1, min(anchor.day, calendar.monthrange(year, month + 1)[1]))


def period_index(length: BudgetPeriod, anchor: date, on: date) -> int:
    """The number of the period that holds the day."""
    if length in _DAYS:
        return (on - anchor).days // _DAYS[length]
    months = (on.year - anchor.year) * 12 + on.month - anchor.month
    # The period that starts in or last before this month; it may start later in the month than the day.
    number = months // _MONTHS[length]
    return number - (on < period_start(length, anchor, number))


def period(length: BudgetPeriod, anchor: date, number: int) -> Period:
    """The nth period."""
    return Period(number, period_start(length, anchor, number), period_start(length, anchor, number + 1))


def period_on(length: BudgetPeriod, anchor: date, on: date) -> Period:
    """The period that holds the day."""
    return period(length, anchor, period_index(length, anchor, on))


def _within_calendar(ordinal: int) -> date:
    if ordinal < date.min.toordinal():
        return date.min
    if ordinal > date.max.toordinal():
        return date.max
    return date.min + timedelta(days=ordinal - 1)
