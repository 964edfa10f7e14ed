"""How a budget stands in a period: arithmetic over what was spent, without the database."""

import enum
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_DOWN, Decimal
from itertools import accumulate
from typing import NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

from app.core import clock
from app.ledger.budgets.models import Budget, BudgetAlert, BudgetRollover
from app.ledger.budgets.periods import Period, period, period_index
from app.ledger.money import decimals

ZERO = Decimal(0)
_CENT_OF_A_PERCENT = Decimal("0.01")


class BudgetStatus(enum.StrEnum):
    """Where the spending is, compared with what is available."""

    WITHIN = "within"
    REACHED = "reached"
    EXCEEDED = "exceeded"


class WantedPeriod(NamedTuple):
    """A period of a budget whose spending is asked for."""

    budget_id: UUID
    category_id: UUID
    currency: str
    number: int
    start: date
    end: date


class PeriodSum(NamedTuple):
    """What was spent in a period, booked and pending; refunds lower it, below zero too."""

    spent: Decimal = ZERO
    pending_spent: Decimal = ZERO


Sums = Mapping[tuple[UUID, int], PeriodSum]


@dataclass(frozen=True, slots=True)
class Progress:
    """A budget in one of its periods."""

    budget: Budget
    period_start: date
    period_end: date
    amount: Decimal
    carried_in: Decimal
    spent: Decimal
    pending_spent: Decimal
    # Today included; none in a period that is over.
    days_left: int
    # What was crossed in this period, in the order of the percentages.
    alerts: Sequence[BudgetAlert] = ()

    @property
    def available(self) -> Decimal:
        """The period's amount and what came from the period before."""
        return self.amount + self.carried_in

    @property
    def remaining(self) -> Decimal:
        """What may still be spent; below zero when it was too much."""
        return self.available - self.spent

    @property
    def percent(self) -> Decimal | None:
        """How much of what is available was spent; None when nothing is. Cut and not rounded: 99.999 is not 100."""
        if self.available <= 0:
            return None
        return (self.spent * 100 / self.available).quantize(_CENT_OF_A_PERCENT, ROUND_DOWN)

    @property
    def status(self) -> BudgetStatus:
        """Exactly all of it is reached, more is exceeded."""
        if self.spent == self.available:
            return BudgetStatus.REACHED
        return BudgetStatus.EXCEEDED if self.spent > self.available else BudgetStatus.WITHIN

    @property
    def daily_allowance(self) -> Decimal | None:
        """What may be spent on each day left, rounded down; None when no day is."""
        if not self.days_left:
            return None
        unit = Decimal(1).scaleb(-decimals(self.budget.currency))
        return (max(self.remaining, ZERO) / self.days_left).quantize(unit, ROUND_DOWN)


def today_in(timezone: str) -> date:
    """The day that it is for a person."""
    return clock.now().astimezone(ZoneInfo(timezone)).date()


def is_active(budget: Budget, on: date) -> bool:
    """Whether the day is one of the budget's: from `starts_on` up to and without `ends_on`."""
    return budget.starts_on <= on and (budget.ends_on is None or on < budget.ends_on)


def budget_period(budget: Budget, number: int) -> Period:
    """The nth period of the budget; its last one is cut where the budget ends."""
    whole = period(budget.period, budget.starts_on, number)
    end = whole.end if budget.ends_on is None else min(whole.end, budget.ends_on)
    return Period(number, whole.start, end)


def index_on(budget: Budget, on: date) -> int:
    """The number of the budget's period that holds the day."""
    return period_index(budget.period, budget.starts_on, on)


def wanted(budget: Budget, *, first: int, last: int) -> Iterator[WantedPeriod]:
    """The periods whose spending is needed to know how the budget stood in those from `first` to `last`.

    What is carried in is a function of history: with a rollover that is all of it.
    """
    since = first if budget.rollover is BudgetRollover.NONE else 0
    for number in range(since, last + 1):
        one = budget_period(budget, number)
        yield WantedPeriod(budget.id, budget.category_id, budget.currency, number, one.start, one.end)


def carried(rollover: BudgetRollover, amount: Decimal, spent: Iterable[Decimal]) -> list[Decimal]:
    """What is carried into each period and out of the last one, given what was spent in each from the first on."""

    def carry(before: Decimal, spent_in_it: Decimal) -> Decimal:
        left = amount + before - spent_in_it
        if rollover is BudgetRollover.NONE:
            return ZERO
        if rollover is BudgetRollover.SURPLUS:
            return max(ZERO, left)
        if rollover is BudgetRollover.DEFICIT:
            return min(ZERO, left)
        return left

    return list(accumulate(spent, carry, initial=ZERO))


def progress_of(budget: Budget, sums: Sums, *, first: int, last: int, today: date) -> list[Progress]:
    """How the budget stands in each of these periods."""
    if budget.rollover is BudgetRollover.NONE:
        carries = [ZERO] * (last + 1)
    else:
        spent = (sums.get((budget.id, number), PeriodSum()).spent for number in range(last))
        carries = carried(budget.rollover, budget.amount, spent)
    return [_standing(budget, number, carries[number], sums, today) for number in range(first, last + 1)]


def passed_thresholds(standing: Progress) -> list[int]:
    """The thresholds that the spending has reached. When nothing is available, spending anything reaches all."""
    if standing.spent <= 0:
        return []
    hundredfold = standing.spent * 100
    return [one for one in standing.budget.alert_thresholds if hundredfold >= one * standing.available]


def _standing(budget: Budget, number: int, carried_in: Decimal, sums: Sums, today: date) -> Progress:
    one = budget_period(budget, number)
    spent, pending_spent = sums.get((budget.id, number), PeriodSum())
    return Progress(
        budget=budget,
        period_start=one.start,
        period_end=one.end,
        amount=budget.amount,
        carried_in=carried_in,
        spent=spent,
        pending_spent=pending_spent,
        days_left=max(0, (one.end - max(today, one.start)).days),
    )
