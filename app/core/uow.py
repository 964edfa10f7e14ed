"""One transaction: begun on entering the block, kept by `commit`, otherwise undone on leaving it.

Each transaction tells the database who is acting, and row-level security shows it that person's rows and no others.
"""

import random
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeVar
from uuid import UUID

import structlog
from sqlalchemy import Connection, event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import ORMExecuteState, Session, SessionTransaction, with_loader_criteria

from app.core.db import SoftDeleted

log = structlog.get_logger(__name__)

Answer = TypeVar("Answer")

# serialization_failure, deadlock_detected: the transaction was in order and merely unlucky.
UNLUCKY = {"40001", "40P01"}
MOST_TRIES = 3

# For this transaction only: what a pooled connection was used for before is never seen.
_SAY_WHO = text("SELECT set_config('app.user_id', :person, true), set_config('app.everybody', :everybody, true)")


_LIVE_ONLY = with_loader_criteria(SoftDeleted, lambda model: model.deleted_at.is_(None), include_aliases=True)


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose rows a transaction sees: one person's, nobody's, or everybody's."""

    person: UUID | None = None
    everybody: bool = False


class Transaction(ABC):
    """The mechanics of a unit of work; `app.unit_of_work` adds the repositories."""

    def __init__(self, open_session: Callable[[], Session]) -> None:
        self._open_session = open_session
        self._after_commit: list[Callable[[], None]] = []
        self._around_commit: list[AbstractContextManager[None]] = []

    def __enter__(self) -> Self:
        self._session = self._open_session()
        event.listen(self._session, "after_begin", self._say_who)
        event.listen(self._session, "do_orm_execute", _leave_out_deleted)
        self._after_commit.clear()
        self._around_commit.clear()
        self._bind(self._session)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Closing rolls back what was not committed, so leaving the block early changes nothing.
        self._session.close()

    def commit(self) -> None:
        """Keep everything done so far, then run what waits for that."""
        enclosing, self._around_commit = self._around_commit, []
        with ExitStack() as stack:
            for block in enclosing:
                stack.enter_context(block)
            self._session.commit()
        waiting, self._after_commit = self._after_commit, []
        for action in waiting:
            action()

    def flush(self) -> None:
        """Write what is pending now, so that times and defaults of the database are known."""
        self._session.flush()

    def after_commit(self, action: Callable[[], None]) -> None:
        """Run this once the changes are kept; never when they are not."""
        self._after_commit.append(action)

    def around_commit(self, block: AbstractContextManager[None]) -> None:
        """Enter this right before the commit and leave it right after; never when there is none."""
        self._around_commit.append(block)

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """A block whose failure undoes only itself."""
        with self._session.begin_nested():
            yield

    @abstractmethod
    def _bind(self, session: Session) -> None:
        """Make the repositories of this transaction."""

    @abstractmethod
    def _scope(self) -> Scope:
        """Whose rows this transaction sees."""

    def _say_who(self, _: Session, transaction: SessionTransaction, connection: Connection) -> None:
        if not transaction.nested:
            scope = self._scope()
            person = str(scope.person) if scope.person else ""
            connection.execute(_SAY_WHO, {"person": person, "everybody": "on" if scope.everybody else ""})


def _leave_out_deleted(execution: ORMExecuteState) -> None:
    """Show rows that were deleted softly only to a statement that asks for them."""
    if execution.is_select and not execution.execution_options.get("include_deleted", False):
        execution.statement = execution.statement.options(_LIVE_ONLY)


def retried(work: Callable[[], Answer], *, tries: int = MOST_TRIES) -> Answer:
    """Do the whole transaction again when it met a deadlock or a serialisation failure; a few times, with jitter.

    `work` opens the block, commits and returns; it must have no effect outside of the database.
    """
    for attempt in range(1, tries + 1):
        try:
            return work()
        except DBAPIError as error:
            if attempt == tries or getattr(error.orig, "sqlstate", None) not in UNLUCKY:
                raise
            log.info("transaction_retried", attempt=attempt)
            time.sleep(random.uniform(0, 0.05 * 2**attempt))  # noqa: S311  # spreads retries, guards nothing
    raise AssertionError("unreachable")
