"""The audit log and what people do, kept by time."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations.timescale import is_timescale, use_timescale

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

TABLES = ("audit_checkpoints", "engagement_scores", "segment_memberships")
ENUMS = {"segment_kind": ("behaviour", "value", "activity")}


def _enum(name: str) -> postgresql.ENUM:
    return postgresql.ENUM(*ENUMS[name], name=name, create_type=False)


# `parts` holds partitions or chunks and the rollup. Nobody but the owner may look into it: a chunk of TimescaleDB
# carries the rights of its table and none of its policies.
PARTITIONED = ("audit_logs", "activity_events")

UUID7 = """
CREATE FUNCTION uuid7_floor(at timestamptz) RETURNS uuid LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT (lpad(to_hex(floor(extract(epoch FROM at) * 1000)::bigint), 12, '0') || '70008000000000000000')::uuid
$$;
CREATE FUNCTION uuid7_time(id uuid) RETURNS timestamptz LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT to_timestamp((('x' || left(replace(id::text, '-', ''), 12))::bit(48)::bigint) / 1000.0)
$$;
"""

# Makes the months that are missing; rows that landed in the default partition meanwhile move into theirs.
ENSURE_NATIVE = """
CREATE FUNCTION parts.ensure(parent text, from_day date, to_day date) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public SET lock_timeout = '2s' AS $$
DECLARE
    first_day date;
    month_name text;
    low uuid;
    high uuid;
    strays boolean;
    made integer := 0;
BEGIN
    IF parent NOT IN ('audit_logs', 'activity_events') THEN
        RAISE EXCEPTION '% is not kept by time', parent;
    END IF;
    FOR first_day IN
        SELECT generate_series(date_trunc('month', from_day::timestamp), to_day::timestamp, interval '1 month')::date
    LOOP
        month_name := parent || '_' || to_char(first_day, 'YYYYMM');
        CONTINUE WHEN to_regclass('parts.' || month_name) IS NOT NULL;
        low := public.uuid7_floor(first_day::timestamp AT TIME ZONE 'UTC');
        high := public.uuid7_floor((first_day + interval '1 month') AT TIME ZONE 'UTC');
        EXECUTE format('SELECT EXISTS (SELECT FROM parts.%I WHERE id >= %L AND id < %L)', parent || '_default', low, high)
            INTO strays;
        IF strays THEN
            EXECUTE format('ALTER TABLE public.%I DETACH PARTITION parts.%I', parent, parent || '_default');
        END IF;
        EXECUTE format('CREATE TABLE parts.%I PARTITION OF public.%I FOR VALUES FROM (%L) TO (%L)',
                       month_name, parent, low, high);
        IF strays THEN
            EXECUTE format('WITH gone AS (DELETE FROM parts.%I WHERE id >= %L AND id < %L RETURNING *) '
                           'INSERT INTO public.%I SELECT * FROM gone', parent || '_default', low, high, parent);
            EXECUTE format('ALTER TABLE public.%I ATTACH PARTITION parts.%I DEFAULT', parent, parent || '_default');
        END IF;
        made := made + 1;
    END LOOP;
    RETURN made;
END $$
"""

DROP_BEFORE_NATIVE = """
CREATE FUNCTION parts.drop_before(parent text, moment timestamptz) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public SET lock_timeout = '2s' AS $$
DECLARE
    old record;
    dropped integer := 0;
BEGIN
    IF parent NOT IN ('audit_logs', 'activity_events') THEN
        RAISE EXCEPTION '% is not kept by time', parent;
    END IF;
    FOR old IN
        SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = ('public.' || parent)::regclass AND c.relname ~ '_[0-9]{6}$'
          AND to_date(right(c.relname, 6), 'YYYYMM') + interval '1 month' <= moment AT TIME ZONE 'UTC'
    LOOP
        EXECUTE format('DROP TABLE parts.%I', old.relname);
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END $$
"""

# The days of the window are counted anew; what is older than the window stays although its events may be gone.
REFRESH_NATIVE = """
CREATE FUNCTION parts.refresh_daily_activity(from_day date, to_day date) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
DECLARE
    counted bigint;
