"""Where the work at hand comes from: kept for the logs, the audit rows and the tasks that follow from it."""

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from uuid import UUID

import structlog

_WELL_FORMED = re.compile(r"[A-Za-z0-9._-]{8,64}\Z")


@dataclass(frozen=True, slots=True)
class Origin:
    """The request, task or command behind what happens now."""

    request_id: str
    ip: str | None = None
    user_agent: str | None = None
    actor_id: UUID | None = None


_current: ContextVar[Origin | None] = ContextVar("origin", default=None)


def new_request_id() -> str:
    """A fresh id of 128 random bits."""
    return secrets.token_hex(16)


def accepted_request_id(given: str | None) -> str:
    """The caller's id when it is well formed (8 to 64 of `A-Z a-z 0-9 . _ -`), else a fresh one."""
    return given if given and _WELL_FORMED.match(given) else new_request_id()


def current() -> Origin:
    """The origin of the work at hand; outside of any, one with a fresh id."""
    return _current.get() or Origin(request_id=new_request_id())


def act_as(person_id: UUID) -> None:
    """Say who acts, once that is known; it holds to the end of the work at hand."""
    _current.set(replace(current(), actor_id=person_id))


@contextmanager
def working_for(origin: Origin) -> Iterator[None]:
    """Let everything inside the block be done for this origin."""
    token = _current.set(origin)
    with structlog.contextvars.bound_contextvars(request_id=origin.request_id):
        try:
            yield
        finally:
            _current.reset(token)
