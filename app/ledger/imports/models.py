"""Files of transactions that a person brought in."""

import enum
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, ForeignKeyConstraint, Index, String, UniqueConstraint
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import Base, enum_type


class ImportStatus(enum.StrEnum):
    """How far an import has come."""

    PREVIEWED = "previewed"
    COMMITTED = "committed"
    UNDONE = "undone"
    FAILED = "failed"


class Import(Base):
    """One file: how it was read, what came of it, and which lines were refused."""

    __tablename__ = "imports"
    __table_args__ = (
        UniqueConstraint("user_id", "id"),
        ForeignKeyConstraint(["user_id", "account_id"], ["accounts.user_id", "accounts.id"], ondelete="CASCADE"),
        Index(None, "user_id", "id"),
        Index(None, "account_id"),
    )

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    account_id: Mapped[UUID]
    file_name: Mapped[str] = mapped_column(String(200))
    mapping: Mapped[dict[str, Any]] = mapped_column(JSONB)
    status: Mapped[ImportStatus] = mapped_column(enum_type(ImportStatus, "import_status"))
    rows_read: Mapped[int] = mapped_column(default=0)
    rows_added: Mapped[int] = mapped_column(default=0)
    rows_known: Mapped[int] = mapped_column(default=0)
    rejects: Mapped[list[Any]] = mapped_column(JSONB, default=list)
