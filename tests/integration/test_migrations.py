"""The way of the schema: up, down, up again, with rows in it, and two at once (F19, F20, F21)."""

import io
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from flask import Flask
from psycopg.errors import InsufficientPrivilege
from sqlalchemy import Connection, Engine, NullPool, create_engine, event, text
from sqlalchemy.exc import ProgrammingError

from app import tables
from app.core.config import ROOT
from app.core.db import new_id
from app.core.extensions import KEY
from dev.testing import Addresses, clone_database, drop_database, worker_number
from tests.conftest import test_environment

PATIENCE_SECONDS = 20


class Scratch:
    """A database of its own, and the commands of `flask db` on it."""

    def __init__(self, app: Flask, addresses: Addresses, name: str) -> None:
        self.app = app
        self.addresses = addresses
        self.name = name
        self.output = io.StringIO()

    def upgrade(self, to: str = "head") -> None:
        self._run(command.upgrade, to)

    def downgrade(self, to: str) -> None:
        self._run(command.downgrade, to)

    def check(self) -> None:
        self._run(command.check)

    def sql(self, to: str = "head") -> str:
        self._run(command.upgrade, to, sql=True)
        return self.output.getvalue()

    def _run(self, action: Callable[..., None], *arguments: str, **options: bool) -> None:
        with self.app.app_context():
            action(self.config(), *arguments, **options)

    def config(self) -> Config:
        config = Config(str(ROOT / "migrations" / "alembic.ini"), output_buffer=self.output, stdout=self.output)
        config.set_main_option("script_location", str(ROOT / "migrations"))
        return config

    @contextmanager
    def connect(self, role: str = "superuser") -> Iterator[Connection]:
        """As one of the roles; each statement is a transaction of its own unless it begins one."""
        url = f"{getattr(self.addresses, role).rpartition('/')[0]}/{self.name}"
        engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            yield connection

    def scalar(self, statement: str) -> Any:
        with self.connect() as connection:
            return connection.scalar(text(statement))

    def names(self, statement: str) -> list[str]:
        with self.connect() as connection:
            return list(connection.scalars(text(statement)))


@pytest.fixture
def scratch(whole_app: Flask, addresses: Addresses) -> Iterator[Scratch]:
    """An empty database."""
    name = f"coffer_migrations_{worker_number()}"
    drop_database(name)
    clone_database(name, template="template1")
    usual = whole_app.extensions[KEY]
    database = replace(usual.settings.database, url=addresses.api_url(name), owner_url=addresses.owner_url(name))
    whole_app.extensions[KEY] = replace(usual, settings=replace(usual.settings, database=database))
    yield Scratch(whole_app, addresses, name)
    whole_app.extensions[KEY] = usual
    drop_database(name)


# Whatever is not part of PostgreSQL itself, nor the one table that Alembic keeps for itself.
OURS = """
SELECT 'relation ' || oid::regclass FROM pg_class
    WHERE relnamespace::regnamespace::text !~ '^(pg_|information_schema)' AND relname !~ '^alembic_version'
UNION ALL SELECT 'type ' || oid::regtype FROM pg_type
    WHERE typnamespace::regnamespace::text !~ '^(pg_|information_schema)' AND oid::regtype::text !~ 'alembic_version'
UNION ALL SELECT 'function ' || oid::regprocedure FROM pg_proc
    WHERE pronamespace::regnamespace::text !~ '^(pg_|information_schema)'
UNION ALL SELECT 'schema ' || nspname FROM pg_namespace WHERE nspname !~ '^(pg_|information_schema|public)'
UNION ALL SELECT 'default right ' || defaclacl::text FROM pg_default_acl
ORDER BY 1
"""

# One person and what hangs on them, as the first migration kept it.
OLD_ROWS = """
INSERT INTO users (id, email, status, role, tier, timezone, language, terms_version)
    VALUES ({user}, 'old@example.org', 'active', 'admin', 'premium', 'Europe/Berlin', 'de', '1999-01');
INSERT INTO one_time_tokens (id, user_id, purpose, token_hash, payload, expires_at)
    VALUES ({token}, {user}, 'verify_email', 'hash', '{{"profile": {{}}}}', now());
INSERT INTO sessions (id, user_id, token_hash, ip, auth_methods, idle_expires_at, expires_at)
    VALUES ({session}, {user}, 'hash', '192.0.2.1', '{{pwd}}', now(), now());
INSERT INTO refresh_tokens (id, session_id, expires_at) VALUES ({second}, {session}, now());
INSERT INTO refresh_tokens (id, session_id, successor_id, used_at, expires_at)
    VALUES ({first}, {session}, {second}, now(), now());
INSERT INTO outbox (id, task, queue, arguments, request_id, status, finished_at)
    VALUES ({message}, 'auth.send_welcome', 'mail', '{{"user_id": "x"}}', 'request-1', 'failed', now());
INSERT INTO audit_logs (id, actor_id, action, entity_type, entity_id, changes, metadata, ip, user_agent, request_id)
    VALUES ({audit}, {user}, 'profile.updated', 'users', {user}, '{{"first_name": ["A", "B"]}}', '{{"a": 1}}',
            '2001:db8::1', 'curl/8', 'request-2');
"""


