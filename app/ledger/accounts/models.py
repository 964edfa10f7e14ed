"""Accounts: where money lies."""

import enum
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import Balance, Base, Currency, SoftDeleted, enum_type


class AccountType(enum.StrEnum):
    """What kind of account it is."""

    CHECKING = "checking"
    SAVINGS = "savings"
    CREDIT_CARD = "credit_card"
    CASH = "cash"
    INVESTMENT = "investment"
    LOAN = "loan"
    OTHER = "other"


class Account(SoftDeleted, Base):
    """An account of a person. Its balance is the opening balance and all live, booked transactions, always."""

    __tablename__ = "accounts"
    __table_args__ = (
        UniqueConstraint("user_id", "id"),
        Index("ix_accounts_live", "user_id", "type", "id", postgresql_where=text("deleted_at IS NULL")),
        CheckConstraint("currency ~ '^[A-Z]{3}$'", name="currency_code"),
    )

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(100))
    type: Mapped[AccountType] = mapped_column(enum_type(AccountType, "account_type"))
    currency: Mapped[Currency]
    opening_balance: Mapped[Balance] = mapped_column(default=Decimal(0))
    balance: Mapped[Balance] = mapped_column(default=Decimal(0))
    institution_name: Mapped[str | None] = mapped_column(String(100))
    mask: Mapped[str | None] = mapped_column(String(8))
    plaid_account_id: Mapped[str | None] = mapped_column(String(100))
    plaid_item_id: Mapped[str | None] = mapped_column(String(100))
    archived_at: Mapped[datetime | None]
