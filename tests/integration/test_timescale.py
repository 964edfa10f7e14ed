"""TimescaleDB, chosen by the migrations where it is preloaded; and what they do where it is not.

The tests of the TimescaleDB mode need a server of their own: set TIMESCALE_TEST_URL to the address of a superuser
(postgresql+psycopg://…) of one with TimescaleDB 2.29.1 or newer in shared_preload_libraries. They make a database and
roles there, and drop the database in the end.
"""

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from sqlalchemy import Connection, NullPool, create_engine, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ProgrammingError

from app.core.config import ROOT
from app.core.db import new_id
from dev.testing import Addresses, clone_database, drop_database, worker_number
from tests.conftest import test_environment

TIMESCALE_URL = os.environ.get("TIMESCALE_TEST_URL", "")
needs_timescale = pytest.mark.skipif(
    not TIMESCALE_URL, reason="TIMESCALE_TEST_URL is unset: no server with TimescaleDB to test on"
)


def migrate(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603  # our own migrations
        [sys.executable, "-m", "flask", "--app", "wsgi", "db", *(arguments or ("upgrade",))],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


class TestWithoutTheExtension:
    @pytest.fixture
    def empty(self, addresses: Addresses) -> Iterator[str]:
        name = f"coffer_timescale_{worker_number()}"
        drop_database(name)
        clone_database(name, template="template1")
        yield name
        drop_database(name)

    def test_on_fails_with_one_clear_line(self, addresses: Addresses, empty: str) -> None:
        done = migrate(test_environment(addresses, empty) | {"TIMESCALEDB": "on"})
        assert done.returncode != 0
        assert (
            done.stderr.strip()
            .splitlines()[-1]
            .endswith(
                "TIMESCALEDB is on, but the server has no TimescaleDB 2.29.1 or newer, preloaded, under its own licence"
            )
        )

    @pytest.mark.parametrize("mode", ["auto", "off"])
    def test_otherwise_there_are_native_partitions(self, addresses: Addresses, empty: str, mode: str) -> None:
        done = migrate(test_environment(addresses, empty) | {"TIMESCALEDB": mode})
        assert done.returncode == 0, done.stderr
        engine = create_engine(f"{addresses.superuser.rpartition('/')[0]}/{empty}", poolclass=NullPool)
        with engine.connect() as connection:
            kinds = connection.execute(
                text("SELECT relname, relkind FROM pg_class WHERE relname IN ('audit_logs', 'activity_events')")
            )
            assert {tuple(row) for row in kinds} == {("audit_logs", "p"), ("activity_events", "p")}
            assert connection.scalar(text("SELECT count(*) FROM pg_extension WHERE extname = 'timescaledb'")) == 0


@dataclass(frozen=True)
class TimescaleDatabase:
    """A migrated database on the server of TIMESCALE_TEST_URL."""

    superuser: URL
    owner: URL
    api: URL
    environment: dict[str, str]

    @contextmanager
    def connect(self, role: str) -> Iterator[Connection]:
        engine = create_engine(getattr(self, role), poolclass=NullPool, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            yield connection


@pytest.fixture(scope="module")
def timescale(addresses: Addresses) -> Iterator[TimescaleDatabase]:
    server = make_url(TIMESCALE_URL)
    name = f"coffer_timescale_{secrets.token_hex(4)}"
    owner = server.set(username=f"{name}_owner", password=secrets.token_hex(16), database=name)
    api = server.set(username=f"{name}_api", password=secrets.token_hex(16), database=name)
    engine = create_engine(server, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    shown = {one: one.render_as_string(hide_password=False) for one in (owner, api)}
    environment = test_environment(addresses, name) | {
        "DATABASE_OWNER_URL": shown[owner],
        "DATABASE_URL": shown[api],
        "TIMESCALEDB": "on",
    }
    with engine.connect() as superuser:
        superuser.execute(text(f"CREATE ROLE {owner.username} LOGIN CREATEROLE PASSWORD '{owner.password}'"))
        superuser.execute(text(f"CREATE ROLE {api.username} LOGIN PASSWORD '{api.password}'"))
        # Where other databases of the server were migrated before, these are there, and others hold them.
        for role in ("coffer_app", "coffer_readonly", "coffer_admin", "coffer_backup"):
            if not superuser.scalar(text(f"SELECT count(*) FROM pg_roles WHERE rolname = '{role}'")):
                superuser.execute(text(f"CREATE ROLE {role} NOLOGIN"))
            superuser.execute(text(f"GRANT {role} TO {owner.username} WITH ADMIN OPTION"))
        superuser.execute(text(f"CREATE DATABASE {name} OWNER {owner.username} TEMPLATE template0"))
        try:
            done = migrate(environment)
            assert done.returncode == 0, done.stderr
            yield TimescaleDatabase(server.set(database=name), owner, api, environment)
        finally:
            superuser.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
            # The owner has let the other in, so it goes last.
            for one in (api, owner):
                superuser.execute(text(f"DROP ROLE {one.username}"))
    engine.dispose()


@needs_timescale
class TestTimescale:
    @pytest.fixture
    def person(self, timescale: TimescaleDatabase) -> str:
        """Somebody with two audit rows and events of ten days."""
        person = str(new_id())
        with timescale.connect("superuser") as connection:
            connection.execute(
                text(
                    "INSERT INTO users (id, email, status, role, tier, timezone, language) VALUES"
                    " (:id, :email, 'active', 'user', 'free', 'UTC', 'en')"
                ),
                {"id": person, "email": f"{person}@example.org"},
            )
        with timescale.connect("api") as connection, connection.begin():
            act_for(connection, person)
            connection.execute(
                text(
                    "INSERT INTO activity_events (id, user_id, feature, local_day, amount) SELECT"
                    " (left(uuid7_floor(at)::text, 24) || right(gen_random_uuid()::text, 12))::uuid, :id,"
                    " 'feature ' || n % 2, at::date, n % 3 + 1"
                    " FROM (SELECT n, now() - n * interval '5 hours' AS at FROM generate_series(0, 47) n) t"
                ),
                {"id": person},
            )
            connection.execute(
                text("INSERT INTO audit_logs (id, user_id, action, request_id) VALUES (:a, :id, 'x', 'request-1')"),
                {"a": new_id(), "id": person},
            )
        return person

    def test_both_tables_are_hypertables_with_retention(self, timescale: TimescaleDatabase) -> None:
        with timescale.connect("superuser") as connection:
            tables = connection.scalars(
                text(
                    "SELECT hypertable_name FROM timescaledb_information.hypertables WHERE hypertable_schema = 'public'"
                )
            )
            assert set(tables) == {"audit_logs", "activity_events"}
            jobs = connection.scalars(text("SELECT proc_name FROM timescaledb_information.jobs"))
            assert {"policy_retention", "policy_refresh_continuous_aggregate"} <= set(jobs)

    def test_the_models_fit_and_the_way_down_and_up_is_open(self, timescale: TimescaleDatabase) -> None:
        for arguments in (("check",), ("downgrade", "0004"), ("upgrade",), ("check",)):
            done = migrate(timescale.environment, *arguments)
            assert done.returncode == 0, done.stderr

    def test_upkeep_is_the_same_call_and_does_no_harm(self, timescale: TimescaleDatabase) -> None:
        with timescale.connect("api") as connection:
            for table in ("audit_logs", "activity_events"):
                assert connection.scalar(text(f"SELECT coffer_ensure_partitions('{table}')")) == 0
                assert connection.scalar(text(f"SELECT coffer_drop_expired('{table}')")) == 0
                assert connection.scalar(text(f"SELECT coffer_oldest_stray('{table}')")) is None
            assert connection.scalar(text("SELECT coffer_refresh_daily_activity()")) == 0

    @pytest.mark.parametrize("timezone", ["UTC", "Pacific/Auckland"])
    def test_the_rollup_equals_a_recount(self, timescale: TimescaleDatabase, person: str, timezone: str) -> None:
        with timescale.connect("owner") as connection:
            connection.execute(
                text(
                    "CALL refresh_continuous_aggregate('parts.daily_activity_rollup',"
                    " now() - interval '30 days', now() - interval '1 hour')"
                )
            )
        with timescale.connect("superuser") as connection:
            counted = connection.execute(
                text("SELECT feature, local_day, sum(amount)::bigint FROM activity_events WHERE user_id = :id"
                     " GROUP BY 1, 2 ORDER BY 1, 2"),
                {"id": person},
            ).all()  # fmt: skip
        with timescale.connect("api") as connection, connection.begin():
            act_for(connection, person)
            connection.execute(text(f"SET LOCAL timezone = '{timezone}'"))
            shown = connection.execute(text("SELECT feature, day, events FROM daily_activity ORDER BY 1, 2")).all()
        assert shown == counted

    @pytest.mark.parametrize("table", ["audit_logs", "activity_events", "daily_activity"])
    def test_a_person_sees_their_own_rows(self, timescale: TimescaleDatabase, person: str, table: str) -> None:
        with timescale.connect("api") as connection, connection.begin():
            assert connection.scalar(text(f"SELECT count(*) FROM {table}")) == 0
            act_for(connection, person)
            owners = connection.scalars(text(f"SELECT DISTINCT user_id::text FROM {table}"))
            assert list(owners) == [person]

    def test_the_chunks_are_closed(self, timescale: TimescaleDatabase, person: str) -> None:
        with timescale.connect("superuser") as connection:
            chunks = list(connection.scalars(text("SELECT show_chunks('activity_events')::text")))
        assert chunks
        with timescale.connect("api") as connection:
            for chunk in (*chunks, "parts.daily_activity_rollup"):
                with pytest.raises(ProgrammingError, match="permission denied for schema parts"):
                    connection.execute(text(f"SELECT * FROM {chunk}"))

    def test_no_forced_table_is_the_source_of_an_aggregate(self, timescale: TimescaleDatabase) -> None:
        with timescale.connect("superuser") as connection:
            forced = connection.scalars(
                text(
                    "SELECT hypertable_name FROM timescaledb_information.continuous_aggregates"
                    " JOIN pg_class ON relname = hypertable_name AND relforcerowsecurity"
                )
            )
            assert list(forced) == []


def act_for(connection: Connection, person: str) -> None:
    connection.execute(text("SELECT set_config('app.user_id', :id, true)"), {"id": person})
