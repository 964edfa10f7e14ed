"""Transactions: money that moves."""

import enum
from datetime import date
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Computed, ForeignKey, ForeignKeyConstraint, Index, String, text
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.orm import Mapped, deferred, mapped_column, relationship

from app.core.db import Base, Currency, Money, SoftDeleted, enum_type


class TransactionSource(enum.StrEnum):
    """Where a transaction came from."""

    MANUAL = "manual"
    IMPORT = "import"
    BANK = "bank"


class Transaction(SoftDeleted, Base):
    """Money into an account (positive) or out of it (negative), on a civil date.

    The owner stands in the foreign key to the account, so that nobody's row points at somebody else's account; a
    trigger sees to the same for the category, which may also be one of the system's.
    """

    __tablename__ = "transactions"
    __table_args__ = (
        ForeignKeyConstraint(["user_id", "account_id"], ["accounts.user_id", "accounts.id"], ondelete="CASCADE"),
        ForeignKeyConstraint(
            ["user_id", "import_id"], ["imports.user_id", "imports.id"], ondelete="SET NULL (import_id)"
        ),
        CheckConstraint("amount <> 0", name="amount_not_zero"),
        # Also of deleted rows, for which the cascades of the foreign keys look too.
        Index("ix_transactions_user_date", "user_id", text("booked_on DESC"), text("id DESC")),
        Index("ix_transactions_account_date", "account_id", text("booked_on DESC"), text("id DESC")),
        Index(
            "ix_transactions_category_date",
            "category_id",
            "booked_on",
            postgresql_where=text("category_id IS NOT NULL"),
        ),
        Index(
            "ix_transactions_user_amount",
            "user_id",
            text("amount_units DESC"),
            text("id DESC"),
            postgresql_where=text("deleted_at IS NULL"),
        ),
        # What one person spent on a category, with all that the sums need (app/ledger/spending).
        Index(
            "ix_transactions_spending",
            "user_id",
            "category_id",
            "booked_on",
            postgresql_include=["amount", "currency", "pending", "transfer_id"],
            postgresql_where=text("category_id IS NOT NULL AND deleted_at IS NULL"),
        ),
        Index("ix_transactions_pending", "account_id", postgresql_where=text("pending AND deleted_at IS NULL")),
        Index(
            "uq_transactions_external_id",
            "account_id",
            "external_id",
            unique=True,
            postgresql_where=text("external_id IS NOT NULL AND deleted_at IS NULL"),
        ),
        Index("ix_transactions_transfer", "transfer_id", postgresql_where=text("transfer_id IS NOT NULL")),
        Index("ix_transactions_import", "import_id", postgresql_where=text("import_id IS NOT NULL")),
        Index("ix_transactions_deleted", "deleted_at", postgresql_where=text("deleted_at IS NOT NULL")),
        Index("ix_transactions_search", "search", postgresql_using="gin"),
    )

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    account_id: Mapped[UUID]
    category_id: Mapped[UUID | None] = mapped_column(ForeignKey("categories.id", ondelete="SET NULL"))
    amount: Mapped[Money]
    # In ten-thousandths. Row-level security lets an index compare integers and not numerics, which are not leakproof.
    amount_units: Mapped[int] = deferred(
        mapped_column(BigInteger, Computed("(amount * 10000::numeric)::bigint", persisted=True))
    )
    currency: Mapped[Currency]
    description: Mapped[str] = mapped_column(String(500), default="")
    merchant: Mapped[str | None] = mapped_column(String(200))
    notes: Mapped[str | None] = mapped_column(String(2000))
    booked_on: Mapped[date]
    pending: Mapped[bool] = mapped_column(default=False)
    source: Mapped[TransactionSource] = mapped_column(
        enum_type(TransactionSource, "transaction_source"), default=TransactionSource.MANUAL
    )
    external_id: Mapped[str | None] = mapped_column(String(200))
    import_id: Mapped[UUID | None]
    transfer_id: Mapped[UUID | None]

    # Loaded only where a query asks for it; by accident it raises, instead of one statement a row.
    # Both are named by string: accounts and categories import this module, or are its neighbours.
    account: Mapped[Base] = relationship("Account", back_populates="transactions", lazy="raise")
    category: Mapped[Base | None] = relationship("Category", back_populates="transactions", lazy="raise")
    search: Mapped[str] = deferred(
        mapped_column(
            TSVECTOR,
            Computed(
                "to_tsvector('simple', description || ' ' || coalesce(merchant, '') || ' ' || coalesce(notes, ''))",
                persisted=True,
            ),
        )
    )

    @property
    def counts(self) -> bool:
        """Whether it is part of its account's balance: live and booked."""
        return self.deleted_at is None and not self.pending
