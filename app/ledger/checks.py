"""What the fields of a row may hold, before the database is asked."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any
from uuid import UUID

from app.ledger.errors import FieldsInvalid


def checked_texts(fields: Mapping[str, Any], longest: Mapping[str, int], *, required: tuple[str, ...] = ()) -> None:
    """Refuse texts that the database cannot hold. Raises FieldsInvalid."""
    problems = {
        name: [problem]
        for name, most in longest.items()
        if name in fields and (problem := text_problem(fields[name], most, required=name in required))
    }
    if problems:
        raise FieldsInvalid(errors=problems)


def text_problem(value: Any, longest: int, *, required: bool = False) -> str | None:
    """What is wrong with the text, if anything is."""
    if value is None and not required:
        return None
    if not isinstance(value, str):
        return "Not a text."
    if required and not value.strip():
        return "Must not be empty."
    if len(value) > longest:
        return f"Longer than {longest} characters."
    if "\0" in value or not _encodable(value):
        return "Not valid text."
    return None


def date_problem(value: Any) -> str | None:
    """What is wrong with the civil date, if anything is."""
    return None if isinstance(value, date) and not isinstance(value, datetime) else "Not a date."


def id_problem(value: Any) -> str | None:
    """What is wrong with the id, if anything is."""
    return None if isinstance(value, UUID) else "Not an id."


def flag_problem(value: Any) -> str | None:
    """What is wrong with the flag, if anything is."""
    return None if isinstance(value, bool) else "Neither true nor false."


def _encodable(value: str) -> bool:
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
