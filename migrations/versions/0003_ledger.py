"""Accounts, transactions, categories, budgets and imports."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TABLES = ("categories", "accounts", "imports", "transactions", "budgets", "budget_alerts")
ENUMS = {
    "account_type": ("checking", "savings", "credit_card", "cash", "investment", "loan", "other"),
    "budget_period": ("weekly", "biweekly", "monthly", "quarterly", "yearly"),
    "budget_rollover": ("none", "surplus", "deficit", "full"),
    "import_status": ("previewed", "committed", "undone", "failed"),
    "transaction_source": ("manual", "import", "bank"),
}


def _enum(name: str) -> postgresql.ENUM:
    return postgresql.ENUM(*ENUMS[name], name=name, create_type=False)


# Sorted, unique, 1 to 1000: what a check constraint alone cannot say of an array.
VALID_THRESHOLDS = """
CREATE FUNCTION coffer_valid_thresholds(thresholds smallint[]) RETURNS boolean
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT cardinality(thresholds) <= 20
       AND array_position(thresholds, NULL) IS NULL
       AND thresholds = ARRAY(SELECT DISTINCT t FROM unnest(thresholds) AS t WHERE t BETWEEN 1 AND 1000 ORDER BY t)
$$
"""

# A category may be the person's own or the system's, which a foreign key cannot say. The check is made once for a
# statement, not for a row, so that a bulk insert hardly feels it.
CHECK_CATEGORY_OWNER = """
CREATE FUNCTION coffer_check_category_owner() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
BEGIN
    IF EXISTS (
        SELECT FROM changed t
        JOIN public.categories c ON c.id = t.category_id
        WHERE c.user_id IS NOT NULL AND c.user_id <> t.user_id
    ) THEN
        RAISE EXCEPTION 'category of another person'
            USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'fk_' || TG_TABLE_NAME || '_category_owner';
    END IF;
    RETURN NULL;
