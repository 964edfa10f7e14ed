"""Amounts and currencies. An amount is a Decimal with the decimals of its currency, and never a float."""

import re
from decimal import Decimal
from functools import cache

from iso4217 import Currency

from app.ledger.errors import AmountInvalid, CurrencyUnknown

MOST_DIGITS = 12
# The columns keep this many decimals: the most that a currency has.
SCALE = 4

_PLAIN = re.compile(r"-?[0-9]{1,40}(\.[0-9]{1,40})?")

# Metals, funds' units, tests and "none" have no decimals in ISO 4217: nothing is counted in them.
_DECIMALS = {one.code: one.exponent for one in Currency if one.exponent is not None}
CURRENCIES = frozenset(_DECIMALS)


def decimals(currency: str) -> int:
    """How many decimals the currency has. Raises CurrencyUnknown."""
    found = _DECIMALS.get(currency)
    if found is None:
        raise CurrencyUnknown(errors={"currency": ["Not a currency of ISO 4217."]})
    return found


def quantised(amount: Decimal | int | str, currency: str, *, field: str = "amount", zero: bool = False) -> Decimal:
    """The amount with exactly its currency's decimals; nothing is rounded. Raises AmountInvalid, CurrencyUnknown."""
    places = decimals(currency)
    exact = _exact(amount, field)
    if isinstance(amount, str) and _places(exact) > places:
        # Also when they are zeros: "1.000" is a thousand to some and one to others.
        raise _refusal(field, f"More than {places} decimals.")
    return _fitted(exact, currency, places, field, zero=zero)


def units(amount: Decimal | int | str, *, field: str = "amount") -> int:
    """The amount in ten-thousandths, in whatever currency: to compare with. Raises AmountInvalid."""
    exact = _exact(amount, field)
    if exact.adjusted() >= MOST_DIGITS or _places(exact.normalize()) > SCALE:
        raise _refusal(field, f"More than {MOST_DIGITS} digits, or more than {SCALE} decimals.")
    return int(exact.scaleb(SCALE))


def shown(amount: Decimal, currency: str) -> str:
    """The amount as clients read it."""
    return f"{amount:.{decimals(currency)}f}"


@cache
def _unit(places: int) -> Decimal:
    return Decimal(1).scaleb(-places)


def _exact(amount: Decimal | int | str, field: str) -> Decimal:
    if isinstance(amount, str):
        if not _PLAIN.fullmatch(amount):
            raise _refusal(field, "Not a decimal number such as 12.34.")
        return Decimal(amount)
    if isinstance(amount, bool) or not isinstance(amount, Decimal | int):
        raise _refusal(field, "Not a decimal number; a float is not exact.")
    if isinstance(amount, int):
        if abs(amount) >= 10**MOST_DIGITS:
            raise _refusal(field, f"More than {MOST_DIGITS} digits.")
        return Decimal(amount)
    if not amount.is_finite():
        raise _refusal(field, "Not a finite number.")
    return amount


def _fitted(exact: Decimal, currency: str, places: int, field: str, *, zero: bool) -> Decimal:
    # Before any arithmetic: 1e400 is short as text and long as a number.
    if exact.adjusted() >= MOST_DIGITS - places and exact:
        raise _refusal(field, f"More than {MOST_DIGITS} digits.")
    if _places(exact) > places and _places(exact.normalize()) > places:
        raise _refusal(field, f"{currency} has {places} decimals.")
    if not exact:
        if not zero:
            raise _refusal(field, "Must not be zero.")
        return abs(_unit(places) * 0)
    return exact.quantize(_unit(places))


def _places(number: Decimal) -> int:
    exponent = number.as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def _refusal(field: str, reason: str) -> AmountInvalid:
    return AmountInvalid(errors={field: [reason]})
