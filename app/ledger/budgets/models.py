"""Budgets and the alerts that they gave."""

import enum
from datetime import date, datetime
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    SmallInteger,
    String,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.core.db import Balance, Base, Currency, Money, enum_type


class BudgetPeriod(enum.StrEnum):
    """How long a period is."""

    WEEKLY = "weekly"
    BIWEEKLY = "biweekly"
    MONTHLY = "monthly"
    QUARTERLY = "quarterly"
    YEARLY = "yearly"


class BudgetRollover(enum.StrEnum):
    """What of a period's rest is carried into the next."""

    NONE = "none"
    SURPLUS = "surplus"
    DEFICIT = "deficit"
    FULL = "full"


DEFAULT_THRESHOLDS = (80, 100)


class Budget(Base):
    """How much a person wants to spend on a category in each period, counted from an anchor."""

    __tablename__ = "budgets"
    __table_args__ = (
        UniqueConstraint("user_id", "id"),
        Index("ix_budgets_user_category", "user_id", "category_id"),
        CheckConstraint("amount > 0", name="amount_positive"),
        CheckConstraint("amount < 1e12", name="amount_is_a_number"),
        CheckConstraint("coffer_valid_thresholds(alert_thresholds)", name="thresholds_valid"),
        CheckConstraint("ends_on IS NULL OR ends_on > starts_on", name="ends_after_start"),
    )

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    category_id: Mapped[UUID] = mapped_column(ForeignKey("categories.id", ondelete="RESTRICT"))
    name: Mapped[str] = mapped_column(String(80))
    amount: Mapped[Money]
    currency: Mapped[Currency]
    period: Mapped[BudgetPeriod] = mapped_column(enum_type(BudgetPeriod, "budget_period"))
    starts_on: Mapped[date]
    ends_on: Mapped[date | None]
    rollover: Mapped[BudgetRollover] = mapped_column(
        enum_type(BudgetRollover, "budget_rollover"), default=BudgetRollover.NONE
    )
    alert_thresholds: Mapped[list[int]] = mapped_column(
        ARRAY(SmallInteger), default=lambda: list(DEFAULT_THRESHOLDS), server_default=text("'{80,100}'")
    )

    category: Mapped[Base] = relationship("Category", back_populates="budgets", lazy="raise")
    alerts: Mapped[list["BudgetAlert"]] = relationship(back_populates="budget", lazy="raise", passive_deletes=True)


class BudgetAlert(Base):
    """A threshold that was crossed in a period; the row is the memory that keeps a message from coming twice."""

    __tablename__ = "budget_alerts"
    __table_args__ = (
        ForeignKeyConstraint(["user_id", "budget_id"], ["budgets.user_id", "budgets.id"], ondelete="CASCADE"),
        UniqueConstraint("budget_id", "period_start", "percent"),
    )

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    budget_id: Mapped[UUID]
    period_start: Mapped[date]
    percent: Mapped[int] = mapped_column(SmallInteger)
    spent: Mapped[Balance]
    silent: Mapped[bool]
    notified_at: Mapped[datetime | None]

    budget: Mapped[Budget] = relationship(back_populates="alerts", lazy="raise")
