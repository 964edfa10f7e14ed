"""The person."""

import enum
from datetime import datetime

from sqlalchemy import CheckConstraint, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import Base, enum_type

LONGEST_EMAIL = 254


class UserStatus(enum.StrEnum):
    """Whether a person may come in."""

    ACTIVE = "active"
    DISABLED = "disabled"
    LOCKED = "locked"
    PENDING_DELETION = "pending_deletion"
    ANONYMIZED = "anonymized"


class UserRole(enum.StrEnum):
    """What a person is to the installation."""

    USER = "user"
    ADMIN = "admin"


class UserTier(enum.StrEnum):
    """What a person has subscribed to."""

    FREE = "free"
    PREMIUM = "premium"


class User(Base):
    """A person with an account. The e-mail is kept in its one normal form."""

    __tablename__ = "users"
    __table_args__ = (
        CheckConstraint("email = lower(email)", name="email_lower"),
        Index("uq_users_email", text("lower(email)"), unique=True),
    )

    email: Mapped[str] = mapped_column(String(LONGEST_EMAIL))
    password_hash: Mapped[str | None] = mapped_column(String(120))
    status: Mapped[UserStatus] = mapped_column(enum_type(UserStatus, "user_status"), default=UserStatus.ACTIVE)
    role: Mapped[UserRole] = mapped_column(enum_type(UserRole, "user_role"), default=UserRole.USER)
    tier: Mapped[UserTier] = mapped_column(enum_type(UserTier, "user_tier"), default=UserTier.FREE)
    first_name: Mapped[str | None] = mapped_column(String(100))
    last_name: Mapped[str | None] = mapped_column(String(100))
    phone: Mapped[str | None] = mapped_column(String(16))
    timezone: Mapped[str] = mapped_column(String(64), default="UTC")
    language: Mapped[str] = mapped_column(String(35), default="en")
    avatar_key: Mapped[str | None] = mapped_column(String(200))
    email_verified_at: Mapped[datetime | None]
    terms_version: Mapped[str | None] = mapped_column(String(20))
    terms_accepted_at: Mapped[datetime | None]
    password_changed_at: Mapped[datetime | None]
    last_login_at: Mapped[datetime | None]
    mfa_enabled_at: Mapped[datetime | None]

    @property
    def email_verified(self) -> bool:
        """Whether the person has shown that the address is theirs."""
        return self.email_verified_at is not None

    @property
    def mfa_enabled(self) -> bool:
        """Whether a second factor is asked for."""
        return self.mfa_enabled_at is not None
