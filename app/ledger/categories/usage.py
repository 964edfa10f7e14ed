"""How much a category is used."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import NamedTuple, Self


class Figures(NamedTuple):
    """The transactions of one category in one currency."""

    currency: str
    transactions: int
    total: Decimal
    first_on: date
    last_on: date


@dataclass(frozen=True, slots=True)
class Figure:
    """Transactions together. Nothing is converted: each currency has its sum."""

    count: int = 0
    sums: dict[str, Decimal] = field(default_factory=dict)
    first_on: date | None = None
    last_on: date | None = None

    @classmethod
    def of(cls, parts: Sequence[Figures]) -> Self:
        """All of these together."""
        sums: defaultdict[str, Decimal] = defaultdict(Decimal)
        for part in parts:
            sums[part.currency] += part.total
        return cls(
            count=sum(part.transactions for part in parts),
            sums=dict(sums),
            first_on=min((part.first_on for part in parts), default=None),
            last_on=max((part.last_on for part in parts), default=None),
        )


@dataclass(frozen=True, slots=True)
class Usage:
    """A category by itself, and with every category below it."""

    own: Figure = Figure()
    with_descendants: Figure = Figure()

    @classmethod
    def of(cls, own: Sequence[Figures], whole: Sequence[Figures]) -> Self:
        """The usage that these figures add up to."""
        return cls(Figure.of(own), Figure.of(whole))
