"""Every query of the outbox. Times are compared in the database's clock."""

from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

from sqlalchemy import CursorResult, delete, func, or_, select, update
from sqlalchemy.orm import Session

from app.core import origin
from app.core.repository import Repository
from app.jobs.models import MessageStatus, OutboxMessage
from app.jobs.names import TaskName


class OutboxRepository(Repository[OutboxMessage]):
    """Messages to tasks."""

    model = OutboxMessage

    def __init__(self, session: Session, publish_after_commit: Callable[[OutboxMessage], None]) -> None:
        super().__init__(session)
        self._publish_after_commit = publish_after_commit

    def send(self, task: TaskName, **ids: UUID) -> OutboxMessage:
        """Ask for a task once this transaction is kept. Takes ids only, never what they stand for."""
        message = OutboxMessage(
            task=task.name,
            queue=task.queue,
            arguments={name: str(value) for name, value in ids.items()},
            request_id=origin.current().request_id,
        )
        self.add(message)
        self._publish_after_commit(message)
        return message

    def claim(self, message_id: UUID, *, lease: timedelta) -> int | None:
        """Take a waiting message for as long as the lease; of many who try, one gets it.

        Returns how many times it has been taken, or None when it is done, failed, not due or taken.
        """
        return self._session.scalar(
            update(OutboxMessage)
            .where(
                OutboxMessage.id == message_id,
                OutboxMessage.status == MessageStatus.WAITING,
                OutboxMessage.available_at <= func.now(),
                or_(OutboxMessage.leased_until.is_(None), OutboxMessage.leased_until < func.now()),
            )
            .values(leased_until=func.now() + lease, attempts=OutboxMessage.attempts + 1)
            .returning(OutboxMessage.attempts)
        )

    def extend_lease(self, message_id: UUID, *, attempt: int, lease: timedelta) -> bool:
        """Keep what this attempt has claimed; False when somebody else has it by now."""
        return self._one(message_id, attempt, leased_until=func.now() + lease)

    def finish(self, message_id: UUID, *, attempt: int) -> bool:
        """Done, for good."""
        return self._one(message_id, attempt, status=MessageStatus.DONE, finished_at=func.now(), leased_until=None)

    def fail(self, message_id: UUID, *, attempt: int, error: str) -> bool:
        """Given up; the row stays, for a person to see."""
        return self._one(
            message_id,
            attempt,
            status=MessageStatus.FAILED,
            finished_at=func.now(),
            leased_until=None,
            last_error=error,
        )

    def postpone(self, message_id: UUID, *, attempt: int, delay: timedelta, error: str) -> bool:
        """Try again later."""
        return self._one(
            message_id,
            attempt,
            available_at=func.now() + delay,
            published_at=None,
            leased_until=None,
            last_error=error,
        )

    def _one(self, message_id: UUID, attempt: int, **values: object) -> bool:
        statement = (
            update(OutboxMessage)
            .where(
                OutboxMessage.id == message_id,
                OutboxMessage.status == MessageStatus.WAITING,
                OutboxMessage.attempts == attempt,
            )
            .values(**values)
        )
        result = self._session.execute(statement)
        return isinstance(result, CursorResult) and result.rowcount == 1

    def lock_unpublished(
        self, *, limit: int, overdue_after: timedelta, unheard_after: timedelta
    ) -> list[OutboxMessage]:
        """Messages that are due and that no worker has, locked; rows that another relay holds are passed over.

        Those are: never published; published and not heard of since, as when the broker lost its memory;
        claimed by a worker that died, whose lease has run out.
        """
        return list(
            self._session.scalars(
                select(OutboxMessage)
                .where(
                    OutboxMessage.status == MessageStatus.WAITING,
                    OutboxMessage.available_at <= func.now() - overdue_after,
                    or_(
                        OutboxMessage.published_at.is_(None),
                        OutboxMessage.leased_until.is_(None)
                        & (OutboxMessage.published_at < func.now() - unheard_after),
                        OutboxMessage.leased_until < func.now(),
                    ),
                )
                .order_by(OutboxMessage.available_at, OutboxMessage.id)
                .limit(limit)
                .with_for_update(skip_locked=True)
            )
        )

    def mark_published(self, ids: list[UUID]) -> None:
        """Note that the broker has them."""
        self._session.execute(update(OutboxMessage).where(OutboxMessage.id.in_(ids)).values(published_at=func.now()))

    def purge(self, *, older_than: timedelta, limit: int) -> int:
        """Delete messages that were done so long ago; returns how many. Failed ones stay."""
        old = (
            select(OutboxMessage.id)
            .where(
                OutboxMessage.finished_at < func.now() - older_than,
                OutboxMessage.status == MessageStatus.DONE,
            )
            .limit(limit)
        )
        result = self._session.execute(delete(OutboxMessage).where(OutboxMessage.id.in_(old)))
        return result.rowcount if isinstance(result, CursorResult) else 0
