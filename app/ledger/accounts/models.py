"""Accounts: where money lies."""

import enum
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, WriteOnlyMapped, mapped_column, relationship

from app.core.db import Balance, Base, Currency, SoftDeleted, enum_type, new_id
from app.ledger.accounts.errors import BalanceOutOfRange
from app.ledger.transactions.models import Transaction

# What the column holds before its four decimals.
_BALANCE_LIMIT = Decimal(10) ** 16


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
        CheckConstraint("abs(opening_balance) < 1e16 AND abs(balance) < 1e16", name="opening_balance_is_a_number"),
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

    # Never loaded by accident: a list asks for what it shows, and an account may have a million of these.
    transactions: WriteOnlyMapped[Transaction] = relationship(
        back_populates="account", passive_deletes=True, order_by="Transaction.booked_on.desc()"
    )

    @property
    def active(self) -> bool:
        """Whether it is in use: neither archived nor deleted."""
        return self.archived_at is None and self.deleted_at is None

    def record(self, **fields: Any) -> Transaction:
        """A new transaction of this account, counted in its balance. Raises BalanceOutOfRange."""
        transaction = Transaction(
            id=new_id(), user_id=self.user_id, account_id=self.id, currency=self.currency, **fields
        )
        self.count_in(transaction)
        return transaction

    def count_in(self, transaction: Transaction) -> None:
        """Let the balance have the transaction in it, if it counts. Raises BalanceOutOfRange."""
        if transaction.counts:
            self.move(transaction.amount)

    def count_out(self, transaction: Transaction) -> None:
        """Let the balance be without the transaction, if it counted. Raises BalanceOutOfRange."""
        if transaction.counts:
            self.move(-transaction.amount)

    def move(self, amount: Decimal) -> None:
        """Change the balance; the caller holds the row's lock. Raises BalanceOutOfRange."""
        moved = self.balance + amount
        if abs(moved) >= _BALANCE_LIMIT:
            raise BalanceOutOfRange
        self.balance = moved
