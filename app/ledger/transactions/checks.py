"""What the fields of a transaction may hold."""

from collections.abc import Mapping
from typing import Any

from app.ledger.checks import date_problem, flag_problem, id_problem, text_problem
from app.ledger.errors import FieldsInvalid
from app.ledger.money import quantised

LONGEST = {"description": 500, "merchant": 200, "notes": 2000, "external_id": 200}


def checked(fields: Mapping[str, Any], currency: str | None = None) -> dict[str, Any]:
    """The fields with the amount in its currency's decimals. Raises AmountInvalid, FieldsInvalid.

    Without a currency the amount stays as it is, to be checked when the account is known.
    """
    problems = {name: [problem] for name, value in fields.items() if (problem := _problem(name, value))}
    if problems:
        raise FieldsInvalid(errors=problems)
    if currency is None or "amount" not in fields:
        return dict(fields)
    return {**fields, "amount": quantised(fields["amount"], currency)}


def _problem(name: str, value: Any) -> str | None:  # noqa: PLR0911  # a table of one line each
    match name:
        case "amount":
            return None
        case "booked_on":
            return date_problem(value)
        case "pending":
            return flag_problem(value)
        case "account_id":
            return id_problem(value)
        case "category_id":
            return None if value is None else id_problem(value)
        case _ if name in LONGEST:
            return text_problem(value, LONGEST[name], required=False) or (
                "Not a text." if name == "description" and value is None else None
            )
        case _:
            return "Unknown field."
