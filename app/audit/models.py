"""The audit log."""

from typing import Any
from uuid import UUID

from sqlalchemy import Index, LargeBinary, SmallInteger, String, text
from sqlalchemy.dialects.postgresql import INET, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import Base


class AuditLog(Base):
    """What was done, to what, by whom and from where; written once and never changed.

    There is no foreign key to people: the row outlives them, without a name.
    """

    __tablename__ = "audit_logs"
    __table_args__ = (
        Index(None, "user_id", "id"),
        Index(None, "actor_id", "id"),
        Index(None, "entity_type", "entity_id", "id"),
        {"postgresql_partition_by": "RANGE (id)"},
    )

    # Nothing is read back: whoever writes a row may not be allowed to see it, as somebody who is not known yet.
    __mapper_args__ = {"eager_defaults": False}  # noqa: RUF012  # as SQLAlchemy declares it

    # Whom it concerns, and who did it: the person themselves, or an administrator in their name.
    user_id: Mapped[UUID | None]
    actor_id: Mapped[UUID | None]
    impersonator_id: Mapped[UUID | None]
    action: Mapped[str] = mapped_column(String(80))
    entity_type: Mapped[str | None] = mapped_column(String(40))
    entity_id: Mapped[UUID | None]
    changes: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    details: Mapped[dict[str, Any] | None] = mapped_column("metadata", JSONB)
    ip: Mapped[str | None] = mapped_column(INET)
    user_agent: Mapped[str | None] = mapped_column(String(400))
    request_id: Mapped[str] = mapped_column(String(64))


class AuditCheckpoint(Base):
    """A seal over the audit rows up to one, each by its hash; its own hash covers those and the checkpoint before."""

    __tablename__ = "audit_checkpoints"

    last_audit_id: Mapped[UUID] = mapped_column(unique=True)
    rows: Mapped[int]
    previous_hash: Mapped[bytes] = mapped_column(LargeBinary(32))
    hash: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True)
    # The id (16 bytes) and the hash (32 bytes) of each row, one behind the other.
    seals: Mapped[bytes] = mapped_column(server_default=text("'\\x'::bytea"))
    # In which form rows were hashed, so that old seals can be checked when rows have got another column.
    form: Mapped[int] = mapped_column(SmallInteger, server_default=text("1"))
