"""Figures for Prometheus, who may see them, slow statements, and `flask db-health`."""

import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import structlog
from flask import Flask
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import sessionmaker

from app.core import db_metrics
from app.core.config import ROOT
from app.core.db_metrics import WatchedPool, watch_statements
from app.core.extensions import KEY, db, open_session
from app.jobs.names import SEND_WELCOME
from app.unit_of_work import UnitOfWork
from dev.testing import Addresses
from tests.api.client import ApiClient, assert_problem
from tests.conftest import Database, test_environment
from tests.factories.people import make_person

TOKEN = "a token for Prometheus, long enough"


def figures(body: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(body)
        for sample in family.samples
    }


class TestWhoMayAsk:
    """Security number 136: not public unless switched on."""

    @pytest.fixture
    def with_token(self, app: Flask) -> None:
        mine = app.extensions[KEY]
        server = replace(mine.settings.server, metrics_token=TOKEN)
        app.extensions[KEY] = replace(mine, settings=replace(mine.settings, server=server))

    @pytest.mark.parametrize("address", ["127.0.0.1", "127.8.8.8", "::1"])
    def test_a_caller_on_this_machine(self, api: ApiClient, address: str) -> None:
        answer = api.http.get("/metrics", environ_base={"REMOTE_ADDR": address})
        assert answer.status_code == 200
        assert answer.content_type == "text/plain; version=0.0.4; charset=utf-8"

    @pytest.mark.parametrize("address", ["192.0.2.1", "10.0.0.1", "2001:db8::1", "::ffff:192.0.2.1"])
    def test_nobody_else(self, api: ApiClient, address: str) -> None:
        answer = api.http.get("/metrics", environ_base={"REMOTE_ADDR": address})
        assert_problem(answer, 403, "forbidden")

    @pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP"])
    def test_not_who_comes_through_a_proxy_that_nobody_told_of(self, api: ApiClient, header: str) -> None:
        assert_problem(api.http.get("/metrics", headers={header: "127.0.0.1"}), 403, "forbidden")

    @pytest.mark.usefixtures("with_token")
    def test_with_a_token_only_who_has_it(self, api: ApiClient) -> None:
        for given in (None, "", "Bearer", "Bearer ", f"Bearer {TOKEN}x", f"Basic {TOKEN}", f"Bearer {TOKEN[:-1]}"):
            headers = {} if given is None else {"Authorization": given}
            assert_problem(api.http.get("/metrics", headers=headers), 401, "authentication_required")
        away = {"REMOTE_ADDR": "192.0.2.1"}
        good = {"Authorization": f"Bearer {TOKEN}"}
        assert api.http.get("/metrics", headers=good, environ_base=away).status_code == 200


def test_the_figures(api: ApiClient, database: Database) -> None:
    with UnitOfWork() as uow:
        uow.outbox.send(SEND_WELCOME, user_id=make_person().id)
        uow.commit()
    database.execute("UPDATE outbox SET available_at = now() - interval '1 minute'")
    found = figures(api.http.get("/metrics").get_data(as_text=True))
    assert found["coffer_db_up", ()] == 1
    assert found["coffer_outbox_messages", (("status", "waiting"),)] == 1
    assert found["coffer_outbox_messages", (("status", "failed"),)] == 0
    assert 60 <= found["coffer_outbox_oldest_seconds", ()] < 90
    for table in ("users", "audit_logs", "transactions"):
        assert found["coffer_db_index_bytes", (("table", table),)] > 0
    assert not [labels for name, labels in found if name == "coffer_db_table_bytes" and "20" in str(labels)]
    assert found["coffer_db_rows_without_partition", (("table", "audit_logs"),)] == 0
    assert found["coffer_db_query_seconds_count", (("verb", "select"),)] > 0
    assert found["coffer_db_pool_checked_out", ()] >= 1
    assert found["coffer_db_pool_wait_seconds_count", ()] >= 1


