"""From the outbox to the broker.

A request that committed hands its messages to a thread of the process and goes on: a broker that is slow
or away costs the request nothing. What the thread could not publish, or lost with its process, the relay
finds in the outbox within seconds.
"""

import queue
import threading
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

import structlog
from celery import Celery
from flask import current_app
from kombu.exceptions import OperationalError

from app.jobs.models import OutboxMessage

log = structlog.get_logger(__name__)

MOST_WAITING = 10_000
KEY = "coffer.publisher"


@dataclass(frozen=True, slots=True)
class Envelope:
    """What the broker is told of a message."""

    id: UUID
    task: str
    queue: str
    arguments: dict[str, Any]
    request_id: str

    @classmethod
    def of(cls, message: OutboxMessage) -> "Envelope":
        """The envelope of an outbox row."""
        return cls(message.id, message.task, message.queue, message.arguments, message.request_id)


class Publisher(Protocol):
    """Tells the broker of messages whose transaction was committed."""

    def publish_soon(self, envelope: Envelope) -> None:
        """Return at once; a failure shows in the log only, since the relay makes up for it."""


def publish_soon(envelope: Envelope) -> None:
    """Pass a committed message to the publisher of the application at hand."""
    publisher: Publisher = current_app.extensions[KEY]
    publisher.publish_soon(envelope)


def publish_now(celery: Celery, envelope: Envelope) -> None:
    """Hand one message to the broker. Raises kombu's OperationalError when it cannot be reached."""
    celery.send_task(
        envelope.task,
        kwargs=envelope.arguments,
        queue=envelope.queue,
        task_id=str(envelope.id),
        headers={"request_id": envelope.request_id},
        retry=False,
        ignore_result=True,
    )


class BackgroundPublisher:
    """One daemon thread, begun with the first message, so that a forked process gets its own."""

    def __init__(self, celery: Celery) -> None:
        self._celery = celery
        self._waiting: queue.Queue[Envelope] = queue.Queue(MOST_WAITING)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def publish_soon(self, envelope: Envelope) -> None:
        self._ensure_thread()
        try:
            self._waiting.put_nowait(envelope)
        except queue.Full:
            log.warning("publisher_full", message_id=str(envelope.id))

    def _ensure_thread(self) -> None:
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="outbox-publisher", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            envelope = self._waiting.get()
            try:
                publish_now(self._celery, envelope)
            except (OperationalError, OSError) as error:
                log.warning("broker_unavailable", message_id=str(envelope.id), error=type(error).__name__)
            except Exception:
                # The thread must outlive whatever the client library comes up with.
                log.exception("publish_failed", message_id=str(envelope.id))