def write_old_rows(scratch: Scratch) -> None:
    names = re.findall(r"(?<!\{){(\w+)}", OLD_ROWS)
    with scratch.connect() as connection:
        connection.execute(text(OLD_ROWS.format(**{name: f"'{new_id()}'" for name in names}).replace(":", "\\:")))


def read_rows(scratch: Scratch) -> dict[str, list[dict[str, Any]]]:
    """Every row of the tables that the first migration made."""
    tables = ("users", "one_time_tokens", "sessions", "refresh_tokens", "outbox", "audit_logs")
    return {one: scratch.scalar(f"SELECT jsonb_agg(to_jsonb(t) ORDER BY id) FROM {one} t") for one in tables}


def wait_until(happened: Callable[[], bool], otherwise: str) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not happened():
        assert time.monotonic() < end, otherwise
        time.sleep(0.02)


def test_up_down_and_up_again(scratch: Scratch) -> None:
    scratch.upgrade()
    made = scratch.names(OURS)
    assert "relation users" in made
    scratch.downgrade("base")
    assert scratch.names(OURS) == []
    scratch.upgrade()
    assert scratch.names(OURS) == made


def test_the_models_describe_what_the_migrations_make(scratch: Scratch) -> None:
    scratch.upgrade()
    scratch.check()
    assert "No new upgrade operations detected." in scratch.output.getvalue()


def test_old_rows_survive_the_way_up_and_down(scratch: Scratch) -> None:
    scratch.upgrade("0001")
    write_old_rows(scratch)
    old = read_rows(scratch)
    scratch.upgrade()
    new = read_rows(scratch)
    for table, rows in old.items():
        for before, after in zip(rows, new[table], strict=True):
            assert before.items() <= after.items(), table
    scratch.upgrade()
    assert read_rows(scratch) == new
    scratch.downgrade("0001")
    assert read_rows(scratch) == old


