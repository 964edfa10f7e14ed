"""Devices that a person signs in on."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey, LargeBinary, String, UniqueConstraint, func
from sqlalchemy.dialects.postgresql import INET
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import Base, secret_column


class Device(Base):
    """A browser or an app, known again by what it keeps; a trusted one is not asked for a second factor."""

    __tablename__ = "devices"
    __table_args__ = (UniqueConstraint("user_id", "fingerprint"), UniqueConstraint("user_id", "id"))

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    fingerprint: Mapped[bytes] = secret_column(LargeBinary(32))
    name: Mapped[str] = mapped_column(String(100))
    platform: Mapped[str | None] = mapped_column(String(60))
    trusted_until: Mapped[datetime | None]
    last_seen_at: Mapped[datetime] = mapped_column(server_default=func.now())
    last_ip: Mapped[str | None] = mapped_column(INET)
