"""One-time tokens for more purposes: how a value is added to an enum type.

A value cannot be taken out of a PostgreSQL enum, so going down leaves the types as they are; the values are unused then.
ADD VALUE cannot be used in the transaction that adds it, hence the block of its own.
"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

NEW_PURPOSES = ("reset_password", "change_email", "undo_email_change", "unlock_account")


def upgrade() -> None:
    with op.get_context().autocommit_block():
        for purpose in NEW_PURPOSES:
            op.execute(f"ALTER TYPE token_purpose ADD VALUE IF NOT EXISTS '{purpose}'")


def downgrade() -> None:
    """Nothing to undo; see above."""
