"""An index that answers what was spent on a category, and no new rows on a category that was merged away.

The categories of the system are everybody's, so what one person spent on one must not be looked for among everybody's
transactions: the index begins with the person. It holds all columns that sums need, and is read without the table.
"""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0023"
branch_labels = None
depends_on = None

INDEX = "ix_transactions_spending"

CHECK_CATEGORY = """
CREATE OR REPLACE FUNCTION coffer_check_category_owner() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
BEGIN
    IF EXISTS (
        SELECT FROM changed t
        JOIN public.categories c ON c.id = t.category_id
        WHERE c.user_id IS NOT NULL AND {broken}
    ) THEN
        RAISE EXCEPTION '{message}'
            USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'fk_' || TG_TABLE_NAME || '_category_owner';
    END IF;
    RETURN NULL;
END $$
"""
NOT_MERGED = CHECK_CATEGORY.format(
    broken="(c.user_id <> t.user_id OR c.merged_into IS NOT NULL)",
    message="category of another person, or merged into another",
)
BEFORE = CHECK_CATEGORY.format(broken="c.user_id <> t.user_id", message="category of another person")


def upgrade() -> None:
    # Who read the category before it was merged writes after it: the foreign key made that one wait, and is satisfied.
    op.execute(NOT_MERGED)
    with op.get_context().autocommit_block():
        op.drop_index(INDEX, "transactions", postgresql_concurrently=True, if_exists=True)
        op.create_index(
            INDEX,
            "transactions",
            ["user_id", "category_id", "booked_on"],
            postgresql_include=["amount", "currency", "pending", "transfer_id"],
            postgresql_where=sa.text("category_id IS NOT NULL AND deleted_at IS NULL"),
            postgresql_concurrently=True,
        )


def downgrade() -> None:
    op.drop_index(INDEX, "transactions")
    op.execute(BEFORE)
