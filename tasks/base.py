"""What every task has: the application, the request's id, one claim, a lease that is kept, bounded retries."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import structlog
from celery import Task
from celery.exceptions import SoftTimeLimitExceeded
from celery.signals import worker_process_init
from flask import Flask
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from app.core import origin
from app.core.extensions import celery, db
from app.core.mail import MailDelayed, MailUndeliverable
from app.jobs import service
from app.jobs.names import TaskName
from app.unit_of_work import UnitOfWork

log = structlog.get_logger(__name__)

HEARTBEAT_SECONDS = service.LEASE.total_seconds() / 4
# What may be over in a moment; everything else is tried again too, but is logged as an error.
PASSING = (MailDelayed, OperationalError, SoftTimeLimitExceeded, OSError)
FINAL = (MailUndeliverable,)

AnyTask = Task[Any, Any]

_app: Flask | None = None


def bind(app: Flask) -> None:
    """Let tasks run in the context of this application."""
    global _app  # noqa: PLW0603  # a worker process has exactly one
    _app = app


def bound_app() -> Flask:
    """The application that tasks run in."""
    if _app is None:
        raise RuntimeError("bind was not called")
    return _app


@worker_process_init.connect
def _forget_inherited_connections(**_: Any) -> None:
    """A forked process must not speak on its parent's connections."""
    with bound_app().app_context():
        db.engine.dispose(close=False)


def outbox_task(name: TaskName) -> Callable[[Callable[..., None]], AnyTask]:
    """Answer to a message of the outbox, once, however often the broker delivers it.

    The function gets the message's ids by keyword, and `outbox_id`.
    """

    def decorate(work: Callable[..., None]) -> AnyTask:
        @celery.task(name=name.name, bind=True)
        def run(self: AnyTask, /, **ids: str) -> None:
            message_id = UUID(self.request.id)
            given = (self.request.headers or {}).get("request_id") or getattr(self.request, "request_id", None)
            where = origin.Origin(request_id=origin.accepted_request_id(given))
            with bound_app().app_context(), origin.working_for(where):
                _run_claimed(name, work, message_id, {key: UUID(value) for key, value in ids.items()})

        return run

    return decorate


def scheduled_task(name: TaskName) -> Callable[[Callable[[], None]], AnyTask]:
    """Work of the timetable; running it twice or not at all for a while must do no harm."""

    def decorate(work: Callable[[], None]) -> AnyTask:
        @celery.task(name=name.name, acks_late=False)
        def run() -> None:
            where = origin.Origin(request_id=origin.new_request_id())
            with bound_app().app_context(), origin.working_for(where):
                work()

        return run

    return decorate


def _run_claimed(name: TaskName, work: Callable[..., None], message_id: UUID, ids: dict[str, UUID]) -> None:
    attempt = service.claim_message(UnitOfWork(), message_id=message_id)
    if attempt is None:
        log.info("task_passed_over", task=name.name, message_id=str(message_id))
        return
    try:
        with _heartbeat(message_id, attempt):
            work(outbox_id=message_id, **ids)
    except FINAL as error:
        log.warning("task_given_up", task=name.name, message_id=str(message_id), error=_short(error))
        service.give_up_message(UnitOfWork(), message_id=message_id, attempt=attempt, error=_short(error))
    except PASSING as error:
        _try_later(name, message_id, attempt, error)
    except Exception as error:
        log.exception("task_failed", task=name.name, message_id=str(message_id))
        _try_later(name, message_id, attempt, error)
    else:
        service.finish_message(UnitOfWork(), message_id=message_id, attempt=attempt)
        log.info("task_done", task=name.name, message_id=str(message_id), attempt=attempt)


def _try_later(name: TaskName, message_id: UUID, attempt: int, error: Exception) -> None:
    again = service.retry_message(UnitOfWork(), message_id=message_id, attempt=attempt, error=_short(error))
    log.warning(
        "task_postponed" if again else "task_given_up",
        task=name.name,
        message_id=str(message_id),
        attempt=attempt,
        error=_short(error),
    )


def _short(error: BaseException) -> str:
    """The kind of error alone: its text may hold a person's data."""
    reason = str(error) if isinstance(error, MailDelayed | MailUndeliverable) else ""
    return f"{type(error).__name__}: {reason}"[:200].rstrip(": ")


@contextmanager
def _heartbeat(message_id: UUID, attempt: int) -> Iterator[None]:
    """Extend the lease while the work goes on; when this process dies, the lease runs out and another takes over."""
    done = threading.Event()

    def beat() -> None:
        while not done.wait(HEARTBEAT_SECONDS):
            try:
                with bound_app().app_context():
                    if not service.extend_lease(UnitOfWork(), message_id=message_id, attempt=attempt):
                        return
            except SQLAlchemyError as error:
                log.warning("heartbeat_missed", message_id=str(message_id), error=type(error).__name__)

    thread = threading.Thread(target=beat, name="lease-heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
