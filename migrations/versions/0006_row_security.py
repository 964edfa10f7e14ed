"""Roles, and row-level security on every table that holds a person's rows."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

# The column that says whose a row is.
OWNER = {
    "users": "id",
    "user_settings": "user_id",
    "identities": "user_id",
    "devices": "user_id",
    "backup_codes": "user_id",
    "api_keys": "user_id",
    "one_time_tokens": "user_id",
    "sessions": "user_id",
    "refresh_tokens": "user_id",
    "accounts": "user_id",
    "imports": "user_id",
    "transactions": "user_id",
    "budgets": "user_id",
    "budget_alerts": "user_id",
    "jobs": "user_id",
    "idempotency_keys": "user_id",
    "activity_events": "user_id",
    "engagement_scores": "user_id",
    "segment_memberships": "user_id",
}
# With policies of their own.
SPECIAL = ("categories", "audit_logs")
# A continuous aggregate of TimescaleDB reads it as its owner; forced security would empty the aggregate.
NOT_FORCED = ("activity_events",)
SHARED = ("tenants", "outbox", "task_failures", "schedule_runs", "audit_checkpoints", "alembic_version")

# What a role for reports must not see.
CREDENTIALS = {
    "users": ("password_hash", "mfa_secret"),
    "sessions": ("token_hash",),
    "one_time_tokens": ("token_hash", "payload"),
    "backup_codes": ("code_hash",),
    "api_keys": ("key_hash",),
    "devices": ("fingerprint",),
    "tenants": ("idp_certificates",),
    "idempotency_keys": ("body", "request_hash"),
}

# Evaluated once for a statement. After a transaction the setting is '' and not NULL, hence nullif.
ME = "(SELECT nullif(current_setting('app.user_id', true), '')::uuid)"
EVERYBODY = "(SELECT current_setting('app.everybody', true) = 'on')"

MAKE_ROLES = """
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['coffer_readonly', 'coffer_admin', 'coffer_backup'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', name);
        END IF;
    END LOOP;
    -- The owner too is held by the policies; as a member of the app's role it has one.
    IF NOT pg_has_role(current_user, 'coffer_app', 'USAGE') THEN
        EXECUTE format('GRANT coffer_app TO %I', current_user);
    END IF;
EXCEPTION WHEN insufficient_privilege THEN
    RAISE EXCEPTION 'the role that migrates may not create roles or grant coffer_app'
        USING HINT = 'Let an administrator of the server run: CREATE ROLE coffer_readonly NOLOGIN; CREATE ROLE '
                     'coffer_admin NOLOGIN; CREATE ROLE coffer_backup NOLOGIN; GRANT coffer_app TO the owner';
END $$
"""

# Every column of a table except some, as a list for GRANT.
GRANT_SAFE_COLUMNS = """
DO $$
DECLARE
    columns text;
BEGIN
    SELECT string_agg(quote_ident(attname), ', ') INTO columns FROM pg_attribute
    WHERE attrelid = '{table}'::regclass AND attnum > 0 AND NOT attisdropped AND attname <> ALL (ARRAY[{hidden}]);
    EXECUTE 'GRANT SELECT (' || columns || ') ON {table} TO coffer_readonly';
END $$
"""


def upgrade() -> None:
    op.execute(MAKE_ROLES)
    tables = (*OWNER, *SPECIAL)
    for table in tables:
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        if table not in NOT_FORCED:
            op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY reading ON {table} FOR SELECT TO coffer_readonly, coffer_backup USING (true)")
        op.execute(f"CREATE POLICY administration ON {table} FOR ALL TO coffer_admin USING (true) WITH CHECK (true)")
    for table, column in OWNER.items():
        rule = f"{column} = {ME} OR {EVERYBODY}"
        op.execute(f"CREATE POLICY person ON {table} FOR ALL TO coffer_app USING ({rule}) WITH CHECK ({rule})")
    _special_policies()
    _grant(tables)


def downgrade() -> None:
    for table in (*OWNER, *SPECIAL):
        for policy in _policies(table):
            op.execute(f"DROP POLICY {policy} ON {table}")
        op.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")
    op.execute("ALTER DEFAULT PRIVILEGES IN SCHEMA parts REVOKE SELECT ON TABLES FROM coffer_backup")
    for role in ("coffer_readonly", "coffer_admin", "coffer_backup"):
        for schema in ("public", "parts"):
            op.execute(f"REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM {role}")
            op.execute(f"REVOKE ALL ON SCHEMA {schema} FROM {role}")


def _policies(table: str) -> tuple[str, ...]:
    own = {
        "categories": ("person_reads", "person_adds", "person_changes", "person_removes"),
        "audit_logs": ("person_reads", "anybody_adds"),
    }
    return ("reading", "administration", *own.get(table, ("person",)))


def _special_policies() -> None:
    mine = f"user_id = {ME} OR {EVERYBODY}"
    op.execute(f"CREATE POLICY person_reads ON categories FOR SELECT TO coffer_app USING (user_id IS NULL OR {mine})")
    op.execute(f"CREATE POLICY person_adds ON categories FOR INSERT TO coffer_app WITH CHECK ({mine})")
    op.execute(
        f"CREATE POLICY person_changes ON categories FOR UPDATE TO coffer_app USING ({mine}) WITH CHECK ({mine})"
    )
    op.execute(f"CREATE POLICY person_removes ON categories FOR DELETE TO coffer_app USING ({mine})")
    op.execute(f"CREATE POLICY person_reads ON audit_logs FOR SELECT TO coffer_app USING ({mine} OR actor_id = {ME})")
    # What is refused leaves a trace too, when nobody is known yet.
    op.execute("CREATE POLICY anybody_adds ON audit_logs FOR INSERT TO coffer_app WITH CHECK (true)")


def _grant(tables: tuple[str, ...]) -> None:
    for role in ("coffer_readonly", "coffer_admin", "coffer_backup"):
        op.execute(f"GRANT USAGE ON SCHEMA public TO {role}")
    for table in (*tables, *SHARED):
        op.execute(f"GRANT SELECT ON {table} TO coffer_backup, coffer_admin")
        hidden = ", ".join(f"'{column}'" for column in CREDENTIALS.get(table, ()))
        if hidden:
            op.execute(GRANT_SAFE_COLUMNS.format(table=table, hidden=hidden))
        else:
            op.execute(f"GRANT SELECT ON {table} TO coffer_readonly")
        if table not in {"audit_logs", "audit_checkpoints", "alembic_version"}:
            op.execute(f"GRANT INSERT, UPDATE, DELETE ON {table} TO coffer_admin")
    # A dump reads the partitions themselves, and those that will be made.
    op.execute("GRANT USAGE ON SCHEMA parts TO coffer_backup")
    op.execute("GRANT SELECT ON ALL TABLES IN SCHEMA parts TO coffer_backup")
    op.execute("ALTER DEFAULT PRIVILEGES IN SCHEMA parts GRANT SELECT ON TABLES TO coffer_backup")
