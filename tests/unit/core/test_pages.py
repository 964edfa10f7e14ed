"""Cursors: opaque, signed, and good for one list."""

from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import uuid4

import pytest

from app.core.pages import CursorInvalid, Cursors

CURSORS = Cursors(b"k" * 32)
VALUES = [uuid4(), date(2026, 2, 28), datetime(2026, 1, 1, 12, 30, 0, 5, tzinfo=UTC), Decimal("-12.3400"), "ä", 7]


def test_values_come_back_as_they_were() -> None:
    cursor = CURSORS.make(VALUES, list_name="a")
    assert CURSORS.read(cursor, list_name="a") == VALUES
    assert str(CURSORS.read(cursor, list_name="a")[3]) == "-12.3400"


def test_a_cursor_is_no_guess_and_no_loan() -> None:
    cursor = CURSORS.make(VALUES, list_name="a")
    for other, name in ((CURSORS, "b"), (Cursors(b"x" * 32), "a")):
        with pytest.raises(CursorInvalid):
            other.read(cursor, list_name=name)


@pytest.mark.parametrize("cursor", ["", "x", "ä", "AAAA", "=" * 10, "A" * 10_000, "../../etc", "W10"])
def test_what_coffer_did_not_make_is_refused(cursor: str) -> None:
    with pytest.raises(CursorInvalid):
        CURSORS.read(cursor, list_name="a")


def test_every_character_counts() -> None:
    cursor = CURSORS.make([uuid4()], list_name="a")
    for position in range(len(cursor) - 1):
        changed = cursor[:position] + ("A" if cursor[position] != "A" else "B") + cursor[position + 1 :]
        with pytest.raises(CursorInvalid):
            CURSORS.read(changed, list_name="a")
