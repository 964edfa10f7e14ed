"""Ways to sign in, devices, settings; whose each session and token is."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TABLES = ("identities", "devices", "backup_codes", "api_keys", "tenants", "user_settings")
ENUMS = {"theme": ("system", "light", "dark"), "mail_frequency": ("instant", "daily", "weekly", "never")}


def _enum(name: str) -> postgresql.ENUM:
    return postgresql.ENUM(*ENUMS[name], name=name, create_type=False)


def upgrade() -> None:
    for name, values in ENUMS.items():
        postgresql.ENUM(*values, name=name).create(op.get_bind(), checkfirst=False)
    op.create_table(
        "identities",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("provider", sa.String(length=120), nullable=False),
        sa.Column("subject", sa.String(length=255), nullable=False),
        sa.Column("email", sa.String(length=254), nullable=True),
        sa.Column("profile", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_identities_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_identities")),
        sa.UniqueConstraint("provider", "subject", name=op.f("uq_identities_provider_subject")),
    )
    op.create_index(op.f("ix_identities_user_id"), "identities", ["user_id"], unique=False)
    op.create_table(
        "devices",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(length=32), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("platform", sa.String(length=60), nullable=True),
        sa.Column("trusted_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("last_ip", postgresql.INET(), nullable=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_devices_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_devices")),
        sa.UniqueConstraint("user_id", "fingerprint", name=op.f("uq_devices_user_id_fingerprint")),
        sa.UniqueConstraint("user_id", "id", name=op.f("uq_devices_user_id_id")),
    )
    op.create_table(
        "backup_codes",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("code_hash", sa.String(length=120), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_backup_codes_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_backup_codes")),
    )
    op.create_index(op.f("ix_backup_codes_user_id"), "backup_codes", ["user_id"], unique=False)
    op.create_table(
        "api_keys",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("prefix", sa.String(length=16), nullable=False),
        sa.Column("key_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("scopes", sa.ARRAY(sa.String(length=40)), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_api_keys_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("prefix", name=op.f("uq_api_keys_prefix")),
    )
    op.create_index(op.f("ix_api_keys_user_id"), "api_keys", ["user_id"], unique=False)
    op.create_table(
        "tenants",
        sa.Column("slug", sa.String(length=63), nullable=False),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column("email_domains", sa.ARRAY(sa.String(length=253)), nullable=False),
        sa.Column("idp_entity_id", sa.String(length=500), nullable=False),
        sa.Column("idp_sso_url", sa.String(length=500), nullable=False),
        sa.Column("idp_slo_url", sa.String(length=500), nullable=True),
        sa.Column("idp_certificates", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("attribute_map", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("jit_enabled", sa.Boolean(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("slug ~ '^[a-z0-9][a-z0-9-]{1,62}$'", name=op.f("ck_tenants_slug_form")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tenants")),
        sa.UniqueConstraint("slug", name=op.f("uq_tenants_slug")),
    )
    op.create_table(
        "user_settings",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("currency", sa.String(length=3), server_default="EUR", nullable=False),
        sa.Column("date_format", sa.String(length=20), server_default="YYYY-MM-DD", nullable=False),
        sa.Column("theme", _enum("theme"), server_default="system", nullable=False),
        sa.Column("notify_by_email", sa.Boolean(), server_default="true", nullable=False),
        sa.Column("notify_budget_alerts", sa.Boolean(), server_default="true", nullable=False),
        sa.Column("notify_security", sa.Boolean(), server_default="true", nullable=False),
        sa.Column("notify_product_news", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("mail_frequency", _enum("mail_frequency"), server_default="instant", nullable=False),
        sa.Column("share_data", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("analytics_opt_out", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_user_settings_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_user_settings")),
        sa.UniqueConstraint("user_id", name=op.f("uq_user_settings_user_id")),
    )
    for table in TABLES:
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO coffer_app")
    _extend_people()
    _extend_refresh_tokens()
    _extend_sessions()


def downgrade() -> None:
    op.create_index("ix_refresh_tokens_session_id", "refresh_tokens", ["session_id"])
    op.drop_column("refresh_tokens", "user_id")
    op.create_foreign_key(
        "fk_refresh_tokens_session_id", "refresh_tokens", "sessions", ["session_id"], ["id"], ondelete="CASCADE"
    )
    op.drop_column("sessions", "impersonator_id")
    op.drop_column("sessions", "device_id")
    op.drop_constraint("uq_sessions_user_id_id", "sessions")
    op.drop_index("ix_users_tier", "users")
    for column in PEOPLE_COLUMNS:
        op.drop_column("users", column)
    for table in reversed(TABLES):
        op.drop_table(table)
    for name in ENUMS:
        op.execute(f"DROP TYPE {name}")


PEOPLE_COLUMNS = {
    "marketing_consent_at": sa.DateTime(timezone=True),
    "mfa_secret": sa.LargeBinary(),
    "mfa_last_step": sa.BigInteger(),
    "deletion_requested_at": sa.DateTime(timezone=True),
    "anonymized_at": sa.DateTime(timezone=True),
    "deleted_at": sa.DateTime(timezone=True),
    "deleted_batch": sa.Uuid(),
}


# All in one transaction, so that a run that is broken off leaves nothing behind. Before the first release there are no
# rows that the locks of the indexes and references could keep anybody from.


def _extend_people() -> None:
    for name, kind in PEOPLE_COLUMNS.items():
        op.add_column("users", sa.Column(name, kind))
    op.create_index("ix_users_tier", "users", ["tier", "id"], postgresql_where=sa.text("deleted_at IS NULL"))


def _extend_sessions() -> None:
    for column in ("device_id", "impersonator_id"):
        op.add_column("sessions", sa.Column(column, sa.Uuid()))
        op.create_index(
            f"ix_sessions_{column}", "sessions", [column], postgresql_where=sa.text(f"{column} IS NOT NULL")
        )
    _reference("sessions", ["impersonator_id"], "users", ["id"])
    _reference("sessions", ["user_id", "device_id"], "devices", ["user_id", "id"])


def _extend_refresh_tokens() -> None:
    """Say whose each token is, in the key too: a token cannot belong to one person and its session to another."""
    op.create_unique_constraint("uq_sessions_user_id_id", "sessions", ["user_id", "id"])
    op.add_column("refresh_tokens", sa.Column("user_id", sa.Uuid()))
    op.execute("UPDATE refresh_tokens t SET user_id = s.user_id FROM sessions s WHERE s.id = t.session_id")
    op.alter_column("refresh_tokens", "user_id", nullable=False)
    _reference("refresh_tokens", ["user_id"], "users", ["id"])
    _reference("refresh_tokens", ["user_id", "session_id"], "sessions", ["user_id", "id"])
    op.drop_constraint("fk_refresh_tokens_session_id", "refresh_tokens")
    op.create_index("ix_refresh_tokens_user_id_session_id", "refresh_tokens", ["user_id", "session_id"])
    op.drop_index("ix_refresh_tokens_session_id", "refresh_tokens")


def _reference(table: str, columns: list[str], other: str, theirs: list[str]) -> None:
    op.create_foreign_key(f"fk_{table}_{'_'.join(columns)}", table, other, columns, theirs, ondelete="CASCADE")