END $$
"""


def upgrade() -> None:
    for name, values in ENUMS.items():
        postgresql.ENUM(*values, name=name).create(op.get_bind(), checkfirst=False)
    op.execute(VALID_THRESHOLDS)
    op.execute(CHECK_CATEGORY_OWNER)
    op.create_table(
        "categories",
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("parent_id", sa.Uuid(), nullable=True),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("icon", sa.String(length=40), nullable=True),
        sa.Column("color", sa.String(length=7), nullable=True),
        sa.Column("is_system", sa.Boolean(), nullable=False),
        sa.Column("merged_into", sa.Uuid(), nullable=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("color ~ '^#[0-9A-F]{6}$'", name=op.f("ck_categories_color_hex")),
        sa.CheckConstraint("is_system = (user_id IS NULL)", name=op.f("ck_categories_system_has_no_owner")),
        sa.CheckConstraint("parent_id <> id", name=op.f("ck_categories_not_own_parent")),
        sa.ForeignKeyConstraint(
            ["merged_into"], ["categories.id"], name=op.f("fk_categories_merged_into"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["parent_id"], ["categories.id"], name=op.f("fk_categories_parent_id"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_categories_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_categories")),
    )
    op.create_index(
        "ix_categories_merged_into",
        "categories",
        ["merged_into"],
        unique=False,
        postgresql_where=sa.text("merged_into IS NOT NULL"),
    )
    op.create_index(op.f("ix_categories_parent_id"), "categories", ["parent_id"], unique=False)
    op.create_index(
        "uq_categories_sibling_name",
        "categories",
        ["user_id", "parent_id", sa.literal_column("lower(name)")],
        unique=True,
        postgresql_nulls_not_distinct=True,
        postgresql_where=sa.text("merged_into IS NULL"),
    )
    op.create_table(
        "accounts",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("type", _enum("account_type"), nullable=False),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("opening_balance", sa.Numeric(precision=20, scale=4), nullable=False),
        sa.Column("balance", sa.Numeric(precision=20, scale=4), nullable=False),
        sa.Column("institution_name", sa.String(length=100), nullable=True),
        sa.Column("mask", sa.String(length=8), nullable=True),
        sa.Column("plaid_account_id", sa.String(length=100), nullable=True),
        sa.Column("plaid_item_id", sa.String(length=100), nullable=True),
        sa.Column("archived_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("deleted_batch", sa.Uuid(), nullable=True),
        sa.CheckConstraint("currency ~ '^[A-Z]{3}$'", name=op.f("ck_accounts_currency_code")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_accounts_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_accounts")),
        sa.UniqueConstraint("user_id", "id", name=op.f("uq_accounts_user_id_id")),
    )
    op.create_index(
        "ix_accounts_live",
        "accounts",
        ["user_id", "type", "id"],
        unique=False,
        postgresql_where=sa.text("deleted_at IS NULL"),
    )
    op.create_table(
        "imports",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("file_name", sa.String(length=200), nullable=False),
        sa.Column("mapping", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("status", _enum("import_status"), nullable=False),
        sa.Column("rows_read", sa.Integer(), nullable=False),
        sa.Column("rows_added", sa.Integer(), nullable=False),
        sa.Column("rows_known", sa.Integer(), nullable=False),
        sa.Column("rejects", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id", "account_id"],
            ["accounts.user_id", "accounts.id"],
            name=op.f("fk_imports_user_id_account_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_imports_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_imports")),
    )
    op.create_index(op.f("ix_imports_account_id"), "imports", ["account_id"], unique=False)
    op.create_index(op.f("ix_imports_user_id_id"), "imports", ["user_id", "id"], unique=False)
    op.create_table(
        "transactions",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("category_id", sa.Uuid(), nullable=True),
        sa.Column("amount", sa.Numeric(precision=16, scale=4), nullable=False),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("description", sa.String(length=500), nullable=False),
        sa.Column("merchant", sa.String(length=200), nullable=True),
        sa.Column("notes", sa.String(length=2000), nullable=True),
        sa.Column("booked_on", sa.Date(), nullable=False),
        sa.Column("pending", sa.Boolean(), nullable=False),
        sa.Column("source", _enum("transaction_source"), nullable=False),
        sa.Column("external_id", sa.String(length=200), nullable=True),
        sa.Column("import_id", sa.Uuid(), nullable=True),
        sa.Column("transfer_id", sa.Uuid(), nullable=True),
        sa.Column(
            "search",
            postgresql.TSVECTOR(),
            sa.Computed(
                "to_tsvector('simple', description || ' ' || coalesce(merchant, '') || ' ' || coalesce(notes, ''))",
                persisted=True,
            ),
            nullable=True,
        ),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("deleted_batch", sa.Uuid(), nullable=True),
        sa.CheckConstraint("amount <> 0", name=op.f("ck_transactions_amount_not_zero")),
        sa.ForeignKeyConstraint(
            ["category_id"], ["categories.id"], name=op.f("fk_transactions_category_id"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["import_id"], ["imports.id"], name=op.f("fk_transactions_import_id"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["user_id", "account_id"],
            ["accounts.user_id", "accounts.id"],
            name=op.f("fk_transactions_user_id_account_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_transactions_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_transactions")),
    )
    op.create_index(
        "ix_transactions_account_date",
        "transactions",
        ["account_id", sa.literal_column("booked_on DESC"), sa.literal_column("id DESC")],
        unique=False,
        postgresql_where=sa.text("deleted_at IS NULL"),
    )
    op.create_index(
        "ix_transactions_category_date",
        "transactions",
        ["category_id", "booked_on"],
        unique=False,
        postgresql_where=sa.text("category_id IS NOT NULL AND deleted_at IS NULL"),
    )
    op.create_index(
        "ix_transactions_deleted",
        "transactions",
        ["deleted_at"],
        unique=False,
        postgresql_where=sa.text("deleted_at IS NOT NULL"),
    )
    op.create_index(
        "ix_transactions_import",
        "transactions",
        ["import_id"],
        unique=False,
        postgresql_where=sa.text("import_id IS NOT NULL"),
    )
    op.create_index("ix_transactions_search", "transactions", ["search"], unique=False, postgresql_using="gin")
    op.create_index(
        "ix_transactions_transfer",
        "transactions",
        ["transfer_id"],
        unique=False,
        postgresql_where=sa.text("transfer_id IS NOT NULL"),
    )
    op.create_index(
        "ix_transactions_user_amount",
        "transactions",
        ["user_id", sa.literal_column("amount DESC"), sa.literal_column("id DESC")],
        unique=False,
        postgresql_where=sa.text("deleted_at IS NULL"),
    )
    op.create_index(
        "ix_transactions_user_date",
        "transactions",
        ["user_id", sa.literal_column("booked_on DESC"), sa.literal_column("id DESC")],
        unique=False,
        postgresql_where=sa.text("deleted_at IS NULL"),
    )
    op.create_index(
        "uq_transactions_external_id",
        "transactions",
        ["account_id", "external_id"],
        unique=True,
        postgresql_where=sa.text("external_id IS NOT NULL AND deleted_at IS NULL"),
    )
    op.create_table(
        "budgets",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("category_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("amount", sa.Numeric(precision=16, scale=4), nullable=False),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("period", _enum("budget_period"), nullable=False),
        sa.Column("starts_on", sa.Date(), nullable=False),
        sa.Column("ends_on", sa.Date(), nullable=True),
        sa.Column("rollover", _enum("budget_rollover"), nullable=False),
        sa.Column(
            "alert_thresholds", sa.ARRAY(sa.SmallInteger()), server_default=sa.text("'{80,100}'"), nullable=False
        ),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("amount > 0", name=op.f("ck_budgets_amount_positive")),
        sa.CheckConstraint("coffer_valid_thresholds(alert_thresholds)", name=op.f("ck_budgets_thresholds_valid")),
        sa.CheckConstraint("ends_on IS NULL OR ends_on > starts_on", name=op.f("ck_budgets_ends_after_start")),
        sa.ForeignKeyConstraint(
            ["category_id"], ["categories.id"], name=op.f("fk_budgets_category_id"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_budgets_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_budgets")),
        sa.UniqueConstraint("user_id", "id", name=op.f("uq_budgets_user_id_id")),
    )
    op.create_index("ix_budgets_user_category", "budgets", ["user_id", "category_id"], unique=False)
    op.create_table(
        "budget_alerts",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("budget_id", sa.Uuid(), nullable=False),
        sa.Column("period_start", sa.Date(), nullable=False),
        sa.Column("percent", sa.SmallInteger(), nullable=False),
        sa.Column("spent", sa.Numeric(precision=16, scale=4), nullable=False),
        sa.Column("silent", sa.Boolean(), nullable=False),
        sa.Column("notified_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id", "budget_id"],
            ["budgets.user_id", "budgets.id"],
            name=op.f("fk_budget_alerts_user_id_budget_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_budget_alerts_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_budget_alerts")),
        sa.UniqueConstraint(
            "budget_id", "period_start", "percent", name=op.f("uq_budget_alerts_budget_id_period_start_percent")
        ),
    )
    op.create_index(op.f("ix_budget_alerts_user_id"), "budget_alerts", ["user_id"], unique=False)
    for table in TABLES:
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO coffer_app")
    for table in ("transactions", "budgets"):
        for event in ("INSERT", "UPDATE"):
            op.execute(
                f"CREATE TRIGGER {table}_category_owner_{event.lower()} AFTER {event} ON {table} "
                "REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION coffer_check_category_owner()"
            )


def downgrade() -> None:
    for table in reversed(TABLES):
        op.drop_table(table)
    for name in ENUMS:
        op.execute(f"DROP TYPE {name}")
    op.execute("DROP FUNCTION coffer_check_category_owner()")
    op.execute("DROP FUNCTION coffer_valid_thresholds(smallint[])")
