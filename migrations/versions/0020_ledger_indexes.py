"""Indexes that row-level security lets the ledger use, and staging tables for bulk inserts.

Under a policy only leakproof operators become index conditions, and those of numeric are not: amounts are compared as
whole ten-thousandths. Foreign keys cascade over deleted rows too, so what serves them is not partial any more.
"""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0007"
branch_labels = None
depends_on = None

LIVE = "deleted_at IS NULL"
BY_DATE = ("booked_on DESC", "id DESC")

GRANT_STAGING = """
DO $$ BEGIN EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO coffer_app', current_database()); END $$
"""
REVOKE_STAGING = """
DO $$ BEGIN EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM coffer_app', current_database()); END $$
"""


def upgrade() -> None:
    op.execute(GRANT_STAGING)
    op.add_column(
        "transactions",
        sa.Column(
            "amount_units",
            sa.BigInteger(),
            sa.Computed("(amount * 10000::numeric)::bigint", persisted=True),
            nullable=False,
        ),
    )
    _replace("ix_transactions_user_amount", "user_id", "amount_units DESC", "id DESC", where=LIVE)
    _replace("ix_transactions_user_date", "user_id", *BY_DATE)
    _replace("ix_transactions_account_date", "account_id", *BY_DATE)
    _replace("ix_transactions_category_date", "category_id", "booked_on", where="category_id IS NOT NULL")
    op.create_index(
        "ix_transactions_pending",
        "transactions",
        ["account_id"],
        postgresql_where=sa.text("pending AND deleted_at IS NULL"),
    )


def downgrade() -> None:
    op.drop_index("ix_transactions_pending", "transactions")
    _replace("ix_transactions_category_date", "category_id", "booked_on", where=f"category_id IS NOT NULL AND {LIVE}")
    _replace("ix_transactions_account_date", "account_id", *BY_DATE, where=LIVE)
    _replace("ix_transactions_user_date", "user_id", *BY_DATE, where=LIVE)
    _replace("ix_transactions_user_amount", "user_id", "amount DESC", "id DESC", where=LIVE)
    op.drop_column("transactions", "amount_units")
    op.execute(REVOKE_STAGING)


def _replace(name: str, *columns: str, where: str | None = None) -> None:
    op.drop_index(name, "transactions")
    op.create_index(
        name,
        "transactions",
        [sa.literal_column(one) if " " in one else one for one in columns],
        postgresql_where=sa.text(where) if where else None,
    )
