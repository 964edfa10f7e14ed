"""Periods tile the calendar, whatever their anchor (semantics, section 4)."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.ledger.budgets.models import BudgetPeriod
from app.ledger.budgets.periods import period, period_index, period_on, period_start

DAYS = st.dates(date(1900, 1, 1), date(2199, 12, 31))
LENGTHS = st.sampled_from(BudgetPeriod)
NUMBERS = st.integers(-500, 500)


@pytest.mark.parametrize(
    ("anchor", "length", "starts"),
    [
        (date(2023, 1, 31), BudgetPeriod.MONTHLY, ["2023-01-31", "2023-02-28", "2023-03-31", "2023-04-30"]),
        (date(2024, 1, 31), BudgetPeriod.MONTHLY, ["2024-01-31", "2024-02-29", "2024-03-31", "2024-04-30"]),
        (date(2024, 11, 30), BudgetPeriod.QUARTERLY, ["2024-11-30", "2025-02-28", "2025-05-30", "2025-08-30"]),
        (
            date(2024, 2, 29),
            BudgetPeriod.YEARLY,
            ["2024-02-29", "2025-02-28", "2026-02-28", "2027-02-28", "2028-02-29"],
        ),
        (date(2024, 12, 30), BudgetPeriod.WEEKLY, ["2024-12-30", "2025-01-06", "2025-01-13"]),
        (date(2024, 12, 30), BudgetPeriod.BIWEEKLY, ["2024-12-30", "2025-01-13", "2025-01-27"]),
    ],
)
def test_each_period_is_counted_from_the_anchor(anchor: date, length: BudgetPeriod, starts: list[str]) -> None:
    assert [period_start(length, anchor, n).isoformat() for n in range(len(starts))] == starts


def test_periods_go_on_before_the_anchor() -> None:
    assert period_start(BudgetPeriod.MONTHLY, date(2024, 3, 31), -1) == date(2024, 2, 29)
    assert period_index(BudgetPeriod.MONTHLY, date(2024, 3, 31), date(2024, 3, 30)) == -1
    assert period_index(BudgetPeriod.WEEKLY, date(2024, 1, 1), date(2023, 12, 31)) == -1


@given(LENGTHS, DAYS, NUMBERS)
def test_the_index_of_a_start_is_its_number(length: BudgetPeriod, anchor: date, number: int) -> None:
    assert period_index(length, anchor, period_start(length, anchor, number)) == number


@given(LENGTHS, DAYS, NUMBERS)
def test_a_period_ends_where_the_next_starts(length: BudgetPeriod, anchor: date, number: int) -> None:
    one, following = period(length, anchor, number), period(length, anchor, number + 1)
    assert one.start < one.end == following.start
    assert period_index(length, anchor, one.end - timedelta(days=1)) == number


@given(LENGTHS, DAYS, DAYS)
def test_every_day_lies_in_exactly_the_period_of_its_index(length: BudgetPeriod, anchor: date, on: date) -> None:
    found = period_on(length, anchor, on)
    assert found.start <= on < found.end
    assert found == period(length, anchor, period_index(length, anchor, on))


@given(LENGTHS, DAYS, DAYS, st.integers(0, 800))
def test_periods_tile_every_range(length: BudgetPeriod, anchor: date, first: date, days: int) -> None:
    """Walking day by day, the index stays or grows by one, exactly at a start."""
    last = min(first + timedelta(days=days), date(2199, 12, 31))
    numbers = range(period_index(length, anchor, first), period_index(length, anchor, last) + 1)
    covered = [day for n in numbers for day in _days_of(length, anchor, n) if first <= day <= last]
    assert covered == [first + timedelta(days=n) for n in range((last - first).days + 1)]


@pytest.mark.parametrize("length", BudgetPeriod)
def test_the_calendar_ends_somewhere(length: BudgetPeriod) -> None:
    assert period_start(length, date(2024, 1, 1), 10**7) == date.max
    assert period_start(length, date(2024, 1, 1), -(10**7)) == date.min
    assert period_on(length, date(2024, 1, 1), date.max).end == date.max


def _days_of(length: BudgetPeriod, anchor: date, number: int) -> list[date]:
    one = period(length, anchor, number)
    return [one.start + timedelta(days=n) for n in range((one.end - one.start).days)]
