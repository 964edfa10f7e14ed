"""An index over the messages that were given up, which every scrape counts."""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.drop_index("ix_outbox_failed", "outbox", postgresql_concurrently=True, if_exists=True)
        op.create_index(
            "ix_outbox_failed",
            "outbox",
            ["id"],
            postgresql_where=sa.text("status = 'failed'"),
            postgresql_concurrently=True,
        )


def downgrade() -> None:
    with op.get_context().autocommit_block():
        op.drop_index("ix_outbox_failed", "outbox", postgresql_concurrently=True, if_exists=True)
