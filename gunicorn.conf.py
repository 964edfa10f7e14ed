"""How gunicorn serves Coffer; the settings themselves are read and checked in `app.core.config`."""

import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import gunicorn.http.wsgi


def folder_for_figures() -> tuple[Path, IO[str]]:
    """Make a folder and hold its lock; delete those that nobody holds, whose processes were killed."""
    for old in Path(tempfile.gettempdir()).glob("coffer-metrics-*"):
        with suppress(OSError), (old / "lock").open() as left:
            fcntl.flock(left, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(old)
    folder = Path(tempfile.mkdtemp(prefix="coffer-metrics-"))
    # Under its name only when it is held.
    lock = (folder / "new").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    (folder / "new").rename(folder / "lock")
    return folder, lock


# Here the processes keep their figures for /metrics, and whoever is asked adds them up. The library looks for the
# variable once, when something imports it: so before anything of ours does.
figures, figures_lock = folder_for_figures()
os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(figures)

from prometheus_client import multiprocess  # noqa: E402

from app import create_app  # noqa: E402
from app.core.config import ConfigurationError, load_settings  # noqa: E402
from app.core.startup import check_database_role  # noqa: E402

try:
    settings = load_settings()
except ConfigurationError as error:
    raise SystemExit(f"Coffer cannot start:\n{error}") from None

proc_name = "coffer"
host = "0.0.0.0" if settings.is_production else "127.0.0.1"  # noqa: S104 - a container's own network
bind = f"{host}:{settings.server.port}"
worker_class = "gthread"
workers = settings.server.workers
threads = settings.server.threads
graceful_timeout = 30

limit_request_line = 4094
limit_request_field_size = 8190

# TRUSTED_PROXIES alone decides whose X-Forwarded-… to believe, in the application.
forwarded_allow_ips = ""

# No page of a disk may hold up a worker's sign of life.
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - gunicorn makes its own file there
control_socket_disable = True

# Every request is logged by the application, with its id.
accesslog = None

# gunicorn has no setting for it, and which server answers is nobody's business.
gunicorn.http.wsgi.SERVER = "coffer"


def child_exit(_: Any, worker: Any) -> None:
    """Take the gauges of a process that has ended out of the sums."""
    multiprocess.mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]  # the library has no annotation there


def on_exit(_: Any) -> None:
    """Leave nothing behind."""
    shutil.rmtree(figures, ignore_errors=True)


def on_starting(_: object) -> None:
    """Check once, in the first process: a worker that refuses to start would only be started again."""
    try:
        check_database_role(create_app(settings))
    except ConfigurationError as error:
        raise SystemExit(f"Coffer cannot start:\n{error}") from None
