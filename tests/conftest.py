"""What all tests stand on: a real PostgreSQL and Redis, and a database that each test leaves as it found it.

The servers start once for the whole run. A template database is made by the migrations; each test process works on
a copy of it, as the role that the API uses in production. A test runs inside one transaction that is rolled back;
one that needs several connections asks for `committed`, and its rows are removed afterwards.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4

import bcrypt
import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import ColumnElement, Connection, create_engine, func, select, text
from sqlalchemy.orm import DeclarativeBase, sessionmaker

import tasks  # noqa: F401  # so that Celery knows them
from app import create_app, tables
from app.auth.passwords import service as passwords
from app.core.cache import Cache
from app.core.config import ROOT, load_settings
from app.core.extensions import KEY, Parts, celery, db, open_session
from app.core.mail import Mail, MailboxMailer
from app.core.storage import Storage, open_storage
from app.jobs import publisher
from app.jobs.publisher import Envelope
from dev.testing import TEMPLATE, Addresses, TestServers, clone_database, drop_database, worker_number
from tasks import base
from tests.api.client import ApiClient

SECRET = "Yx3-nC8rQw5ZtLb6VmKe9HjP2sDfUa7G"
_servers: list[TestServers] = []


def test_environment(addresses: Addresses, database: str) -> dict[str, str]:
    """The settings under which tests run."""
    return {
        "COFFER_ENV": "test",
        "DATABASE_URL": addresses.api_url(database),
        "DATABASE_OWNER_URL": addresses.owner_url(database),
        "REDIS_URL": addresses.redis_url(),
        "SECRET_KEY": SECRET,
        "STORAGE_URL": "memory:///",
        "BCRYPT_ROUNDS": "4",
        "LOG_LEVEL": "warning",
    }


test_environment.__test__ = False  # type: ignore[attr-defined]


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput") or config.option.collectonly:
        return
    servers = TestServers()
    _servers.append(servers)
    addresses = servers.start()
    environment = test_environment(addresses, TEMPLATE)
    migrated = subprocess.run(
        [sys.executable, "-m", "flask", "--app", "wsgi", "db", "upgrade"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if migrated.returncode != 0:
        _stop_servers()
        pytest.exit(f"The migrations failed:\n{migrated.stderr}", returncode=1)


def pytest_unconfigure(config: pytest.Config) -> None:
    _stop_servers()


def _stop_servers() -> None:
    while _servers:
        _servers.pop().stop()


@pytest.fixture(scope="session")
def addresses() -> Addresses:
    return Addresses.from_environment()


@pytest.fixture(scope="session")
def database_name() -> Iterator[str]:
    name = f"coffer_test_{worker_number()}"
    drop_database(name)
    clone_database(name)
    yield name
    drop_database(name)


@pytest.fixture(scope="session")
def environment(addresses: Addresses, database_name: str) -> dict[str, str]:
    return test_environment(addresses, database_name)


@pytest.fixture(scope="session")
def whole_app(environment: dict[str, str]) -> Iterator[Flask]:
    app = create_app(load_settings(environment))
    base.bind(app)
    yield app
    with app.app_context():
        db.engine.dispose()


class RememberingPublisher:
    """Keeps what was committed for a worker of the test."""

    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []

    def publish_soon(self, envelope: Envelope) -> None:
        self.envelopes.append(envelope)


class SpyMailer(MailboxMailer):
    """Delivers into the mailbox, and keeps the messages as they were handed over."""

    def __init__(self, storage: Storage) -> None:
        super().__init__(storage, "Coffer <no-reply@coffer.example>")
        self.sent: list[Mail] = []

    def send(self, mail: Mail) -> None:
        super().send(mail)
        self.sent.append(mail)


@pytest.fixture
def fresh_parts(whole_app: Flask) -> Iterator[Parts]:
    """The parts of the application, with a storage, a mailer and a publisher for this test alone."""
    usual: Parts = whole_app.extensions[KEY]
    usual_publisher = whole_app.extensions[publisher.KEY]
    storage = open_storage("memory:///")
    # Rows of a test are rolled back; what it cached of them must not be there for the next.
    cache = Cache(usual.settings.queue.redis_url, prefix=f"test:{uuid4()}")
    mine = replace(usual, storage=storage, mailer=SpyMailer(storage), cache=cache)
    whole_app.extensions[KEY] = mine
    whole_app.extensions[publisher.KEY] = RememberingPublisher()
    with whole_app.app_context():
        yield mine
    cache.close()
    whole_app.extensions[KEY] = usual
    whole_app.extensions[publisher.KEY] = usual_publisher


@pytest.fixture
def app(whole_app: Flask, fresh_parts: Parts) -> Iterator[Flask]:
    """The application, on one connection whose transaction is rolled back in the end."""
    with db.engine.connect() as connection, connection.begin() as transaction:
        sessions = sessionmaker(connection, join_transaction_mode="create_savepoint", expire_on_commit=False)
        whole_app.extensions[KEY] = replace(fresh_parts, sessions=sessions)
        yield whole_app
        transaction.rollback()


@pytest.fixture
def committed(whole_app: Flask, fresh_parts: Parts, addresses: Addresses, database_name: str) -> Iterator[Flask]:
    """The application on its pool, as in production; all rows are removed afterwards."""
    yield whole_app
    empty_database(addresses, database_name)


def empty_database(addresses: Addresses, name: str) -> None:
    """Remove every row, those of the append-only tables too: only a superuser can pass their triggers."""
    engine = create_engine(f"{addresses.superuser.rpartition('/')[0]}/{name}")
    with engine.begin() as connection:
        connection.execute(text("SET session_replication_role = replica"))
        # Faster than TRUNCATE, which makes every table, partition and index anew.
        for table in (*tables.metadata.tables, "parts.daily_activity_rollup"):
            connection.execute(text(f"DELETE FROM {table}"))
    engine.dispose()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def api(client: FlaskClient) -> ApiClient:
    return ApiClient(client)


@pytest.fixture
def committed_rows(committed: Flask, addresses: Addresses, database_name: str) -> Iterator["Database"]:
    """What `committed` has kept so far, as a superuser sees it on a connection of its own."""
    engine = create_engine(f"{addresses.superuser.rpartition('/')[0]}/{database_name}", isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        yield Database(connection)
    engine.dispose()


class Database:
    """Looks at the rows directly."""

    def __init__(self, connection: Connection) -> None:
        self._plain = connection

    @property
    def _connection(self) -> Connection:
        """The connection, which sees everybody's rows again after a unit of work narrowed it."""
        self._plain.execute(text("SELECT set_config('app.everybody', 'on', true)"))
        return self._plain

    def execute(self, statement: str, **values: Any) -> None:
        self._connection.execute(text(statement), values)

    def scalar(self, statement: str, **values: Any) -> Any:
        return self._connection.scalar(text(statement), values)

    def row(self, statement: str, **values: Any) -> tuple[Any, ...]:
        """The one row of the answer."""
        return tuple(self._connection.execute(text(statement), values).one())

    def all(self, statement: str, **values: Any) -> list[tuple[Any, ...]]:
        """Every row of the answer."""
        return [tuple(row) for row in self._connection.execute(text(statement), values)]

    def count(self, model: type[DeclarativeBase], *where: ColumnElement[bool]) -> int:
        return self._connection.scalar(select(func.count()).select_from(model).where(*where)) or 0

    def dump(self) -> str:
        """Everything in every table, as text."""
        tables = self._connection.scalars(
            text("SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version'")
        ).all()
        return json.dumps(
            {
                one: self._connection.scalar(text(f"SELECT coalesce(jsonb_agg(t)::text, '') FROM {one} t"))
                for one in tables
            },
            ensure_ascii=False,
        )


