"""Groups of people by behaviour, value and activity, kept as intervals."""

import enum
from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey, Index, SmallInteger, String, func, text
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import Base, enum_type


class SegmentKind(enum.StrEnum):
    """What a segment looks at."""

    BEHAVIOUR = "behaviour"
    VALUE = "value"
    ACTIVITY = "activity"


class SegmentMembership(Base):
    """A person was in a segment from one moment to another, or is still."""

    __tablename__ = "segment_memberships"
    __table_args__ = (
        Index(
            "uq_segment_memberships_current", "user_id", "kind", unique=True, postgresql_where=text("valid_to IS NULL")
        ),
        Index("ix_segment_memberships_segment", "segment", "user_id", postgresql_where=text("valid_to IS NULL")),
    )

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    kind: Mapped[SegmentKind] = mapped_column(enum_type(SegmentKind, "segment_kind"))
    segment: Mapped[str] = mapped_column(String(40))
    rules_version: Mapped[int] = mapped_column(SmallInteger)
    valid_from: Mapped[datetime] = mapped_column(server_default=func.now())
    valid_to: Mapped[datetime | None]
