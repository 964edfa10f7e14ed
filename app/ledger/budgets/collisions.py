"""Budgets that would stand side by side on one category: those of the same period and currency."""

from collections.abc import Iterable, Sequence
from typing import Any

from app.ledger.budgets.models import Budget
from app.ledger.money import shown

Pair = tuple[Budget, Budget]


def collisions(ours: Sequence[Budget], theirs: Sequence[Budget]) -> list[Pair]:
    """Each two that collide."""
    return [
        (one, other)
        for one in ours
        for other in theirs
        if one.period is other.period and one.currency == other.currency
    ]


def listed(pairs: Iterable[Pair]) -> list[dict[str, Any]]:
    """The pairs as an error shows them."""
    return [
        {"period": one.period.value, "currency": one.currency, "source": _shown(one), "target": _shown(other)}
        for one, other in pairs
    ]


def _shown(budget: Budget) -> dict[str, str]:
    return {
        "id": str(budget.id),
        "category_id": str(budget.category_id),
        "name": budget.name,
        "amount": shown(budget.amount, budget.currency),
    }