@pytest.fixture
def database(app: Flask) -> Database:
    """The rows as this test sees them, in its own transaction."""
    return Database(app.extensions[KEY].sessions.kw["bind"])


@dataclass
class Sent:
    """A delivered message, as a test looks at it."""

    mail: Mail

    @property
    def to(self) -> str:
        return self.mail.to

    @property
    def subject(self) -> str:
        return self.mail.subject

    @property
    def message_id(self) -> str:
        return self.mail.message_id

    @property
    def link(self) -> str:
        return next(word for word in self.mail.text.split() if word.startswith("http"))

    @property
    def token(self) -> str:
        return self.link.partition("#token=")[2]


@dataclass
class Worker:
    """Does in the test's own process what a worker does with published messages."""

    app: Flask
    envelopes: list[Envelope] = field(default_factory=list)

    @property
    def storage(self) -> Storage:
        storage: Storage = self.app.extensions[KEY].storage
        return storage

    def deliver(self) -> list[Sent]:
        """Run what was published, and return the mails that were sent by it."""
        remembered: RememberingPublisher = self.app.extensions[publisher.KEY]
        mailer: SpyMailer = self.app.extensions[KEY].mailer
        before = len(mailer.sent)
        while remembered.envelopes:
            envelope = remembered.envelopes.pop(0)
            self.envelopes.append(envelope)
            run_task(envelope)
        return [Sent(mail) for mail in mailer.sent[before:]]


def run_task(envelope: Envelope) -> None:
    """Run the task of a message here and now, by way of Celery's own machinery."""
    celery.tasks[envelope.task].apply(
        kwargs=envelope.arguments,
        task_id=str(envelope.id),
        headers={"request_id": envelope.request_id},
        throw=True,
    )


@pytest.fixture
def worker(app: Flask) -> Worker:
    return Worker(app)


@pytest.fixture
def hashes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The costly steps of password checks, in the order in which they were taken."""
    taken: list[str] = []
    for name in ("hashpw", "checkpw"):
        real = getattr(bcrypt, name)

        def spy(*args: Any, _name: str = name, _real: Any = real) -> Any:
            taken.append(_name)
            return _real(*args)

        monkeypatch.setattr(bcrypt, name, spy)
    passwords._dummy_hash(4)
    taken.clear()
    return taken


@pytest.fixture
def session(app: Flask) -> Iterator[Any]:
    with open_session() as found:
        yield found
