"""`make run`: servers, migrations, seed, then what the Procfile names, until a signal comes or one ends."""

from __future__ import annotations

import contextlib
import http.client
import multiprocessing
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TextIO

import honcho.manager
import psycopg
import redis
from honcho.environ import parse_procfile

from dev.embedded import Postgres, Redis, provision
from dev.server import HOST, ServerError, make_folder
from dev.watchdog import MARK, end_all, marked

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

ROOT = Path(__file__).resolve().parent.parent
VAR = ROOT / "var"
RUNNING = VAR / "run.env"
BIN = Path(sys.executable).parent
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
READY_SECONDS = 60
OLDEST_POSTGRES = 15

# How long the others may take to finish their work once one process has ended.
honcho.manager.KILL_WAIT = 10


class Fault(Exception):
    """Ends the run with one line for the developer."""


class Processes(honcho.manager.Manager):
    """honcho's manager, which also stops on SIGHUP, says when the site is ready, and knows why it stopped."""

    def __init__(self, address: str) -> None:
        super().__init__()
        self._procmgr = Leaders()
        self._address = address
        self._runner = os.getpid()
        self._watch = threading.Thread(target=self._watch_start, daemon=True)
        self.signalled = False
        self.fault = ""

    def _start(self) -> None:
        for number in STOP_SIGNALS:
            signal.signal(number, self._stop)
        super()._start()
        self._watch.start()

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        # The forks that read the output get the terminal's signals too, but end only after what they read.
        if os.getpid() != self._runner:
            return
        if self.signalled:
            self.kill()
            return
        self.signalled = True
        say("Stopping …")
        if self._all_started():
            self.terminate()

    def terminate(self) -> None:
        if not self.signalled and not self.fault:
            ended = [
                f"{name} (exit status {process['returncode']})"
                for name, process in self._processes.items()
                if "returncode" in process
            ]
            self.fault = f"{', '.join(ended)} ended by itself, so the rest was stopped."
        super().terminate()

    def _watch_start(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while not self._terminating:
            if self.signalled:
                # A signal came before honcho knew all of its processes.
                if self._all_started():
                    self.terminate()
            elif answers(self._address):
                greet(self._address)
                return
            elif time.monotonic() > deadline:
                self.fault = f"http://{self._address}/readyz did not answer 200 within {READY_SECONDS} s."
                self.terminate()
            time.sleep(0.1)


class Leaders(honcho.manager.ProcessManager):
    """Asks only the leader of each group to stop, so that a Celery worker can let its children finish."""

    def terminate(self, pid: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)


def main() -> int:
    for number in STOP_SIGNALS:
        signal.signal(number, interrupt)
    try:
        return run()
    except (Fault, ServerError) as error:
        say(str(error), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        say("Stopped.")
        return 0


def run() -> int:
    os.chdir(ROOT)
    port = port_to_use()
    with contextlib.ExitStack() as stack:
        os.environ |= servers(stack) | {
            "COFFER_ENV": os.environ.get("COFFER_ENV") or "development",
            "PORT": str(port),
            "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "PYTHONUNBUFFERED": "1",
            MARK: secrets.token_hex(16),
        }
        stack.enter_context(watchdog())
        stack.enter_context(known_to_other_shells())
        say("Preparing the database …")
        flask("db", "upgrade")
        flask("seed")
        # What serves needs no right to change the schema; commands of other shells find it in RUNNING.
        os.environ.pop("DATABASE_OWNER_URL", None)
        # honcho's processes are made for fork, which is no longer the default everywhere.
        multiprocessing.set_start_method("fork")
        processes = Processes(f"{HOST}:{port}")
        for name, command in parse_procfile((ROOT / "Procfile").read_text()).processes.items():
            if name != "release":
                # Without a shell in between, the process that honcho knows is the program itself.
                processes.add_process(name, f"exec {command}")
        processes.loop()
    if processes.signalled:
        say("Stopped.")
        return 0
    raise Fault(processes.fault)


def port_to_use() -> int:
    text = os.environ.get("PORT") or "8000"
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 2**16:
        message = f"PORT is {text!r}, but must be a number from 1 to 65535."
        raise Fault(message)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, int(text)))
        except PermissionError as error:
            message = f"This user may not open port {text}; choose another, as in PORT=8001 make run."
            raise Fault(message) from error
        except OSError as error:
            message = f"Port {text} is in use; stop what uses it or choose another, as in PORT=8001 make run."
            raise Fault(message) from error
    return int(text)


