"""How long statements take and how long one waits for a connection: counted, and slow ones logged."""

import time

import structlog
from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.engine.interfaces import DBAPICursor
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool

from app.core.metrics import (
    POOL_CHECKED_OUT,
    POOL_OPEN,
    POOL_OVERFLOW,
    POOL_SIZE,
    POOL_TIMEOUTS,
    POOL_WAIT_SECONDS,
    QUERY_SECONDS,
    SLOW_QUERIES,
)

log = structlog.get_logger(__name__)

VERBS = {"select", "insert", "update", "delete", "with"}
LONGEST_SHOWN = 2_000
_STARTED = "coffer.statement_started"


class WatchedPool(QueuePool):
    """A pool that tells how many connections are in use, and how long one waits for them."""

    def _do_get(self) -> ConnectionPoolEntry:
        started = time.perf_counter()
        try:
            return super()._do_get()
        except PoolTimeout:
            POOL_TIMEOUTS.inc()
            raise
        finally:
            POOL_WAIT_SECONDS.observe(time.perf_counter() - started)
            self._show()

    def _do_return_conn(self, record: ConnectionPoolEntry) -> None:
        super()._do_return_conn(record)
        self._show()

    def _show(self) -> None:
        POOL_SIZE.set(self.size())
        POOL_OPEN.set(self.checkedin() + self.checkedout())
        POOL_CHECKED_OUT.set(self.checkedout())
        POOL_OVERFLOW.set(max(0, self.overflow()))


def watch_statements(engine: Engine, *, slow_after_ms: int) -> None:
    """Count every statement of this engine, and log those that take longer. To be called before `translate_errors`."""

    def begin(connection: Connection, *_: object) -> None:
        connection.info[_STARTED] = time.perf_counter()

    def end(connection: Connection, _: DBAPICursor, statement: str, *__: object) -> None:
        _note(connection, statement, slow_after_ms, failed=False)

    def fail(context: ExceptionContext) -> None:
        # A statement that ran into its timeout is the slowest of all.
        if context.connection is not None and context.statement is not None:
            _note(context.connection, context.statement, slow_after_ms, failed=True)

    event.listen(engine, "before_cursor_execute", begin)
    event.listen(engine, "after_cursor_execute", end)
    event.listen(engine, "handle_error", fail)


def _note(connection: Connection, statement: str, slow_after_ms: int, *, failed: bool) -> None:
    started = connection.info.pop(_STARTED, None)
    if started is None:
        return
    seconds = time.perf_counter() - started
    verb = statement.lstrip().partition(" ")[0].lower()
    QUERY_SECONDS.labels(verb if verb in VERBS else "other").observe(seconds)
    if seconds * 1000 >= slow_after_ms:
        SLOW_QUERIES.inc()
        # The text has placeholders; the values are people's data and stay out.
        shown = " ".join(statement.split())[:LONGEST_SHOWN]
        log.warning("slow_query", milliseconds=round(seconds * 1000, 1), statement=shown, failed=failed)
