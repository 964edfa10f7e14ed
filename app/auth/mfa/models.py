"""The second factor's spare codes. The secret itself stands with the person, encrypted."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import Base, secret_column


class BackupCode(Base):
    """A code that replaces the second factor once."""

    __tablename__ = "backup_codes"

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    code_hash: Mapped[str] = secret_column(String(120))
    used_at: Mapped[datetime | None]
