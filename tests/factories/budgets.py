"""Budgets for tests, and a day that stands still."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from typing import Any
from unittest.mock import patch
from uuid import UUID

from app.core import clock
from app.ledger.budgets import service
from app.ledger.budgets.models import Budget, BudgetPeriod
from app.ledger.budgets.progress import Progress
from tests.factories.ledger import FIRST_DAY, uow_of


def make_budget(owner_id: UUID, category_id: UUID, amount: Any = "100.00", **changes: Any) -> Budget:
    """A monthly budget in euros from the first day on, without thresholds."""
    fields: dict[str, Any] = {
        "name": "Food",
        "currency": "EUR",
        "period": BudgetPeriod.MONTHLY,
        "starts_on": FIRST_DAY,
        "alert_thresholds": [],
    }
    return service.create_budget(
        uow_of(owner_id), owner_id=owner_id, category_id=category_id, amount=amount, **fields | changes
    )


def change_budget(budget: Budget, **changes: Any) -> Budget:
    """Change a budget as its owner."""
    return service.change_budget(uow_of(budget.user_id), owner_id=budget.user_id, budget_id=budget.id, changes=changes)


def progress_of(budget: Budget, on: date) -> Progress:
    """How the budget stands on a day."""
    (found,) = service.budget_progress(uow_of(budget.user_id), owner_id=budget.user_id, on=on, budget_id=budget.id)
    return found


@contextmanager
def today_is(day: date, hour: int = 12) -> Iterator[None]:
    """Let it be this day, in UTC."""
    with patch.object(clock, "now", lambda: datetime(day.year, day.month, day.day, hour, tzinfo=UTC)):
        yield
