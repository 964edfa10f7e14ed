"""One transaction: begun on entering the block, kept by `commit`, otherwise undone on leaving it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from sqlalchemy.orm import Session


class Transaction(ABC):
    """The mechanics of a unit of work; `app.unit_of_work` adds the repositories."""

    def __init__(self, open_session: Callable[[], Session]) -> None:
        self._open_session = open_session
        self._after_commit: list[Callable[[], None]] = []

    def __enter__(self) -> Self:
        self._session = self._open_session()
        self._after_commit.clear()
        self._bind(self._session)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Closing rolls back what was not committed, so leaving the block early changes nothing.
        self._session.close()

    def commit(self) -> None:
        """Keep everything done so far, then run what waits for that."""
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

    @abstractmethod
    def _bind(self, session: Session) -> None:
        """Make the repositories of this transaction."""

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """A block whose failure undoes only itself."""
        with self._session.begin_nested():
            yield
