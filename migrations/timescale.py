"""Whether the tables that are kept by time are TimescaleDB's or native partitions.

TimescaleDB is used when it is preloaded, new enough and under its own licence: older versions refuse inserts of a
role that may not look into the schema of the chunks, and under the other licence the policies are missing.
"""

import structlog
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text

from app.core.config import ConfigurationError
from app.core.extensions import settings

log = structlog.get_logger("migrations")

LEAST_VERSION = (2, 29, 1)

# The library may lie on the disk without being preloaded, and creating the extension then ends the connection: so ask
# for a setting that only the loaded library has. `SHOW shared_preload_libraries` is not for everybody.
_STATE = text("""
SELECT current_setting('timescaledb.max_background_workers', true) IS NOT NULL AS preloaded,
       coalesce(current_setting('timescaledb.license', true), 'timescale') AS license,
       coalesce((SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'),
                (SELECT default_version FROM pg_available_extensions WHERE name = 'timescaledb')) AS version
""")


def use_timescale(context: MigrationContext) -> bool:
    """Decide by the server and the setting TIMESCALEDB, and create the extension when the answer is yes.

    Raises ConfigurationError when the setting demands what the server does not have.
    """
    wanted = settings().database.timescaledb
    if wanted == "off" or context.as_sql or context.connection is None:
        return wanted == "on"
    state = context.connection.execute(_STATE).one()
    usable = bool(state.preloaded) and state.license == "timescale" and _version(state.version) >= LEAST_VERSION
    if wanted == "on" and not usable:
        least = ".".join(map(str, LEAST_VERSION))
        raise ConfigurationError(
            f"TIMESCALEDB is on, but the server has no TimescaleDB {least} or newer, preloaded, under its own licence"
        )
    if usable:
        context.connection.execute(text("CREATE EXTENSION IF NOT EXISTS timescaledb"))
    log.info("tables_kept_by_time", mode="timescaledb" if usable else "native partitions")
    return usable


def is_timescale(context: MigrationContext) -> bool:
    """What the database has, as its catalogue says; a setting may have changed since."""
    if context.as_sql or context.connection is None:
        return settings().database.timescaledb == "on"
    kind = context.connection.scalar(text("SELECT relkind FROM pg_class WHERE oid = 'audit_logs'::regclass"))
    return kind != "p"


def _version(shown: str | None) -> tuple[int, ...]:
    return tuple(int(part) for part in (shown or "0").split("-")[0].split(".") if part.isdigit())
