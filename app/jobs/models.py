"""Background work: the outbox, jobs that a person can watch, and what keeps each from happening twice."""

import enum
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    Index,
    LargeBinary,
    SmallInteger,
    String,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import Base, enum_type


class MessageStatus(enum.StrEnum):
    """How far a message has come."""

    WAITING = "waiting"
    DONE = "done"
    FAILED = "failed"


class OutboxMessage(Base):
    """One task to run, with the ids that it takes. PostgreSQL is the truth; the broker only says it sooner."""

    __tablename__ = "outbox"
    __table_args__ = (
        Index("ix_outbox_waiting", "available_at", postgresql_where=text("status = 'waiting'")),
        Index("ix_outbox_failed", "id", postgresql_where=text("status = 'failed'")),
        Index("ix_outbox_finished_at", "finished_at", postgresql_where=text("finished_at IS NOT NULL")),
    )

    task: Mapped[str] = mapped_column(String(80))
    queue: Mapped[str] = mapped_column(String(40))
    arguments: Mapped[dict[str, Any]] = mapped_column(JSONB)
    request_id: Mapped[str] = mapped_column(String(64))
    status: Mapped[MessageStatus] = mapped_column(
        enum_type(MessageStatus, "outbox_status"), default=MessageStatus.WAITING, server_default="waiting"
    )
    attempts: Mapped[int] = mapped_column(default=0, server_default="0")
    available_at: Mapped[datetime] = mapped_column(server_default=func.now())
    published_at: Mapped[datetime | None]
    leased_until: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    last_error: Mapped[str | None] = mapped_column(String(200))


class JobStatus(enum.StrEnum):
    """How far a job has come."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Job(Base):
    """Long work that a person or an administrator asked for, and can watch."""

    __tablename__ = "jobs"
    __table_args__ = (
        Index(None, "user_id", "id"),
        Index("ix_jobs_open", "status", "leased_until", postgresql_where=text("status IN ('queued', 'running')")),
        CheckConstraint("progress BETWEEN 0 AND 1", name="progress_is_a_share"),
    )

    user_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    kind: Mapped[str] = mapped_column(String(40))
    status: Mapped[JobStatus] = mapped_column(
        enum_type(JobStatus, "job_status"), default=JobStatus.QUEUED, server_default="queued"
    )
    progress: Mapped[float] = mapped_column(default=0.0, server_default="0")
    attempts: Mapped[int] = mapped_column(default=0, server_default="0")
    leased_until: Mapped[datetime | None]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    cancel_requested_at: Mapped[datetime | None]
    result: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    error: Mapped[str | None] = mapped_column(String(200))


class TaskFailure(Base):
    """A task that was given up, for an administrator to replay or discard."""

    __tablename__ = "task_failures"

    outbox_id: Mapped[UUID | None] = mapped_column(ForeignKey("outbox.id", ondelete="SET NULL"), index=True)
    task: Mapped[str] = mapped_column(String(80))
    arguments: Mapped[dict[str, Any]] = mapped_column(JSONB)
    error: Mapped[str] = mapped_column(String(200))
    replayed_at: Mapped[datetime | None]
    discarded_at: Mapped[datetime | None]


class ScheduleRun(Base):
    """A tick of the timetable: who inserts the row runs it, so that two beats give one run."""

    __tablename__ = "schedule_runs"
    __table_args__ = (UniqueConstraint("schedule", "due_at"),)

    schedule: Mapped[str] = mapped_column(String(80))
    due_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]


class IdempotencyKey(Base):
    """The answer that a key got, for whoever asks the same again."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (UniqueConstraint("user_id", "key"), Index(None, "expires_at"))

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    key: Mapped[str] = mapped_column(String(255))
    request_hash: Mapped[bytes] = mapped_column(LargeBinary(32))
    status: Mapped[int | None] = mapped_column(SmallInteger)
    body: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    expires_at: Mapped[datetime]
