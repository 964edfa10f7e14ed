"""What the database refused, in the words of Coffer: mapped by the name of the constraint."""

import re
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Engine, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import IntegrityError

from app.core.errors import CofferError, Conflict, Invalid

ErrorClass = TypeVar("ErrorClass", bound=type[CofferError])

_by_constraint: dict[str, type[CofferError]] = {}

# Where no feature has said more.
_BY_STATE: dict[str, type[CofferError]] = {
    "23505": Conflict,  # unique_violation
    "23503": Conflict,  # foreign_key_violation
    "23514": Invalid,  # check_violation
    "23502": Invalid,  # not_null_violation
}

# TimescaleDB puts the number of the chunk before the constraint's name.
_CHUNK = re.compile(r"^\d+_")


def refused_by(*constraints: str) -> Callable[[ErrorClass], ErrorClass]:
    """Class decorator: this error is what breaking one of these constraints means."""

    def register(error: ErrorClass) -> ErrorClass:
        _by_constraint.update(dict.fromkeys(constraints, error))
        return error

    return register


def translate(error: IntegrityError) -> CofferError | None:
    """The refusal that a broken constraint stands for; None for a state that stands for none."""
    diagnosis = getattr(error.orig, "diag", None)
    constraint = _CHUNK.sub("", getattr(diagnosis, "constraint_name", None) or "")
    state = getattr(error.orig, "sqlstate", None) or ""
    found = _by_constraint.get(constraint) or _BY_STATE.get(state)
    return found() if found else None


def translate_errors(engine: Engine) -> None:
    """Let statements on this engine raise Coffer's errors; the database's own stays chained for the log."""

    def handle(context: ExceptionContext) -> None:
        if isinstance(context.sqlalchemy_exception, IntegrityError):
            refusal = translate(context.sqlalchemy_exception)
            if refusal is not None:
                raise refusal from context.sqlalchemy_exception

    event.listen(engine, "handle_error", handle)
