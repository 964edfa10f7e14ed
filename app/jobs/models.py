"""The outbox: work that a change asks for, kept with the change until it is done."""

import enum
from datetime import datetime
from typing import Any

from sqlalchemy import Index, String, func, text
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
