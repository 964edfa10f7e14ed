"""Sessions and their refresh tokens."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    LargeBinary,
    String,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import INET
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.core.db import Base, secret_column
from app.people.models import User


class Session(Base):
    """A person signed in on one device. Every token names its session and dies with it."""

    __tablename__ = "sessions"
    __table_args__ = (
        UniqueConstraint("user_id", "id"),
        ForeignKeyConstraint(["user_id", "device_id"], ["devices.user_id", "devices.id"], ondelete="CASCADE"),
        Index("ix_sessions_live", "user_id", postgresql_where=text("revoked_at IS NULL")),
        Index("ix_sessions_device_id", "device_id", postgresql_where=text("device_id IS NOT NULL")),
        Index("ix_sessions_impersonator_id", "impersonator_id", postgresql_where=text("impersonator_id IS NOT NULL")),
    )

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    # Of the refresh token that is good at present.
    token_hash: Mapped[bytes] = secret_column(LargeBinary(32), unique=True)
    device_id: Mapped[UUID | None]
    # The administrator behind an impersonation.
    impersonator_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    ip: Mapped[str | None] = mapped_column(INET)
    user_agent: Mapped[str | None] = mapped_column(String(400))
    auth_methods: Mapped[list[str]] = mapped_column(ARRAY(String(20)))
    authenticated_at: Mapped[datetime] = mapped_column(server_default=func.now())
    last_seen_at: Mapped[datetime] = mapped_column(server_default=func.now())
    idle_expires_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]
    revoke_reason: Mapped[str | None] = mapped_column(String(40))

    person: Mapped[User] = relationship(foreign_keys=[user_id], lazy="raise")
    refresh_tokens: Mapped[list["RefreshToken"]] = relationship(
        back_populates="session", lazy="raise", passive_deletes=True
    )


class RefreshToken(Base):
    """One link in a session's chain of refresh tokens; its id is the token's `jti`."""

    __tablename__ = "refresh_tokens"
    __table_args__ = (
        ForeignKeyConstraint(["user_id", "session_id"], ["sessions.user_id", "sessions.id"], ondelete="CASCADE"),
        Index(None, "user_id", "session_id"),
    )

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    session_id: Mapped[UUID]
    successor_id: Mapped[UUID | None] = mapped_column(ForeignKey("refresh_tokens.id", ondelete="SET NULL"), unique=True)
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]

    session: Mapped[Session] = relationship(back_populates="refresh_tokens", lazy="raise")