BEGIN
    DELETE FROM parts.daily_activity_rollup
    WHERE bucket >= from_day::timestamp AT TIME ZONE 'UTC' AND bucket < to_day::timestamp AT TIME ZONE 'UTC';
    INSERT INTO parts.daily_activity_rollup (user_id, feature, local_day, bucket, events)
    SELECT user_id, feature, local_day, date_trunc('day', public.uuid7_time(id), 'UTC'), sum(amount)
    FROM public.activity_events
    WHERE id >= public.uuid7_floor(from_day::timestamp AT TIME ZONE 'UTC')
      AND id < public.uuid7_floor(to_day::timestamp AT TIME ZONE 'UTC')
    GROUP BY 1, 2, 3, 4;
    GET DIAGNOSTICS counted = ROW_COUNT;
    RETURN counted;
END $$
"""

# TimescaleDB makes chunks and refreshes by itself; the functions are there so that the same jobs run in both modes.
TIMESCALE_FUNCTIONS = """
CREATE FUNCTION parts.ensure(parent text, from_day date, to_day date) RETURNS integer
LANGUAGE sql AS $$ SELECT 0 $$;
CREATE FUNCTION parts.drop_before(parent text, moment timestamptz) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
BEGIN
    IF parent NOT IN ('audit_logs', 'activity_events') THEN
        RAISE EXCEPTION '% is not kept by time', parent;
    END IF;
    RETURN (SELECT count(*) FROM public.drop_chunks(('public.' || parent)::regclass, moment));
END $$;
CREATE FUNCTION parts.refresh_daily_activity(from_day date, to_day date) RETURNS bigint
LANGUAGE sql AS $$ SELECT 0::bigint $$;
"""

ROLLUP_NATIVE = """
CREATE TABLE parts.daily_activity_rollup (
    user_id uuid NOT NULL REFERENCES public.users (id) ON DELETE CASCADE,
    feature varchar(60) NOT NULL,
    local_day date NOT NULL,
    bucket timestamptz NOT NULL,
    events bigint NOT NULL,
    PRIMARY KEY (user_id, bucket, feature, local_day)
);
CREATE INDEX ix_daily_activity_rollup_bucket ON parts.daily_activity_rollup (bucket);
"""

ROLLUP_TIMESCALE = """
CREATE MATERIALIZED VIEW parts.daily_activity_rollup
WITH (timescaledb.continuous, timescaledb.materialized_only = true, timescaledb.create_group_indexes = false) AS
SELECT user_id, feature, local_day, time_bucket(interval '1 day', id) AS bucket, sum(amount)::bigint AS events
FROM activity_events GROUP BY 1, 2, 3, 4 WITH NO DATA;
SELECT add_continuous_aggregate_policy('parts.daily_activity_rollup', start_offset => interval '30 days',
    end_offset => interval '1 hour', schedule_interval => interval '30 minutes');
SELECT add_retention_policy('audit_logs', interval '7 years');
SELECT add_retention_policy('activity_events', interval '25 months');
"""

# One text in both modes. The last two days come from the events themselves, so that it is as fresh as they are.
VIEWS = """
CREATE VIEW parts.daily_activity_everybody AS
    SELECT user_id, feature, local_day AS day, sum(events)::bigint AS events FROM (
        SELECT user_id, feature, local_day, events FROM parts.daily_activity_rollup
        WHERE bucket < date_trunc('day', now(), 'UTC') - interval '1 day'
        UNION ALL
        SELECT user_id, feature, local_day, amount FROM activity_events
        WHERE id >= uuid7_floor(date_trunc('day', now(), 'UTC') - interval '1 day')
    ) counted GROUP BY 1, 2, 3;
CREATE VIEW daily_activity WITH (security_barrier) AS
    SELECT user_id, feature, day, events FROM parts.daily_activity_everybody
    WHERE user_id = (SELECT nullif(current_setting('app.user_id', true), '')::uuid)
       OR (SELECT current_setting('app.everybody', true) = 'on');
GRANT SELECT ON daily_activity TO coffer_app;
"""

APPEND_ONLY = """
CREATE FUNCTION coffer_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% keeps what was written', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER audit_logs_append_only BEFORE UPDATE OR DELETE ON audit_logs
    FOR EACH ROW EXECUTE FUNCTION coffer_append_only();
