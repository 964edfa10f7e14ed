"""One-time tokens: what a mailed link proves."""

import enum
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, LargeBinary
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import Base, enum_type, secret_column


class TokenPurpose(enum.StrEnum):
    """What a token is good for; it is good for nothing else."""

    VERIFY_EMAIL = "verify_email"
    RESET_PASSWORD = "reset_password"  # noqa: S105
    CHANGE_EMAIL = "change_email"
    UNDO_EMAIL_CHANGE = "undo_email_change"
    UNLOCK_ACCOUNT = "unlock_account"


class OneTimeToken(Base):
    """A token that was mailed, as its hash. `payload` is what takes effect when it is spent."""

    __tablename__ = "one_time_tokens"
    __table_args__ = (Index(None, "user_id", "purpose"),)

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    purpose: Mapped[TokenPurpose] = mapped_column(enum_type(TokenPurpose, "token_purpose"))
    token_hash: Mapped[bytes] = secret_column(LargeBinary(32), unique=True)
    payload: Mapped[dict[str, Any]] = secret_column(JSONB)
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]
