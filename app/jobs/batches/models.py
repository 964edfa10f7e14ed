"""How far moves of rows from one shape to another have come."""

import enum
from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import Base, enum_type


class BatchStatus(enum.StrEnum):
    """Which way a move goes."""

    RUNNING = "running"
    DONE = "done"
    ROLLING_BACK = "rolling_back"
    ROLLED_BACK = "rolled_back"


class BatchRun(Base):
    """A move of rows: everything up to `position` has been moved. It is noted in the transaction of each batch."""

    __tablename__ = "batch_runs"

    name: Mapped[str] = mapped_column(String(80), unique=True)
    status: Mapped[BatchStatus] = mapped_column(
        enum_type(BatchStatus, "batch_status"), default=BatchStatus.RUNNING, server_default="running"
    )
    position: Mapped[UUID | None]
    total: Mapped[int]
    moved: Mapped[int] = mapped_column(default=0, server_default="0")
    rejected: Mapped[int] = mapped_column(default=0, server_default="0")
    finished_at: Mapped[datetime | None]


class BatchReject(Base):
    """A row that a move left as it was, and why."""

    __tablename__ = "batch_rejects"
    __table_args__ = (UniqueConstraint("run_id", "row_id"),)

    run_id: Mapped[UUID] = mapped_column(ForeignKey("batch_runs.id", ondelete="CASCADE"))
    row_id: Mapped[UUID]
    reason: Mapped[str] = mapped_column(String(200))
