"""The person."""

import enum
from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, LargeBinary, String, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.core.db import Base, SoftDeleted, enum_type, secret_column

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


class User(SoftDeleted, Base):
    """A person with an account. The e-mail is kept in its one normal form."""

    __tablename__ = "users"
    __table_args__ = (
        CheckConstraint("email = lower(email)", name="email_lower"),
        Index("uq_users_address", "email", unique=True),
        Index("ix_users_tier", "tier", "id", postgresql_where=text("deleted_at IS NULL")),
    )

    email: Mapped[str] = mapped_column(String(LONGEST_EMAIL))
    password_hash: Mapped[str | None] = secret_column(String(120))
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
    marketing_consent_at: Mapped[datetime | None]
    password_changed_at: Mapped[datetime | None]
    last_login_at: Mapped[datetime | None]
    # Encrypted before it comes here.
    mfa_secret: Mapped[bytes | None] = secret_column(LargeBinary)
    mfa_enabled_at: Mapped[datetime | None]
    mfa_last_step: Mapped[int | None] = mapped_column(BigInteger)
    deletion_requested_at: Mapped[datetime | None]
    anonymized_at: Mapped[datetime | None]

    settings: Mapped["UserSettings | None"] = relationship(back_populates="person", lazy="raise", passive_deletes=True)

    @property
    def email_verified(self) -> bool:
        """Whether the person has shown that the address is theirs."""
        return self.email_verified_at is not None

    @property
    def mfa_enabled(self) -> bool:
        """Whether a second factor is asked for."""
        return self.mfa_enabled_at is not None


class Theme(enum.StrEnum):
    """How pages look."""

    SYSTEM = "system"
    LIGHT = "light"
    DARK = "dark"


class MailFrequency(enum.StrEnum):
    """How often notifications are sent."""

    INSTANT = "instant"
    DAILY = "daily"
    WEEKLY = "weekly"
    NEVER = "never"


class UserSettings(Base):
    """What a person chose; one row each, made with the defaults when it is first asked for."""

    __tablename__ = "user_settings"

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), unique=True)
    currency: Mapped[str] = mapped_column(String(3), default="EUR", server_default="EUR")
    date_format: Mapped[str] = mapped_column(String(20), default="YYYY-MM-DD", server_default="YYYY-MM-DD")
    theme: Mapped[Theme] = mapped_column(enum_type(Theme, "theme"), default=Theme.SYSTEM, server_default="system")
    notify_by_email: Mapped[bool] = mapped_column(default=True, server_default="true")
    notify_budget_alerts: Mapped[bool] = mapped_column(default=True, server_default="true")
    notify_security: Mapped[bool] = mapped_column(default=True, server_default="true")
    notify_product_news: Mapped[bool] = mapped_column(default=False, server_default="false")
    mail_frequency: Mapped[MailFrequency] = mapped_column(
        enum_type(MailFrequency, "mail_frequency"), default=MailFrequency.INSTANT, server_default="instant"
    )
    share_data: Mapped[bool] = mapped_column(default=False, server_default="false")
    analytics_opt_out: Mapped[bool] = mapped_column(default=False, server_default="false")

    person: Mapped[User] = relationship(back_populates="settings", lazy="raise")
