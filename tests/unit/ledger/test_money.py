"""Amounts and currencies (security number 102)."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.ledger.errors import AmountInvalid, CurrencyUnknown
from app.ledger.money import CURRENCIES, decimals, quantised, shown, units


@pytest.mark.parametrize(
    ("amount", "currency", "expected"),
    [
        ("12.34", "EUR", "12.34"),
        ("-12.3", "EUR", "-12.30"),
        ("5", "JPY", "5"),
        ("0.001", "KWD", "0.001"),
        ("1.2345", "CLF", "1.2345"),
        (7, "EUR", "7.00"),
        (Decimal("12.3400"), "EUR", "12.34"),
        ("9999999999.99", "EUR", "9999999999.99"),
        ("999999999999", "JPY", "999999999999"),
        ("00012.30", "EUR", "12.30"),
    ],
)
def test_amounts_have_the_decimals_of_their_currency(amount: Any, currency: str, expected: str) -> None:
    assert str(quantised(amount, currency)) == expected


@pytest.mark.parametrize(
    "amount",
    [
        1.5,
        True,
        None,
        [],
        "",
        " 1",
        "1 ",
        "1 000",
        "1,5",
        "1_000",
        "+1",
        "0x10",
        "1e3",
        "1E400",
        "NaN",
        "Infinity",
        "-Infinity",
        "١٢",
        "１２",
        "12.345",
        "1.000",
        ".5",
        "5.",
        "--1",
        "1\n",
        "10000000000",
        "9" * 41,
        10**12,
        10**400,
        Decimal("NaN"),
        Decimal("sNaN"),
        Decimal("Infinity"),
        Decimal("1e400"),
        Decimal("1e-400"),
        Decimal("0.001"),
        0,
        "0",
        "-0",
        "0.00",
        Decimal("-0.00"),
    ],
)
def test_what_is_no_amount_in_euros_is_refused(amount: Any) -> None:
    with pytest.raises(AmountInvalid) as refusal:
        quantised(amount, "EUR", field="paid")
    assert list(refusal.value.errors or {}) == ["paid"]


def test_zero_is_an_amount_where_it_is_allowed_and_has_no_sign() -> None:
    assert str(quantised("-0", "EUR", zero=True)) == "0.00"


@pytest.mark.parametrize("currency", ["EUX", "eur", "XXX", "XAU", "", "EU", None, 978])
def test_what_nothing_is_counted_in_is_no_currency(currency: Any) -> None:
    with pytest.raises(CurrencyUnknown):
        quantised("1", currency)


@given(st.decimals(allow_nan=True, allow_infinity=True), st.sampled_from(sorted(CURRENCIES)))
def test_an_amount_is_exact_or_refused(amount: Decimal, currency: str) -> None:
    try:
        found = quantised(amount, currency, zero=True)
    except AmountInvalid:
        return
    assert found == amount
    assert found.as_tuple().exponent == -decimals(currency)
    assert len(found.as_tuple().digits) <= 12
    assert quantised(shown(found, currency), currency, zero=True) == found
    assert units(found) == found * 10_000


@pytest.mark.parametrize("amount", ["1e3", "1.00001", 0.5, "1" * 13])
def test_a_bound_is_an_amount_in_some_currency(amount: Any) -> None:
    with pytest.raises(AmountInvalid):
        units(amount)