CREATE TRIGGER audit_logs_no_truncate BEFORE TRUNCATE ON audit_logs
    FOR EACH STATEMENT EXECUTE FUNCTION coffer_append_only();
"""


def upgrade() -> None:
    timescale = use_timescale(op.get_context())
    for name, values in ENUMS.items():
        postgresql.ENUM(*values, name=name).create(op.get_bind(), checkfirst=False)
    op.create_table(
        "audit_checkpoints",
        sa.Column("last_audit_id", sa.Uuid(), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("previous_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_checkpoints")),
        sa.UniqueConstraint("hash", name=op.f("uq_audit_checkpoints_hash")),
        sa.UniqueConstraint("last_audit_id", name=op.f("uq_audit_checkpoints_last_audit_id")),
    )
    op.create_table(
        "engagement_scores",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("version", sa.SmallInteger(), nullable=False),
        sa.Column("score", sa.Numeric(precision=5, scale=2), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_engagement_scores_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_engagement_scores")),
        sa.UniqueConstraint("user_id", "day", "version", name=op.f("uq_engagement_scores_user_id_day_version")),
    )
    op.create_table(
        "segment_memberships",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("kind", _enum("segment_kind"), nullable=False),
        sa.Column("segment", sa.String(length=40), nullable=False),
        sa.Column("rules_version", sa.SmallInteger(), nullable=False),
        sa.Column("valid_from", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("valid_to", sa.DateTime(timezone=True), nullable=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_segment_memberships_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_segment_memberships")),
    )
    op.create_index(
        "ix_segment_memberships_segment",
        "segment_memberships",
        ["segment", "user_id"],
        unique=False,
        postgresql_where=sa.text("valid_to IS NULL"),
    )
    op.create_index(op.f("ix_segment_memberships_user_id"), "segment_memberships", ["user_id"], unique=False)
    op.create_index(
        "uq_segment_memberships_current",
        "segment_memberships",
        ["user_id", "kind"],
        unique=True,
        postgresql_where=sa.text("valid_to IS NULL"),
    )
    for table in TABLES:
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO coffer_app")
    op.execute("REVOKE UPDATE, DELETE ON audit_checkpoints FROM coffer_app")
    op.execute("CREATE SCHEMA parts")
    op.execute(UUID7)
    _make_audit_log(timescale=timescale)
    _make_activity_events(timescale=timescale)
    if timescale:
        op.execute(TIMESCALE_FUNCTIONS)
        op.execute(ROLLUP_TIMESCALE)
    else:
        for statement in (ENSURE_NATIVE, DROP_BEFORE_NATIVE, REFRESH_NATIVE, ROLLUP_NATIVE):
            op.execute(statement)
        for table in PARTITIONED:
            op.execute(f"CREATE TABLE parts.{table}_default PARTITION OF {table} DEFAULT")
            op.execute(
                f"SELECT parts.ensure('{table}', (now() - interval '1 month')::date, (now() + interval '1 year')::date)"
            )
    op.execute("REVOKE ALL ON ALL FUNCTIONS IN SCHEMA parts FROM PUBLIC")
    op.execute("GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA parts TO coffer_app")
    _copy_old_audit_rows()
    op.execute(VIEWS)
    op.execute(APPEND_ONLY)


def downgrade() -> None:
    op.execute("DROP VIEW daily_activity")
    op.execute("DROP VIEW parts.daily_activity_everybody")
    if is_timescale(op.get_context()):
        op.execute("DROP MATERIALIZED VIEW parts.daily_activity_rollup")
    op.execute("ALTER TABLE audit_logs RENAME TO audit_logs_kept_by_time")
    _make_plain_audit_log()
    op.execute(
        f"INSERT INTO audit_logs ({', '.join(AUDIT_COLUMNS)}) SELECT {', '.join(AUDIT_COLUMNS)} FROM audit_logs_kept_by_time"
    )
    op.drop_table("audit_logs_kept_by_time")
    op.drop_table("activity_events")
    op.execute("DROP SCHEMA parts CASCADE")
    for function in ("coffer_append_only()", "uuid7_floor(timestamptz)", "uuid7_time(uuid)"):
        op.execute(f"DROP FUNCTION {function}")
    for table in reversed(TABLES):
        op.drop_table(table)
    for name in ENUMS:
        op.execute(f"DROP TYPE {name}")


# Those of the first migration, which the old rows have.
AUDIT_COLUMNS = (
    "id", "created_at", "updated_at", "actor_id", "action", "entity_type", "entity_id", "changes", "metadata", "ip",
    "user_agent", "request_id",
)  # fmt: skip


def _audit_columns() -> list[sa.Column]:
    return [
        sa.Column("actor_id", sa.Uuid()),
        sa.Column("action", sa.String(80), nullable=False),
        sa.Column("entity_type", sa.String(40)),
        sa.Column("entity_id", sa.Uuid()),
        sa.Column("changes", postgresql.JSONB()),
        sa.Column("metadata", postgresql.JSONB()),
        sa.Column("ip", postgresql.INET()),
        sa.Column("user_agent", sa.String(400)),
        sa.Column("request_id", sa.String(64), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_logs")),
    ]


def _make_audit_log(*, timescale: bool) -> None:
    op.execute("ALTER TABLE audit_logs RENAME TO audit_logs_plain")
    for name in ("pk_audit_logs", "ix_audit_logs_actor_id_id", "ix_audit_logs_entity_type_entity_id_id"):
        op.execute(f"ALTER INDEX {name} RENAME TO {name}_plain")
    op.create_table(
        "audit_logs",
        sa.Column("user_id", sa.Uuid()),
        sa.Column("impersonator_id", sa.Uuid()),
        *_audit_columns(),
        **_partitioned(timescale=timescale),
    )
    _make_hypertable("audit_logs", timescale=timescale)
    op.create_index(op.f("ix_audit_logs_user_id_id"), "audit_logs", ["user_id", "id"])
    _index_audit_log()
    op.execute("GRANT SELECT, INSERT ON audit_logs TO coffer_app")


def _index_audit_log() -> None:
    op.create_index(op.f("ix_audit_logs_actor_id_id"), "audit_logs", ["actor_id", "id"])
    op.create_index(op.f("ix_audit_logs_entity_type_entity_id_id"), "audit_logs", ["entity_type", "entity_id", "id"])


def _copy_old_audit_rows() -> None:
    columns = ", ".join(AUDIT_COLUMNS)
    op.execute(f"INSERT INTO audit_logs ({columns}) SELECT {columns} FROM audit_logs_plain ORDER BY id")
    op.drop_table("audit_logs_plain")


def _make_plain_audit_log() -> None:
    for name in ("pk_audit_logs", "ix_audit_logs_actor_id_id", "ix_audit_logs_entity_type_entity_id_id"):
        op.execute(f"ALTER INDEX {name} RENAME TO {name}_kept_by_time")
    op.create_table("audit_logs", *_audit_columns())
    _index_audit_log()
    op.execute("GRANT SELECT, INSERT ON audit_logs TO coffer_app")


def _make_activity_events(*, timescale: bool) -> None:
    op.create_table(
        "activity_events",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("feature", sa.String(60), nullable=False),
        sa.Column("local_day", sa.Date(), nullable=False),
        sa.Column("amount", sa.Integer(), server_default="1", nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_activity_events_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_activity_events")),
        **_partitioned(timescale=timescale),
    )
    _make_hypertable("activity_events", timescale=timescale)
    op.create_index("ix_activity_events_user", "activity_events", ["user_id", "id"])
    op.execute("GRANT SELECT, INSERT, DELETE ON activity_events TO coffer_app")


def _partitioned(*, timescale: bool) -> dict[str, str]:
    return {} if timescale else {"postgresql_partition_by": "RANGE (id)"}


def _make_hypertable(table: str, *, timescale: bool) -> None:
    if timescale:
        # The old form of the call: only it can say in which schema the chunks are.
        op.execute(
            f"SELECT create_hypertable('{table}', 'id', chunk_time_interval => interval '1 month', "
            "associated_schema_name => 'parts', create_default_indexes => false)"
        )