def servers(stack: contextlib.ExitStack) -> dict[str, str]:
    """Return the addresses to use, of embedded servers where the environment names none."""
    found: dict[str, str] = {}
    missing = [name for name in ("DATABASE_URL", "REDIS_URL") if not os.environ.get(name)]
    if missing and os.environ.get("COFFER_ENV") == "production":
        message = f"COFFER_ENV is production, so {' and '.join(missing)} must be set."
        raise Fault(message)
    if "DATABASE_URL" not in missing:
        for name in ("DATABASE_URL", "DATABASE_OWNER_URL"):
            if url := os.environ.get(name):
                check_database(name, url)
    if "REDIS_URL" not in missing:
        check_redis(os.environ["REDIS_URL"])
    if missing:
        make_var()
    if "DATABASE_URL" in missing:
        say("Starting PostgreSQL …")
        urls = provision(stack.enter_context(Postgres(VAR / "postgres")))
        found |= {"DATABASE_URL": urls.api, "DATABASE_OWNER_URL": urls.owner}
    if "REDIS_URL" in missing:
        say("Starting Redis …")
        found["REDIS_URL"] = stack.enter_context(Redis(VAR / "redis")).url
    return found


@contextlib.contextmanager
def known_to_other_shells() -> Iterator[None]:
    """Let `flask …` in another shell find the servers while they run: `app.core.config` reads the file."""
    make_var()
    names = ("COFFER_ENV", "DATABASE_URL", "DATABASE_OWNER_URL", "REDIS_URL", "PORT")
    lines = [f"{name}={os.environ[name]}\n" for name in names if name in os.environ]
    RUNNING.unlink(missing_ok=True)
    RUNNING.touch(mode=0o600)
    RUNNING.write_text("".join(lines))
    try:
        yield
    finally:
        RUNNING.unlink(missing_ok=True)


def make_var() -> None:
    try:
        make_folder(VAR)
    except OSError as error:
        message = f"{VAR} cannot be made: {error.strerror}."
        raise Fault(message) from error


def check_database(name: str, url: str) -> None:
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in {"postgresql", "postgresql+psycopg", "postgres"}:
        message = f"{name} is not an address of the form postgresql://user:password@host:port/name."
        raise Fault(message)
    try:
        with psycopg.connect(f"postgresql://{rest}", connect_timeout=5) as connection:
            version = connection.info.server_version // 10_000
    except psycopg.OperationalError as error:
        message = f"The database of {name} does not accept us: {one_line(error)}"
        raise Fault(message) from error
    except (psycopg.Error, ValueError) as error:
        # The driver quotes what it could not read, which may be a password.
        message = f"{name} is not an address of the form postgresql://user:password@host:port/name."
        raise Fault(message) from error
    if version < OLDEST_POSTGRES:
        message = f"{name} leads to PostgreSQL {version}; Coffer needs {OLDEST_POSTGRES} or newer."
        raise Fault(message)


def check_redis(url: str) -> None:
    try:
        with redis.Redis.from_url(url, socket_connect_timeout=5, socket_timeout=5) as client:
            client.ping()
    except redis.RedisError as error:
        message = f"The Redis of REDIS_URL does not accept us: {one_line(error)}"
        raise Fault(message) from error
    except ValueError as error:
        message = "REDIS_URL is not an address of the form redis://:password@host:port/number."
        raise Fault(message) from error


@contextlib.contextmanager
def watchdog() -> Iterator[None]:
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "dev" / "watchdog.py"), str(os.getpid()), os.environ[MARK]],
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        env={},
    )
    try:
        yield
    finally:
        end_all(list(marked(os.environ[MARK])))
        process.terminate()
        process.wait()


def flask(*arguments: str) -> None:
    """Run one command of the application and show what it said only if it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "flask", "--app", "wsgi", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        sys.stderr.write(done.stdout)
        message = f"`flask {' '.join(arguments)}` failed."
        raise Fault(message)


def answers(address: str) -> bool:
    connection = http.client.HTTPConnection(address, timeout=2)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def greet(address: str) -> None:
    from app.seed import DEMO_EMAIL, DEMO_PASSWORD  # noqa: PLC0415 - needs the settings made above

    say(f"""
  Coffer is running.

  API        http://{address}/api/v1
  API docs   http://{address}/api/docs
  Mailbox    http://{address}/dev/mailbox
  Log in as  {DEMO_EMAIL}  {DEMO_PASSWORD}

  Ctrl-C stops everything; the data stays in var/.
""")


def one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def say(text: str, *, file: TextIO | None = None) -> None:
    print(text, file=file, flush=True)


if __name__ == "__main__":
    sys.exit(main())
