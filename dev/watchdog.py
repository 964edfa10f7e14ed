"""Ends what a killed runner leaves behind; `dev.run` starts this as a process in a session of its own.

PostgreSQL and Redis end with their parent by themselves. The web server and the workers have processes and
sessions of their own; all of them are known by a mark that the runner put into their environment.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator

import psutil

MARK = "COFFER_RUN"
POLL_SECONDS = 0.5
STOP_SECONDS = 10


def main() -> None:
    runner, mark = int(sys.argv[1]), sys.argv[2]
    with contextlib.suppress(psutil.Error):
        group, command = os.getpgid(runner), psutil.Process(runner).cmdline()
        while os.getppid() == runner:
            time.sleep(POLL_SECONDS)
        end_all([*marked(mark), *forks(group, command)])


def marked(mark: str) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(MARK) == mark:
                yield process


def forks(group: int, command: list[str]) -> Iterator[psutil.Process]:
    """Find honcho's readers of output: forks of the runner, and so without the mark."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            if os.getpgid(process.pid) == group and process.cmdline() == command:
                yield process


def end_all(processes: list[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    for process in psutil.wait_procs(processes, timeout=STOP_SECONDS)[1]:
        with contextlib.suppress(psutil.Error):
            process.kill()


if __name__ == "__main__":
    main()
