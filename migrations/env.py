"""Runs the migrations as the database's owner.

One runs at a time (an advisory lock); none waits long for a lock that requests hold, since everybody
else would wait behind it: it gives up and tries again.
"""

import time
from collections.abc import Mapping

import structlog
from alembic import context
from sqlalchemy import Connection, NullPool, create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError

from app import tables
from app.core.config import Settings
from app.core.extensions import settings

log = structlog.get_logger("migrations")

APP_ROLE = "coffer_app"
LOCK_TIMEOUT = "500ms"
STATEMENT_TIMEOUT = "15min"
TRIES = 20
PAUSE_SECONDS = 1.0
TURN_SECONDS = 0.2
# Any number will do, as long as nobody else on the server uses it.
ADVISORY_LOCK = 0x636F66666572


def run_offline() -> None:
    """Print the SQL instead of running it."""
    context.configure(
        url=settings().database.owner_url,
        target_metadata=tables.metadata,
        literal_binds=True,
        dialect_opts={"paramstyle": "named"},
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()


def run_online() -> None:
    """Connect as the owner, wait for our turn, migrate, and let the API's role in."""
    engine = create_engine(
        settings().database.owner_url,
        poolclass=NullPool,
        connect_args={"application_name": "coffer migrations", "connect_timeout": 5},
    )
    with engine.connect() as connection:
        _wait_for_our_turn(connection)
        connection.execute(text(f"SET lock_timeout = '{LOCK_TIMEOUT}'"))
        connection.execute(text(f"SET statement_timeout = '{STATEMENT_TIMEOUT}'"))
        # Row-level security is forced on the owner too.
        connection.execute(text("SET app.everybody = 'on'"))
        connection.commit()
        _migrate(connection)
        _let_in(connection, settings())


def _wait_for_our_turn(connection: Connection) -> None:
    """Ask again and again: waiting inside a statement keeps a snapshot, which an index made concurrently waits for."""
    while not connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": ADVISORY_LOCK}):
        connection.rollback()
        time.sleep(TURN_SECONDS)


def _migrate(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=tables.metadata,
        compare_server_default=True,
        transaction_per_migration=True,
        process_revision_directives=_number,
    )
    for left in reversed(range(TRIES)):
        try:
            with context.begin_transaction():
                context.run_migrations()
        except OperationalError as error:
            connection.rollback()
            if left == 0 or getattr(error.orig, "sqlstate", None) != "55P03":
                raise
            log.warning("migration_waits_for_a_lock", tries_left=left)
            time.sleep(PAUSE_SECONDS)
        else:
            return


def _let_in(connection: Connection, chosen: Settings) -> None:
    """Make the login role of DATABASE_URL a member of the role that the migrations grant rights to."""
    login = make_url(chosen.database.url).username
    if login is None or login == make_url(chosen.database.owner_url).username:
        return
    missing = connection.scalar(
        text(
            "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = :app) AND EXISTS (SELECT FROM pg_roles WHERE "
            "rolname = :login) AND NOT pg_has_role(:login, :app, 'MEMBER')"
        ),
        {"app": APP_ROLE, "login": login},
    )
    if missing:
        quoted = connection.dialect.identifier_preparer.quote(login)
        connection.execute(text(f"GRANT {APP_ROLE} TO {quoted}"))
    connection.commit()


def _number(_: object, __: object, directives: list[Mapping[str, object]]) -> None:
    """Name a new migration by the next number."""
    script = directives[0]
    head = context.script.get_current_head()
    script.rev_id = f"{int(head or 0) + 1:04d}"  # type: ignore[attr-defined]


if context.is_offline_mode():
    run_offline()
else:
    run_online()
