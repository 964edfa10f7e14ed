"""What people do, counted."""

from datetime import date
from decimal import Decimal
from uuid import UUID

from sqlalchemy import ForeignKey, Index, Numeric, SmallInteger, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import Base


class ActivityEvent(Base):
    """A person used a feature. Kept by time of its UUIDv7, and dropped by the month."""

    __tablename__ = "activity_events"
    __table_args__ = (Index("ix_activity_events_user", "user_id", "id"), {"postgresql_partition_by": "RANGE (id)"})

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    feature: Mapped[str] = mapped_column(String(60))
    local_day: Mapped[date]
    amount: Mapped[int] = mapped_column(default=1, server_default="1")


class EngagementScore(Base):
    """How engaged a person was on a day, by a version of the formula."""

    __tablename__ = "engagement_scores"
    __table_args__ = (UniqueConstraint("user_id", "day", "version"),)

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    day: Mapped[date]
    version: Mapped[int] = mapped_column(SmallInteger)
    score: Mapped[Decimal] = mapped_column(Numeric(5, 2))
