"""What the database tells of itself. Everything here is open to the role of the API."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

# Under TimescaleDB a continuous aggregate reads it as its owner, which forced security would empty.
NOT_FORCED = ("activity_events",)

_ROLE = text("""
SELECT rolname AS name, rolsuper AS superuser, rolbypassrls AS bypasses,
       (SELECT count(*) FROM pg_class WHERE relowner = pg_roles.oid) AS owned,
       has_schema_privilege('public', 'CREATE') AS creates
FROM pg_roles WHERE rolname = current_user
""")

_UNPROTECTED = text("""
SELECT relname FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
  AND (relname = 'users' OR EXISTS (SELECT FROM pg_attribute WHERE attrelid = pg_class.oid AND attname = 'user_id'))
  AND NOT (relrowsecurity AND (relforcerowsecurity OR relname = ANY (:not_forced))
           AND EXISTS (SELECT FROM pg_policy WHERE polrelid = pg_class.oid))
ORDER BY relname
""")

# Partitions and chunks count for the table that they belong to.
_SIZES = text("""
WITH RECURSIVE tree AS (
    SELECT relname, oid FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
    UNION ALL
    SELECT tree.relname, inhrelid FROM tree JOIN pg_inherits ON inhparent = tree.oid
)
SELECT relname, sum(pg_table_size(oid))::bigint, sum(pg_indexes_size(oid))::bigint
FROM tree GROUP BY relname ORDER BY 2 DESC, 1
""")

_OUTBOX = text("""
SELECT (SELECT count(*) FROM outbox WHERE status = 'waiting') AS waiting,
       (SELECT count(*) FROM outbox WHERE status = 'failed') AS failed,
       (SELECT coalesce(extract(epoch FROM now() - min(available_at)), 0)::float FROM outbox
        WHERE status = 'waiting' AND available_at <= now()) AS oldest_seconds
""")

_UNUSED_INDEXES = text("""
SELECT indexrelname FROM pg_stat_user_indexes JOIN pg_index USING (indexrelid)
WHERE idx_scan = 0 AND NOT indisunique AND pg_relation_size(indexrelid) > :least_bytes ORDER BY 1
""")

_READ_IN_FULL = text("""
SELECT relname FROM pg_stat_user_tables
WHERE n_live_tup > :least_rows AND seq_scan > coalesce(idx_scan, 0) AND seq_scan > 100 ORDER BY 1
""")

_UNINDEXED_REFERENCES = text("""
SELECT conname FROM pg_constraint
WHERE contype = 'f' AND connamespace = 'public'::regnamespace AND conparentid = 0 AND NOT EXISTS (
    SELECT FROM pg_index WHERE indrelid = conrelid
      AND (indkey::int2[])[0:array_length(conkey, 1) - 1] @> conkey
) AND NOT EXISTS (
    SELECT FROM pg_index WHERE indrelid = conrelid AND indkey[0] = ANY (conkey) AND array_length(conkey, 1) > 1
) ORDER BY 1
""")


class TableSize(NamedTuple):
    """How much room a table and its indexes take."""

    table: str
    table_bytes: int
    index_bytes: int


class MonitoringRepository:
    """Reads the catalogue and the statistics."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def role(self) -> Row[Any]:
        """Who we are to the database: name, superuser, bypasses, owned, creates."""
        return self._session.execute(_ROLE).one()

    def list_unprotected(self) -> Sequence[str]:
        """Tables with people's rows that lack row-level security or a policy."""
        return self._session.scalars(_UNPROTECTED, {"not_forced": list(NOT_FORCED)}).all()

    def revisions(self) -> set[str]:
        """The migrations that the schema is at."""
        return set(self._session.scalars(text("SELECT version_num FROM alembic_version")))

    def list_sizes(self) -> list[TableSize]:
        """Every table, the biggest first."""
        return [TableSize(*row) for row in self._session.execute(_SIZES)]

    def outbox(self) -> Row[Any]:
        """How much waits and was given up, and for how long something has been due: waiting, failed, oldest_seconds."""
        return self._session.execute(_OUTBOX).one()

    def list_unused_indexes(self, *, least_bytes: int = 1_000_000) -> Sequence[str]:
        """Big indexes that nothing has read since the statistics were reset."""
        return self._session.scalars(_UNUSED_INDEXES, {"least_bytes": least_bytes}).all()

    def list_read_in_full(self, *, least_rows: int = 10_000) -> Sequence[str]:
        """Big tables that are mostly read from end to end."""
        return self._session.scalars(_READ_IN_FULL, {"least_rows": least_rows}).all()

    def list_unindexed_references(self) -> Sequence[str]:
        """Foreign keys that no index serves."""
        return self._session.scalars(_UNINDEXED_REFERENCES).all()
