"""A unit of work without a database, for unit tests of services.

`tests/contract` holds it to what the real one does.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Self
from uuid import UUID

from app.audit.audited import AuditedRepository
from app.core.cache import Entry
from app.jobs.models import OutboxMessage
from app.jobs.publisher import Envelope
from app.unit_of_work import UnitOfWork
from tests.memory.repositories import (
    MemoryAudit,
    MemoryOneTimeTokens,
    MemoryOutbox,
    MemoryRefreshTokens,
    MemorySessions,
    MemoryUsers,
)
from tests.memory.store import MemorySession, Store

__all__ = ["MemoryUnitOfWork", "Store"]


class MemoryUnitOfWork(UnitOfWork):
    """The unit of work over a store in memory; what its transactions send is in `store.published`."""

    def __init__(self, store: Store, *, acting_for: UUID | None = None) -> None:
        super().__init__(acting_for=acting_for, everybody=True)
        self.store = store

    def __enter__(self) -> Self:
        self._memory = memory = MemorySession(self.store)
        self._after_commit.clear()
        self._around_commit.clear()
        self.users = MemoryUsers(memory)
        self.sessions = MemorySessions(memory)
        self.refresh_tokens = MemoryRefreshTokens(memory)
        self.one_time_tokens = MemoryOneTimeTokens(memory)
        self.outbox = MemoryOutbox(memory, self._publish_after_commit)
        self.audit = MemoryAudit(memory)
        self.profiles = AuditedRepository(self.users, self.audit, "profile")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """What was not committed was never in the store."""

    def commit(self) -> None:
        enclosing, self._around_commit = self._around_commit, []
        with ExitStack() as stack:
            for block in enclosing:
                stack.enter_context(block)
            self._memory.commit()
        waiting, self._after_commit = self._after_commit, []
        for action in waiting:
            action()

    def outdate(self, entry: Entry) -> None:
        """There is no cache in front of this store."""

    def flush(self) -> None:
        self._memory.flush()

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        mark = self._memory.mark()
        try:
            yield
            self._memory.flush()
        except BaseException:
            self._memory.go_back(mark)
            raise

    def _publish_after_commit(self, message: OutboxMessage) -> None:
        envelope = Envelope.of(message)
        self.after_commit(lambda: self.store.published.append(envelope))
