"""Plausible transactions of a household, the same on every run: salary, rent, bills, and the days in between."""

import calendar
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from random import Random
from typing import NamedTuple

CENT = Decimal("0.01")


class Seen(NamedTuple):
    """A transaction as a bank would tell of it. The category is named `Group/Category`, as in the defaults."""

    booked_on: date
    amount: Decimal
    description: str
    merchant: str | None
    category: str


@dataclass(frozen=True, slots=True)
class Regular:
    """Something that comes every month, on a day."""

    day: int
    amount: Decimal
    description: str
    merchant: str | None
    category: str


@dataclass(frozen=True, slots=True)
class Now:
    """Something that happens now and then: how often in relation to the others, and what it usually costs."""

    weight: int
    least: int
    most: int
    category: str
    merchants: tuple[str, ...]


MONTHLY = (
    Regular(28, Decimal("2850.00"), "Salary", "Nordwind GmbH", "Income/Salary"),
    Regular(1, Decimal("-920.00"), "Rent", "Hausverwaltung Linde", "Housing/Rent"),
    Regular(3, Decimal("-64.90"), "Electricity", "Stadtwerke", "Utilities/Electricity"),
    Regular(5, Decimal("-39.99"), "Internet", "Glasfaser Nord", "Utilities/Internet"),
    Regular(8, Decimal("-12.99"), "Streaming", "Lichtspiel+", "Leisure/Streaming"),
    Regular(15, Decimal("-49.00"), "Monthly ticket", "Verkehrsbetriebe", "Transport/Public transport"),
    Regular(20, Decimal("-86.40"), "Liability and household insurance", "Anker Versicherung", "Finances/Insurance"),
)

DAILY = (
    Now(30, 480, 9800, "Food/Groceries", ("Markthalle", "Bioladen Sonne", "Frischemarkt", "Getränke Huber")),
    Now(14, 250, 1450, "Food/Coffee", ("Café Anton", "Rösterei Süd", "Bäckerei Kern")),
    Now(10, 900, 5200, "Food/Restaurants", ("Trattoria Lina", "Sushi Kado", "Zum Hirschen")),
    Now(6, 320, 2400, "Transport/Taxi", ("Taxi 4711", "Radverleih Blitz")),
    Now(5, 990, 12900, "Shopping/Clothing", ("Garderobe", "Schuhhaus Meier")),
    Now(4, 500, 6900, "Health/Pharmacy", ("Apotheke am Markt",)),
    Now(4, 799, 4999, "Education/Books", ("Buchhandlung Wort", "Antiquariat Seite")),
    Now(2, 2900, 45000, "Travel/Holiday spending", ("Bahn", "Pension Seeblick")),
)
REFUND_IN = 60


def plausible_transactions(*, seed: int, begin: date, end: date, count: int) -> Iterator[Seen]:
    """`count` transactions from `begin` until before `end`, in order of their dates.

    The first seed's are those of a household; the others add days in between, so that many still look like one.
    """
    random = Random(seed)  # noqa: S311  # made to be the same again, guards nothing
    regular = list(_regular(begin, end))[:count] if seed == 0 else []
    days = (end - begin).days
    others = [_other(random, begin + timedelta(days=random.randrange(days))) for _ in range(count - len(regular))]
    yield from sorted([*regular, *others], key=lambda one: one.booked_on)


def _regular(begin: date, end: date) -> Iterator[Seen]:
    month = begin.replace(day=1)
    while month < end:
        last = calendar.monthrange(month.year, month.month)[1]
        for one in MONTHLY:
            on = month.replace(day=min(one.day, last))
            if begin <= on < end:
                yield Seen(on, one.amount, one.description, one.merchant, one.category)
        month = (month + timedelta(days=32)).replace(day=1)


def _other(random: Random, on: date) -> Seen:
    kind = random.choices(DAILY, weights=[one.weight for one in DAILY])[0]
    merchant = random.choice(kind.merchants)
    cents = random.randint(kind.least, kind.most)
    if random.randrange(REFUND_IN) == 0:
        return Seen(on, cents * CENT, f"Refund {merchant}", merchant, kind.category)
    return Seen(on, -cents * CENT, merchant, merchant, kind.category)
