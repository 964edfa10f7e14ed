"""People, sessions, one-time tokens, the outbox and the audit log."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ENUMS = {
    "user_status": ("active", "disabled", "locked", "pending_deletion", "anonymized"),
    "user_role": ("user", "admin"),
    "user_tier": ("free", "premium"),
    "token_purpose": ("verify_email",),
    "outbox_status": ("waiting", "done", "failed"),
}
READ_AND_WRITE = ("users", "sessions", "refresh_tokens", "one_time_tokens", "outbox")
APPEND_ONLY = ("audit_logs",)

# The migrations grant rights to this role; the login role of the API and the workers is a member of it.
MAKE_APP_ROLE = """
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'coffer_app') THEN
        CREATE ROLE coffer_app NOLOGIN;
    END IF;
EXCEPTION WHEN insufficient_privilege THEN
    RAISE EXCEPTION 'the role that migrates may not create roles'
        USING HINT = 'Let an administrator of the server run: CREATE ROLE coffer_app NOLOGIN';
END $$
"""


def _enum(name: str) -> postgresql.ENUM:
    return postgresql.ENUM(*ENUMS[name], name=name, create_type=False)


def _common() -> list[sa.Column]:
    return [
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
    ]


def _time(name: str, *, required: bool = False, default: str | None = None) -> sa.Column:
    server_default = sa.text(default) if default else None
    return sa.Column(name, sa.DateTime(timezone=True), nullable=not required, server_default=server_default)


def upgrade() -> None:
    op.execute(MAKE_APP_ROLE)
    for name, values in ENUMS.items():
        postgresql.ENUM(*values, name=name).create(op.get_bind(), checkfirst=False)
    _make_people()
    _make_sessions()
    _make_outbox()
    _make_audit_log()
    op.execute("GRANT USAGE ON SCHEMA public TO coffer_app")
    op.execute("GRANT SELECT ON alembic_version TO coffer_app")
    for table in READ_AND_WRITE:
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO coffer_app")
    for table in APPEND_ONLY:
        op.execute(f"GRANT SELECT, INSERT ON {table} TO coffer_app")


def downgrade() -> None:
    for table in (*APPEND_ONLY, "outbox", "refresh_tokens", "sessions", "one_time_tokens", "users"):
        op.drop_table(table)
    for name in ENUMS:
        op.execute(f"DROP TYPE {name}")
    # The role stays: it belongs to the server, and another database may use it.
    op.execute("REVOKE ALL ON alembic_version FROM coffer_app")
    op.execute("REVOKE USAGE ON SCHEMA public FROM coffer_app")


def _make_people() -> None:
    op.create_table(
        "users",
        sa.Column("email", sa.String(254), nullable=False),
        sa.Column("password_hash", sa.String(120)),
        sa.Column("status", _enum("user_status"), nullable=False),
        sa.Column("role", _enum("user_role"), nullable=False),
        sa.Column("tier", _enum("user_tier"), nullable=False),
        sa.Column("first_name", sa.String(100)),
        sa.Column("last_name", sa.String(100)),
        sa.Column("phone", sa.String(16)),
        sa.Column("timezone", sa.String(64), nullable=False),
        sa.Column("language", sa.String(35), nullable=False),
        sa.Column("avatar_key", sa.String(200)),
        _time("email_verified_at"),
        sa.Column("terms_version", sa.String(20)),
        _time("terms_accepted_at"),
        _time("password_changed_at"),
        _time("last_login_at"),
        _time("mfa_enabled_at"),
        *_common(),
        sa.CheckConstraint("email = lower(email)", name=op.f("ck_users_email_lower")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
    )
    op.create_index("uq_users_email", "users", [sa.literal_column("lower(email)")], unique=True)
    op.create_table(
        "one_time_tokens",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("purpose", _enum("token_purpose"), nullable=False),
        sa.Column("token_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("payload", postgresql.JSONB(), nullable=False),
        _time("expires_at", required=True),
        _time("used_at"),
        *_common(),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], ondelete="CASCADE", name=op.f("fk_one_time_tokens_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_one_time_tokens")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_one_time_tokens_token_hash")),
    )
    op.create_index(op.f("ix_one_time_tokens_user_id_purpose"), "one_time_tokens", ["user_id", "purpose"])


def _make_sessions() -> None:
    op.create_table(
        "sessions",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("token_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("ip", postgresql.INET()),
        sa.Column("user_agent", sa.String(400)),
        sa.Column("auth_methods", sa.ARRAY(sa.String(20)), nullable=False),
        _time("authenticated_at", required=True, default="now()"),
        _time("last_seen_at", required=True, default="now()"),
        _time("idle_expires_at", required=True),
        _time("expires_at", required=True),
        _time("revoked_at"),
        sa.Column("revoke_reason", sa.String(40)),
        *_common(),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], ondelete="CASCADE", name=op.f("fk_sessions_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sessions")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_sessions_token_hash")),
    )
    op.create_index("ix_sessions_live", "sessions", ["user_id"], postgresql_where=sa.text("revoked_at IS NULL"))
    op.create_table(
        "refresh_tokens",
        sa.Column("session_id", sa.Uuid(), nullable=False),
        sa.Column("successor_id", sa.Uuid()),
        _time("expires_at", required=True),
        _time("used_at"),
        *_common(),
        sa.ForeignKeyConstraint(
            ["session_id"], ["sessions.id"], ondelete="CASCADE", name=op.f("fk_refresh_tokens_session_id")
        ),
        sa.ForeignKeyConstraint(
            ["successor_id"],
            ["refresh_tokens.id"],
            ondelete="SET NULL",
            name=op.f("fk_refresh_tokens_successor_id"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_refresh_tokens")),
        sa.UniqueConstraint("successor_id", name=op.f("uq_refresh_tokens_successor_id")),
    )
    op.create_index(op.f("ix_refresh_tokens_session_id"), "refresh_tokens", ["session_id"])


def _make_outbox() -> None:
    op.create_table(
        "outbox",
        sa.Column("task", sa.String(80), nullable=False),
        sa.Column("queue", sa.String(40), nullable=False),
        sa.Column("arguments", postgresql.JSONB(), nullable=False),
        sa.Column("request_id", sa.String(64), nullable=False),
        sa.Column("status", _enum("outbox_status"), server_default="waiting", nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        _time("available_at", required=True, default="now()"),
        _time("published_at"),
        _time("leased_until"),
        _time("finished_at"),
        sa.Column("last_error", sa.String(200)),
        *_common(),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
    )
    op.create_index("ix_outbox_waiting", "outbox", ["available_at"], postgresql_where=sa.text("status = 'waiting'"))
    op.create_index(
        "ix_outbox_finished_at",
        "outbox",
        ["finished_at"],
        postgresql_where=sa.text("finished_at IS NOT NULL"),
    )


def _make_audit_log() -> None:
    op.create_table(
        "audit_logs",
        sa.Column("actor_id", sa.Uuid()),
        sa.Column("action", sa.String(80), nullable=False),
        sa.Column("entity_type", sa.String(40)),
        sa.Column("entity_id", sa.Uuid()),
        sa.Column("changes", postgresql.JSONB()),
        sa.Column("metadata", postgresql.JSONB()),
        sa.Column("ip", postgresql.INET()),
        sa.Column("user_agent", sa.String(400)),
        sa.Column("request_id", sa.String(64), nullable=False),
        *_common(),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_logs")),
    )
    op.create_index(op.f("ix_audit_logs_actor_id_id"), "audit_logs", ["actor_id", "id"])
    op.create_index(op.f("ix_audit_logs_entity_type_entity_id_id"), "audit_logs", ["entity_type", "entity_id", "id"])
