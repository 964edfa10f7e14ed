"""Seals of the audit log row by row, runs of batches, and upkeep of partitions that the worker may call.

The API's role may not look into the schema `parts`, so it cannot call the functions there. Those made here run as the
owner and take no dates: nobody can drop what is not past its time.
"""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0020"
branch_labels = None
depends_on = None

# TimescaleDB has no default partition, so there is none to look into.
OLDEST_STRAY = """
CREATE FUNCTION coffer_oldest_stray(parent text) RETURNS timestamptz
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, public AS $$
DECLARE
    found uuid;
BEGIN
    IF parent NOT IN ('audit_logs', 'activity_events') THEN
        RAISE EXCEPTION '% is not kept by time', parent;
    END IF;
    IF to_regclass('parts.' || parent || '_default') IS NULL THEN
        RETURN NULL;
    END IF;
    EXECUTE format('SELECT id FROM parts.%I ORDER BY id LIMIT 1', parent || '_default') INTO found;
    RETURN public.uuid7_time(found);
END $$
"""

# From the month of the oldest row that found no partition, but no month that would be dropped at once.
ENSURE_PARTITIONS = """
CREATE FUNCTION coffer_ensure_partitions(parent text) RETURNS integer
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
    SELECT parts.ensure(
        parent,
        (greatest(least(public.coffer_oldest_stray(parent), now()), now() - public.coffer_kept_for(parent))
            AT TIME ZONE 'UTC')::date,
        ((now() + interval '12 months') AT TIME ZONE 'UTC')::date
    )
$$
"""

KEPT_FOR = """
CREATE FUNCTION coffer_kept_for(parent text) RETURNS interval LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE parent WHEN 'audit_logs' THEN interval '7 years' WHEN 'activity_events' THEN interval '25 months' END
$$
"""

DROP_EXPIRED = """
CREATE FUNCTION coffer_drop_expired(parent text) RETURNS integer
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
    SELECT parts.drop_before(parent, now() - public.coffer_kept_for(parent))
$$
"""

# The last three days, and all before that were missed: from the first event of the newest day that was counted. A day
# whose events are gone is left as it was counted.
REFRESH_DAILY_ACTIVITY = """
CREATE FUNCTION coffer_refresh_daily_activity() RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
DECLARE
    today date := (now() AT TIME ZONE 'UTC')::date;
    counted timestamptz := (SELECT coalesce(max(bucket), to_timestamp(0)) FROM parts.daily_activity_rollup);
    next timestamptz := (SELECT public.uuid7_time(id) FROM public.activity_events
                         WHERE id >= public.uuid7_floor(counted) ORDER BY id LIMIT 1);
BEGIN
    RETURN parts.refresh_daily_activity(
        greatest(least((next AT TIME ZONE 'UTC')::date, today - 3), (today - interval '24 months')::date), today + 1
    );
END $$
"""

FUNCTIONS = {
    "coffer_kept_for(text)": KEPT_FOR,
    "coffer_oldest_stray(text)": OLDEST_STRAY,
    "coffer_ensure_partitions(text)": ENSURE_PARTITIONS,
    "coffer_drop_expired(text)": DROP_EXPIRED,
    "coffer_refresh_daily_activity()": REFRESH_DAILY_ACTIVITY,
}


def upgrade() -> None:
    op.add_column(
        "audit_checkpoints",
        sa.Column("seals", sa.LargeBinary(), server_default=sa.text("'\\x'::bytea"), nullable=False),
    )
    op.add_column(
        "audit_checkpoints", sa.Column("form", sa.SmallInteger(), server_default=sa.text("1"), nullable=False)
    )
    op.create_table(
        "batch_runs",
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("status", _status(), server_default="running", nullable=False),
        sa.Column("position", sa.Uuid(), nullable=True),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("moved", sa.Integer(), server_default="0", nullable=False),
        sa.Column("rejected", sa.Integer(), server_default="0", nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        *_usual_columns("batch_runs"),
        sa.UniqueConstraint("name", name=op.f("uq_batch_runs_name")),
    )
    op.create_table(
        "batch_rejects",
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("row_id", sa.Uuid(), nullable=False),
        sa.Column("reason", sa.String(length=200), nullable=False),
        *_usual_columns("batch_rejects"),
        sa.ForeignKeyConstraint(
            ["run_id"], ["batch_runs.id"], name=op.f("fk_batch_rejects_run_id"), ondelete="CASCADE"
        ),
        sa.UniqueConstraint("run_id", "row_id", name=op.f("uq_batch_rejects_run_id_row_id")),
    )
    for table in ("batch_runs", "batch_rejects"):
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO coffer_app, coffer_admin")
        op.execute(f"GRANT SELECT ON {table} TO coffer_readonly, coffer_backup")
    for name, body in FUNCTIONS.items():
        op.execute(body)
        op.execute(f"REVOKE ALL ON FUNCTION {name} FROM PUBLIC")
        op.execute(f"GRANT EXECUTE ON FUNCTION {name} TO coffer_app")


def downgrade() -> None:
    for name in reversed(FUNCTIONS):
        op.execute(f"DROP FUNCTION {name}")
    op.drop_table("batch_rejects")
    op.drop_table("batch_runs")
    op.execute("DROP TYPE batch_status")
    op.drop_column("audit_checkpoints", "form")
    op.drop_column("audit_checkpoints", "seals")


def _status() -> sa.Enum:
    return sa.Enum("running", "done", "rolling_back", "rolled_back", name="batch_status")


def _usual_columns(table: str) -> tuple[sa.schema.SchemaItem, ...]:
    return (
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{table}")),
    )