def test_two_at_once_both_succeed(scratch: Scratch, addresses: Addresses) -> None:
    """F20: two machines of one deployment run the release step."""
    starts = [
        subprocess.Popen(
            [sys.executable, "-m", "flask", "--app", "wsgi", "db", "upgrade"],
            cwd=ROOT,
            env=test_environment(addresses, scratch.name),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    said = [start.communicate(timeout=60)[1] for start in starts]
    assert [start.returncode for start in starts] == [0, 0], said
    scratch.check()


def test_what_was_broken_off_can_be_run_again(scratch: Scratch) -> None:
    """F20: at the worst moment, when all is done and only the new version is not yet noted."""

    def power_failure(_: Connection, __: Any, statement: str, *___: Any) -> None:
        if re.match("(INSERT INTO|UPDATE) alembic_version", statement):
            raise ConnectionAbortedError

    script = ScriptDirectory.from_config(scratch.config())
    for revision in reversed([one.revision for one in script.walk_revisions()]):
        event.listen(Engine, "before_cursor_execute", power_failure)
        try:
            with pytest.raises(ConnectionAbortedError):
                scratch.upgrade(revision)
        finally:
            event.remove(Engine, "before_cursor_execute", power_failure)
        scratch.upgrade(revision)
    scratch.check()


@pytest.mark.parametrize("table", ["users", "sessions", "refresh_tokens"])
def test_a_busy_table_is_waited_for_without_holding_up_others(scratch: Scratch, table: str) -> None:
    """F19: a reader that takes its time; those behind it read on, and the migration comes in between."""
    scratch.upgrade("0001")
    waiting = f"SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = '{table}'::regclass"
    with (
        scratch.connect("api") as slow,
        scratch.connect("api") as other,
        ThreadPoolExecutor(1) as pool,
    ):
        slow.execute(text("BEGIN"))
        slow.execute(text(f"SELECT count(*) FROM {table}"))
        migration = pool.submit(scratch.upgrade)
        wait_until(lambda: scratch.scalar(waiting) > 0, "the migration did not wait for the reader")
        other.execute(text("SET statement_timeout = '2s'"))
        other.execute(text(f"SELECT count(*) FROM {table}"))
        wait_until(lambda: scratch.scalar(waiting) == 0, "the migration did not give up")
        assert not migration.done(), migration.exception()
        slow.execute(text("COMMIT"))
        migration.result(PATIENCE_SECONDS)
    scratch.check()


def test_every_constraint_and_index_has_the_name_that_the_models_give_it(scratch: Scratch) -> None:
    """Errors are mapped by these names."""
    scratch.upgrade()
    made = scratch.names("""
        SELECT conname FROM pg_constraint
            WHERE connamespace = 'public'::regnamespace AND contype <> 'n' AND conname <> 'alembic_version_pkc'
        UNION SELECT indexrelid::regclass::text FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
            WHERE relnamespace = 'public'::regnamespace AND relname <> 'alembic_version_pkc'
    """)
    named: set[str | None] = set()
    for table in tables.metadata.tables.values():
        named |= {str(one.name) for one in table.constraints if one.name} | {index.name for index in table.indexes}
    assert set(made) == named


def test_who_serves_requests_may_add_to_the_audit_log_and_rule_nothing(scratch: Scratch) -> None:
    """As the login that the API uses, which the migrations let in."""
    scratch.upgrade()
    with scratch.connect("api") as connection:
        connection.execute(
            text("INSERT INTO audit_logs (id, action, request_id) VALUES (:id, 'login.failed', 'request-1')"),
            {"id": new_id()},
        )
        for forbidden in (
            "UPDATE audit_logs SET action = 'x'",
            "DELETE FROM audit_logs",
            "TRUNCATE audit_logs",
            "CREATE TABLE public.mine (id int)",
            "CREATE SCHEMA mine",
            "DROP TABLE users",
            "SET ROLE coffer_owner",
            "GRANT coffer_admin TO coffer_api",
        ):
            with pytest.raises(ProgrammingError) as refused:
                connection.execute(text(forbidden))
            assert isinstance(refused.value.orig, InsufficientPrivilege), forbidden
    assert scratch.scalar("SELECT action FROM audit_logs") == "login.failed"


# What squawk finds everywhere, and why it is right here.
HARMLESS = {
    "prefer-bigint-over-int": "counters of attempts, rows and the like, which stay small",
    "prefer-bigint-over-smallint": "percentages and days of the month",
    "prefer-robust-stmts": "a migration runs in one transaction, and a test breaks each of them off",
    "prefer-text-field": "the bound is a rule of the data; making it longer rewrites nothing",
    "require-enum-value-ordering": "nothing sorts by an enum",
    "require-lock-timeout": "migrations/env.py sets it for all",
    "require-statement-timeout": "as require-lock-timeout",
}
# What locks a table or takes something from old code, in migrations made before the first release: no installation has
# rows for these locks to hold up. A migration made after it gets an entry with a reason of its own, or none.
BEFORE_THE_FIRST_RELEASE = {
    "0002": {
        "adding-foreign-key-constraint",
        "adding-not-nullable-field",
        "ban-drop-constraint",
        "constraint-missing-not-valid",
        "disallowed-unique-constraint",
        "require-concurrent-index-creation",
        "require-concurrent-index-deletion",
    },
    "0005": {"ban-drop-table", "renaming-object", "renaming-table"},
    "0020": {
        "adding-field-with-default",
        "require-concurrent-index-creation",
        "require-concurrent-index-deletion",
    },
    "0026": {
        "ban-drop-constraint",
        "changing-column-type",
        "constraint-missing-not-valid",
        "disallowed-unique-constraint",
    },
}


def test_squawk_finds_nothing_that_locks_or_breaks(scratch: Scratch, tmp_path: Path) -> None:
    sql = scratch.sql()
    (tmp_path / "all.sql").write_text(sql)
    squawk = Path(sys.executable).with_name("squawk")
    done = subprocess.run(  # noqa: S603  # a program of our own .venv
        [squawk, "--reporter", "json", "--pg-version", "15", tmp_path / "all.sql"],
        capture_output=True,
        text=True,
        check=False,
    )
    headings = re.finditer(r"^-- Running upgrade .*-> (\w+)", sql, re.MULTILINE)
    begins = [(sql.count("\n", 0, heading.start()), heading[1]) for heading in headings]
    found: dict[str, set[str]] = {}
    for one in json.loads(done.stdout):
        if one["rule_name"] not in HARMLESS:
            revision = max(begin for begin in begins if begin[0] <= one["line"])[1]
            found.setdefault(revision, set()).add(one["rule_name"])
    assert found == BEFORE_THE_FIRST_RELEASE
