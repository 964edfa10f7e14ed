"""The whole of Coffer as processes of its own: PostgreSQL, Redis, and what the Procfile names."""

import os
import random
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Self, TypeVar
from uuid import uuid4

import httpx
import psutil
import psycopg
import redis
from honcho.environ import parse_procfile

from app.core.config import ROOT
from dev.embedded import Postgres, Redis, provision
from dev.server import HOST, PORTS
from tests.conftest import SECRET
from tests.factories.people import PASSWORD
from tests.smtp_server import Received, SmtpServer

Found = TypeVar("Found")

POLL_SECONDS = 0.1
START_SECONDS = 30
STOP_SECONDS = 30


class Program:
    """One line of the Procfile, in a process group of its own."""

    def __init__(self, name: str, command: list[str], environment: dict[str, str], log: Path) -> None:
        self.name = name
        self.log = log
        self._command = command
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self._log_begins = 0
        self._is_leaving = False

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} does not run"
        return self._process.pid

    def start(self) -> None:
        """Start it, unless it runs."""
        if self._is_leaving:
            self.wait()
        if self._process is not None and self._process.poll() is None:
            return
        setpriv = shutil.which("setpriv")
        # So that it ends with the tests, however those end.
        launcher = [setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []
        with self.log.open("ab") as log:
            self._log_begins = log.tell()
            self._process = subprocess.Popen(  # noqa: S603  # a line of our own Procfile
                [*launcher, *self._command],
                cwd=ROOT,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def ask_to_stop(self) -> None:
        """Send SIGTERM, as a supervisor does."""
        os.kill(self.pid, signal.SIGTERM)
        self._is_leaving = True

    def stop(self) -> int:
        """Ask to stop, and wait for it; the exit status."""
        self.ask_to_stop()
        return self.wait()

    def wait(self) -> int:
        assert self._process is not None
        status = self._process.wait(STOP_SECONDS)
        self._process = None
        self._is_leaving = False
        return status

    def kill(self) -> None:
        """End it and its children at once, as a machine that fails does; what does not run is left alone."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            self.wait()

    def child_connected_to(self, port: int) -> int | None:
        """The process of its pool that speaks with this port."""
        for child in psutil.Process(self.pid).children():
            if port in ports_spoken_with(child):
                return child.pid
        return None

    def said(self) -> str:
        """What it wrote since it was started."""
        return self.log.read_bytes()[self._log_begins :].decode(errors="replace")


class Stack:
    """Everything, from `with` to its end; nothing is left behind."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._exit = ExitStack()
        self.postgres = Postgres(folder / "postgres", durable=False)
        self.redis = Redis(folder / "redis", durable=False)
        self.smtp = SmtpServer()
        self.programs: dict[str, Program] = {}

    def __enter__(self) -> Self:
        with self._exit:
            for part in (self.postgres, self.redis, self.smtp):
                self._exit.enter_context(part)
            environment = self._environment()
            self.http = self._exit.enter_context(
                httpx.Client(
                    base_url=f"http://{HOST}:{environment['PORT']}",
                    timeout=STOP_SECONDS,
                    # A connection for each request, so that none is left to a server that was killed.
                    limits=httpx.Limits(max_keepalive_connections=0),
                )
            )
            for name, line in parse_procfile((ROOT / "Procfile").read_text()).processes.items():
                program, *words = shlex.split(line.replace("-A celery_worker", "-A tests.faults.quick_worker"))
                command = [str(Path(sys.executable).with_name(program)), *words]
                self.programs[name] = Program(name, command, environment, self._folder / f"{name}.log")
            release = self.programs.pop("release")
            release.start()
            assert release.wait() == 0, release.said()
            for one in self.programs.values():
                self._exit.callback(one.kill)
                one.start()
            self.wait_until_ready()
            self._exit = self._exit.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._exit.close()

    @property
    def web(self) -> Program:
        return self.programs["web"]

    @property
    def worker(self) -> Program:
        return self.programs["worker"]

    def _environment(self) -> dict[str, str]:
        urls = provision(self.postgres)
        return {
            "PATH": os.defpath,
            "COFFER_ENV": "development",
            "DATABASE_URL": urls.api,
            "DATABASE_OWNER_URL": urls.owner,
            "REDIS_URL": self.redis.url,
            "SECRET_KEY": SECRET,
            "SMTP_URL": f"smtp://{self.smtp.address}",
            "STORAGE_URL": (self._folder / "storage").as_uri(),
            "BCRYPT_ROUNDS": "4",
            "PORT": str(_free_port()),
            "WEB_CONCURRENCY": "1",
            "WEB_THREADS": "4",
            "LOG_FORMAT": "json",
        }

    def wait_until_ready(self) -> None:
        self.wait_for(lambda: self._status("/readyz") == httpx.codes.OK, "Coffer did not get ready", START_SECONDS)

    def _status(self, path: str) -> int | None:
        try:
            return self.http.get(path).status_code
        except httpx.TransportError:
            return None

    def wait_for(self, look: Callable[[], Found | None], otherwise: str, seconds: float = 30) -> Found:
        """What `look` finds in the end; fails with what the programs said last."""
        end = time.monotonic() + seconds
        while not (found := look()):
            if time.monotonic() > end:
                last = [f"--- {one.name}\n{one.said()[-2000:]}" for one in self.programs.values()]
                raise AssertionError("\n".join([f"{otherwise} within {seconds} s", *last]))
            time.sleep(POLL_SECONDS)
        return found

    @property
    def port(self) -> int:
        return self.http.base_url.port or 0

    def url(self, path: str) -> str:
        return f"http://{HOST}:{self.port}/api/v1{path}"

    def post(self, path: str, body: dict[str, Any] | None = None, **options: Any) -> httpx.Response:
        return self.http.post(f"/api/v1{path}", json=body, **options)

    def register(self, **headers: str) -> str:
        """Sign up with an address of its own, and return it."""
        address = f"{uuid4().hex}@example.org"
        form = {"email": address, "password": PASSWORD, "password_confirm": PASSWORD, "accept_terms": True}
        answer = self.post("/auth/register", form, headers=headers)
        assert answer.status_code == httpx.codes.ACCEPTED, answer.text
        return address

    def mails(self, address: str) -> list[Received]:
        """What reached the mail server for this address, answered or not."""
        return [one for one in self.smtp.received if one.to == [address]]

    def wait_for_mail(self, address: str) -> Received:
        return self.wait_for(lambda: self.mails(address), "no mail arrived")[0]

    def log_in(self, address: str) -> dict[str, Any]:
        """Follow the link in the mail if that is still to be done, and sign in."""
        login = {"email": address, "password": PASSWORD}
        if self.post("/auth/login", login).status_code == httpx.codes.UNAUTHORIZED:
            verified = self.post("/auth/email/verify", {"token": self.wait_for_mail(address).token})
            assert verified.status_code == httpx.codes.OK, verified.text
        answer = self.post("/auth/login", login)
        assert answer.status_code == httpx.codes.OK, answer.text
        grant: dict[str, Any] = answer.json()
        return grant

    def profile(self, grant: dict[str, Any]) -> httpx.Response:
        return self.http.get("/api/v1/profile", headers={"Authorization": f"Bearer {grant['access_token']}"})

    def database(self) -> psycopg.Connection:
        return self.postgres.connect("coffer")

    def messages(self) -> dict[str, int]:
        """How many messages of the outbox have come how far."""
        with self.database() as connection:
            return dict(connection.execute("SELECT status::text, count(*) FROM outbox GROUP BY 1").fetchall())

    def wait_until_all_is_done(self) -> None:
        self.wait_for(lambda: set(self.messages()) == {"done"}, "some message is not done")

    def broker(self) -> redis.Redis:
        return redis.Redis.from_url(self.redis.url, decode_responses=True)


def ports_spoken_with(process: psutil.Process) -> set[int]:
    """Of the other ends of its connections."""
    return {one.raddr.port for one in process.net_connections("tcp4") if len(one.raddr)}


def _free_port() -> int:
    """Below the range of outgoing connections, so that nobody else takes it while the program restarts."""
    for port in random.sample(PORTS, 100):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if probe.connect_ex((HOST, port)) != 0:
                return port
    raise AssertionError("no port is free")
