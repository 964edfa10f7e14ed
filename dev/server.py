"""A server as a child process, with its data, port and secrets in one folder."""

from __future__ import annotations

import contextlib
import fcntl
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
from abc import ABC, abstractmethod
from pathlib import Path
from typing import IO, TYPE_CHECKING, ClassVar, Self

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

HOST = "127.0.0.1"


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


class Server(ABC):
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

    @abstractmethod
    def _prepare(self) -> None: ...

    @abstractmethod
    def _stale_process(self) -> psutil.Process | None: ...

    @abstractmethod
    def _launcher(self) -> list[str]: ...

    @abstractmethod
    def _command(self) -> list[str]: ...

    @abstractmethod
    def _answers(self) -> bool: ...


def as_account(account: pwd.struct_passwd | None, signal_with_parent: signal.Signals, *folders: Path) -> list[str]:
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


def account_of(uid: int) -> pwd.struct_passwd:
    try:
        return pwd.getpwuid(uid)
    except KeyError:
        # An owner without an entry, as in containers whose folders come from another system.
        return pwd.struct_passwd((str(uid), "x", uid, uid, "", "/", "/bin/false"))


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


def process_named_in(pid_file: Path, program: str, path: Path) -> psutil.Process | None:
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
                write_private(file, f"{port}\n")
                return port
    message = f"No port from {PORTS.start} to {PORTS.stop - 1} is free."
    raise ServerError(message)


def _ports(file: Path) -> Iterator[int]:
    with contextlib.suppress(FileNotFoundError, ValueError):
        yield int(file.read_text())
    yield from random.sample(PORTS, 100)


def kept_secret(file: Path) -> str:
    """Return the secret in the file, made on first use."""
    if not file.exists():
        write_private(file, secrets.token_urlsafe(32))
    return file.read_text()


def write_private(file: Path, text: str) -> None:
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


def quoted(path: Path) -> str:
    return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"') + '"'
