"""One PostgreSQL and one Redis for a whole run of the tests, and a database for each process of it.

The servers are started once, by the process that starts the others; those find them in the environment. They
are never the ones of `make run`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psycopg
from psycopg import sql

from dev.embedded import Postgres, Redis, create_database, provision

TEMPLATE = "coffer_template"
PREFIX = "coffer-tests-"
DAY_SECONDS = 24 * 60 * 60
WORKER = "PYTEST_XDIST_WORKER"


@dataclass(frozen=True)
class Addresses:
    """Where the servers of this run of the tests are."""

    superuser: str
    owner: str
    api: str
    redis: str

    @classmethod
    def from_environment(cls) -> Self:
        return cls(**{name: os.environ[variable] for name, variable in VARIABLES.items()})

    def owner_url(self, database: str) -> str:
        return _with_last_part(self.owner, database)

    def api_url(self, database: str) -> str:
        return _with_last_part(self.api, database)

    def redis_url(self, number: int | None = None) -> str:
        """Return the address of one of Redis's 64 databases; without a number, that of this test process."""
        return _with_last_part(self.redis, str(worker_number() if number is None else number))


VARIABLES = {
    "superuser": "COFFER_TEST_SUPERUSER_URL",
    "owner": "COFFER_TEST_OWNER_URL",
    "api": "COFFER_TEST_API_URL",
    "redis": "COFFER_TEST_REDIS_URL",
}


class TestServers:
    """The servers of a run of the tests, to be started in its first process and from the main thread.

    `start` makes them and an empty database TEMPLATE, and puts their addresses into the environment, where
    `Addresses.from_environment` finds them in every process of the run.
    """

    __test__ = False

    def __init__(self) -> None:
        _delete_forgotten()
        self.folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        self.postgres = Postgres(self.folder / "postgres", durable=False)
        self.redis = Redis(self.folder / "redis", durable=False)

    def start(self) -> Addresses:
        try:
            self.postgres.start()
            self.redis.start()
            urls = provision(self.postgres, TEMPLATE)
        except BaseException:
            self.stop()
            raise
        addresses = Addresses(
            superuser=self.postgres.superuser_url, owner=urls.owner, api=urls.api, redis=self.redis.url
        )
        os.environ.update({variable: getattr(addresses, name) for name, variable in VARIABLES.items()})
        return addresses

    def stop(self) -> None:
        self.postgres.stop()
        self.redis.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
        for variable in VARIABLES.values():
            os.environ.pop(variable, None)


def worker_number() -> int:
    """Return which process of the run this is; 0 if the tests do not run in parallel."""
    return int(os.environ.get(WORKER, "gw0").removeprefix("gw"))


def clone_database(name: str, *, template: str = TEMPLATE) -> None:
    """Make a database that starts as a copy of the template, to which nobody may be connected meanwhile."""
    with _superuser() as connection:
        create_database(connection, name, template=template)


def drop_database(name: str) -> None:
    """Drop a database if it is there, whoever is connected to it."""
    with _superuser() as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def _delete_forgotten() -> None:
    """Delete what runs left behind that were killed before they could."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            status = folder.stat()
            if status.st_uid == os.geteuid() and status.st_mtime < time.time() - DAY_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)


def _superuser() -> psycopg.Connection:
    return psycopg.connect(_libpq(Addresses.from_environment().superuser), autocommit=True)


def _libpq(url: str) -> str:
    return url.replace("postgresql+psycopg://", "postgresql://", 1)


def _with_last_part(url: str, part: str) -> str:
    return f"{url.rpartition('/')[0]}/{part}"
