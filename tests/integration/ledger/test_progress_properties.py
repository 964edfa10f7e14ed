"""Whatever was spent: progress is what a recount by hand finds, and what is carried obeys its identities."""

from datetime import date, timedelta
from decimal import Decimal

from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.ledger.budgets import service
from app.ledger.budgets.models import Budget, BudgetPeriod, BudgetRollover
from app.ledger.budgets.periods import period_index, period_on, period_start
from app.ledger.budgets.progress import Progress, carried
from app.ledger.transactions.models import Transaction
from tests.factories.budgets import make_budget
from tests.factories.categories import new_chain
from tests.factories.ledger import FIRST_DAY, make_account, make_owner, make_transaction, uow_of

# For each period: what was spent in it.
HISTORY = st.lists(st.integers(-30_000, 30_000).map(lambda cents: Decimal(cents) / 100), max_size=24)
AMOUNTS = st.integers(1, 50_000).map(lambda cents: Decimal(cents) / 100)


@given(HISTORY, AMOUNTS)
def test_what_is_carried_obeys_its_identities(history: list[Decimal], amount: Decimal) -> None:
    none, surplus, deficit, full = (carried(one, amount, history) for one in BudgetRollover)
    assert len(full) == len(history) + 1
    assert not any(none)
    assert min(surplus) >= 0 >= max(deficit)
    # Everything that came in and was not spent is there in the end.
    assert full[-1] == amount * len(history) - sum(history)
    for before, after, spent in zip(surplus, surplus[1:], history, strict=False):
        assert after == max(Decimal(0), amount + before - spent)
    for before, after, spent in zip(deficit, deficit[1:], history, strict=False):
        assert after == min(Decimal(0), amount + before - spent)
    assert all(low <= middle <= high for low, middle, high in zip(deficit, full, surplus, strict=True))


SPENT = st.lists(
    st.tuples(st.integers(0, 2), st.integers(-9999, 9999).filter(bool), st.integers(-40, 200), st.booleans()),
    max_size=15,
)
BUDGETS = st.lists(
    st.tuples(
        st.integers(0, 2),
        AMOUNTS,
        st.sampled_from(BudgetPeriod),
        st.sampled_from(BudgetRollover),
        st.integers(0, 40),
    ),
    min_size=1,
    max_size=5,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(SPENT, BUDGETS, st.integers(0, 200))
def test_progress_equals_a_recount_by_hand(
    app: Flask,
    spent: list[tuple[int, int, int, bool]],
    budgets: list[tuple[int, Decimal, BudgetPeriod, BudgetRollover, int]],
    day: int,
) -> None:
    owner = make_owner()
    account = make_account(owner)
    chain = new_chain(owner, "A", "B", "C")
    rows = [
        make_transaction(
            account,
            Decimal(cents) / 100,
            category_id=chain[where].id,
            booked_on=FIRST_DAY + timedelta(days=offset),
            pending=pending,
        )
        for where, cents, offset, pending in spent
    ]
    made = [
        make_budget(
            owner,
            chain[where].id,
            amount,
            period=period,
            rollover=rollover,
            starts_on=FIRST_DAY + timedelta(days=offset),
        )
        for where, amount, period, rollover, offset in budgets
    ]
    on = FIRST_DAY + timedelta(days=day)
    below = {chain[level].id: {one.id for one in chain[level:]} for level in range(3)}
    found = {one.budget.id: one for one in service.budget_progress(uow_of(owner), owner_id=owner, on=on)}
    assert set(found) == {one.id for one in made if one.starts_on <= on}
    for budget in made:
        if budget.id in found:
            compare(found[budget.id], budget, [row for row in rows if row.category_id in below[budget.category_id]], on)


def compare(found: Progress, budget: Budget, rows: list[Transaction], on: date) -> None:
    def spent(number: int, *, pending: bool = False) -> Decimal:
        start = period_start(budget.period, budget.starts_on, number)
        end = period_start(budget.period, budget.starts_on, number + 1)
        return -sum((row.amount for row in rows if start <= row.booked_on < end and row.pending is pending), Decimal(0))

    number = period_index(budget.period, budget.starts_on, on)
    carry = Decimal(0)
    for earlier in range(number):
        left = budget.amount + carry - spent(earlier)
        carry = {
            BudgetRollover.NONE: Decimal(0),
            BudgetRollover.SURPLUS: max(left, Decimal(0)),
            BudgetRollover.DEFICIT: min(left, Decimal(0)),
            BudgetRollover.FULL: left,
        }[budget.rollover]
    period = period_on(budget.period, budget.starts_on, on)
    assert (found.period_start, found.period_end) == (period.start, period.end)
    assert (found.carried_in, found.spent) == (carry, spent(number))
    assert found.pending_spent == spent(number, pending=True)
    assert found.remaining == budget.amount + carry - spent(number)