def test_without_a_database_it_says_so(committed: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OperationalError("SELECT 1", {}, Exception("away"))

    monkeypatch.setattr("app.ops.monitoring.repository.MonitoringRepository.list_sizes", refuse)
    found = figures(committed.test_client().get("/metrics").get_data(as_text=True))
    assert found["coffer_db_up", ()] == 0


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


class TestStatements:
    @pytest.fixture
    def logs(self, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
        """What the module logs; its logger may have been used and kept before."""
        kept = structlog.testing.LogCapture()
        monkeypatch.setattr(db_metrics, "log", structlog.wrap_logger(None, processors=[kept]))
        return kept.entries  # type: ignore[return-value]  # they are dicts

    def test_a_slow_one_is_logged_without_its_values(
        self, addresses: Addresses, database_name: str, logs: list[dict[str, Any]]
    ) -> None:
        engine = create_engine(addresses.api_url(database_name), poolclass=WatchedPool)
        watch_statements(engine, slow_after_ms=50)
        before = counted("coffer_db_slow_queries_total")
        with engine.connect() as connection:
            connection.execute(text("SELECT 1"))
            connection.execute(text("SELECT pg_sleep(:s),\n  :name"), {"s": 0.06, "name": "anna@example.org"})
        engine.dispose()
        (slow,) = logs
        assert slow["event"] == "slow_query"
        assert slow["milliseconds"] >= 60
        assert slow["statement"] == "SELECT pg_sleep(%(s)s), %(name)s"
        assert "anna" not in str(logs)
        assert counted("coffer_db_slow_queries_total") == before + 1

    def test_one_that_ran_into_its_timeout_counts_too(
        self, addresses: Addresses, database_name: str, logs: list[dict[str, Any]]
    ) -> None:
        engine = create_engine(addresses.api_url(database_name))
        watch_statements(engine, slow_after_ms=50)
        with engine.connect() as connection:
            connection.execute(text("SET statement_timeout = 60"))
            with pytest.raises(OperationalError):
                connection.execute(text("SELECT pg_sleep(5)"))
        engine.dispose()
        assert [(one["event"], one["failed"]) for one in logs] == [("slow_query", True)]

    def test_those_of_the_application_are_watched(self, committed: Flask) -> None:
        before = counted("coffer_db_query_seconds_count", verb="select")
        with open_session() as session:
            session.execute(text("SELECT 1"))
        assert counted("coffer_db_query_seconds_count", verb="select") > before

    def test_the_pool_tells_how_many_are_in_use(self, committed: Flask) -> None:
        idle = counted("coffer_db_pool_checked_out")
        with db.engine.connect(), db.engine.connect():
            assert counted("coffer_db_pool_checked_out") == idle + 2
        assert counted("coffer_db_pool_checked_out") == idle
        assert counted("coffer_db_pool_size") == 8


def use_sessions_on(app: Flask, bind: Connection | Engine) -> None:
    app.extensions[KEY] = replace(app.extensions[KEY], sessions=sessionmaker(bind))


class TestHealth:
    @pytest.fixture
    def superuser(self, addresses: Addresses, database_name: str) -> Iterator[Connection]:
        """A connection whose transaction is rolled back."""
        engine = create_engine(f"{addresses.superuser.rpartition('/')[0]}/{database_name}")
        with engine.connect() as connection, connection.begin() as transaction:
            yield connection
            transaction.rollback()
        engine.dispose()

    def test_all_is_well(self, app: Flask) -> None:
        done = app.test_cli_runner().invoke(args=["db-health", "--json"])
        found = json.loads(done.output)
        assert (done.exit_code, found["ok"]) == (0, True), found["checks"]
        assert [check["name"] for check in found["checks"]] == [
            "connection",
            "migrations",
            "role",
            "row-level security",
            "partitions",
        ]
        assert {"users", "transactions", "audit_logs"} <= {size["table"] for size in found["sizes"]}
        assert isinstance(found["hints"], list)

    @pytest.mark.parametrize(
        ("harm", "found"),
        [
            ("ALTER TABLE accounts DISABLE ROW LEVEL SECURITY", "row-level security: missing on accounts"),
            ("ALTER TABLE accounts NO FORCE ROW LEVEL SECURITY", "row-level security: missing on accounts"),
            ("CREATE TABLE forgotten (user_id uuid)", "row-level security: missing on forgotten"),
            ("UPDATE alembic_version SET version_num = '0001'", "migrations: at 0001, this code takes "),
            ("GRANT CREATE ON SCHEMA public TO coffer_app", "role: may create in public"),
            (
                "INSERT INTO audit_logs (id, action, request_id) VALUES (uuid7_floor('2031-01-01'), 'x', 'request-1')",
                "partitions: rows without a month in audit_logs",
            ),
        ],
    )
    def test_what_is_wrong_is_named(self, app: Flask, superuser: Connection, harm: str, found: str) -> None:
        superuser.execute(text(harm))
        # The check itself runs as the role of the API, inside the transaction that did the harm.
        superuser.execute(text("SET LOCAL ROLE coffer_api"))
        use_sessions_on(app, superuser)
        done = app.test_cli_runner().invoke(args=["db-health"])
        assert done.exit_code == 1
        (line,) = [line for line in done.output.splitlines() if line.startswith("WRONG")]
        assert line.startswith(f"WRONG {found}")

    def test_a_superuser_is_refused(self, app: Flask, superuser: Connection) -> None:
        use_sessions_on(app, superuser)
        done = app.test_cli_runner().invoke(args=["db-health"])
        assert done.exit_code == 1
        assert re.search("WRONG role: is superuser, has BYPASSRLS, owns tables, may create in public", done.output)

    def test_a_database_that_is_away_is_one_line(self, app: Flask) -> None:
        use_sessions_on(
            app, create_engine("postgresql+psycopg://nobody@127.0.0.1:1/none", connect_args={"connect_timeout": 1})
        )
        done = app.test_cli_runner().invoke(args=["db-health"])
        assert (done.exit_code, done.output) == (1, "WRONG connection: OperationalError\n")


def test_two_processes_of_gunicorn_are_added_up(addresses: Addresses, database_name: str) -> None:
    """A scrape reaches one of them, and tells of both."""
    port = 19_000 + os.getpid() % 900
    environment = test_environment(addresses, database_name) | {"PORT": str(port), "WEB_CONCURRENCY": "2"}
    server = subprocess.Popen(  # noqa: S603  # our own gunicorn
        [sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py", "--bind", f"127.0.0.1:{port}", "wsgi:app"],
        cwd=ROOT,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stderr
        for line in server.stderr:
            if "Booting worker" in line:
                break
        found = {}
        for _ in range(60):
            found = _scrape(port)
            if found.get(("coffer_db_pool_size", ())) == 16:
                break
        assert found["coffer_db_pool_size", ()] == 16, "one pool of eight for each process"
    finally:
        server.terminate()
        server.communicate(timeout=20)


def _scrape(port: int) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    for _ in range(100):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
                return figures(answer.read().decode())
        except OSError:
            pass
    raise AssertionError("gunicorn did not answer")
