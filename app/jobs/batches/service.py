"""Moves rows from one shape to another, a batch at a time, while Coffer serves.

Each batch is a transaction that also notes how far the move has come: what fails or is killed in the middle goes on
from there when it is started again. Before a move begins, the code that serves must already write the new shape, or
rows that are added meanwhile may be missed.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeVar
from uuid import UUID

from sqlalchemy.exc import DataError

from app.core import clock
from app.core.db import Base
from app.core.errors import CofferError, Conflict
from app.core.uow import retried
from app.jobs.batches.models import BatchRun, BatchStatus
from app.unit_of_work import UnitOfWork

Row = TypeVar("Row", bound=Base)
Step = Callable[[UnitOfWork, Row], None]

_TOWARDS_NEW = (BatchStatus.RUNNING, BatchStatus.DONE)


class RowRejected(Exception):
    """A row cannot be moved; the text says why, without quoting what is in it."""


@dataclass(frozen=True, slots=True)
class Move(Generic[Row]):
    """One change of shape: its name, which is kept for good, and how one row goes forward and back."""

    name: str
    model: type[Row]
    forward: Step[Row]
    backward: Step[Row]
    size: int = 500


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a move has come."""

    status: BatchStatus
    moved: int
    rejected: int
    total: int


Watcher = Callable[[Progress], None]


def move_rows(uow: UnitOfWork, move: Move[Row], *, watch: Watcher = lambda _: None) -> Progress:
    """Move all rows that are left; returns at once when the move is done."""
    # Of two who begin at the same moment, one goes on with the run of the other.
    with suppress(Conflict):
        _begin(uow, move)
    return _go(uow, move, _move_batch, watch)


def roll_back(uow: UnitOfWork, move: Move[Row], *, watch: Watcher = lambda _: None) -> Progress:
    """Bring every row that was moved back, the last one first."""
    with uow:
        run = uow.batches.find_by_name(move.name)
        if run is None:
            return Progress(BatchStatus.ROLLED_BACK, 0, 0, 0)
        if run.status in _TOWARDS_NEW:
            run.status = BatchStatus.ROLLING_BACK
        uow.commit()
    return _go(uow, move, _roll_back_batch, watch)


def list_rejects(uow: UnitOfWork, *, name: str) -> dict[UUID, str]:
    """The rows that the move left as they were, and why."""
    with uow:
        run = uow.batches.find_by_name(name)
        return {one.row_id: one.reason for one in uow.batches.list_rejects(run)} if run else {}


def _begin(uow: UnitOfWork, move: Move[Row]) -> None:
    with uow:
        run = uow.batches.find_by_name(move.name)
        if run is None:
            uow.batches.add(BatchRun(name=move.name, total=uow.batches.count_rows(move.model)))
        elif run.status is BatchStatus.ROLLED_BACK:
            uow.batches.forget_rejects(run)
            run.status, run.position, run.finished_at = BatchStatus.RUNNING, None, None
            run.moved, run.rejected, run.total = 0, 0, uow.batches.count_rows(move.model)
        uow.commit()


def _go(
    uow: UnitOfWork, move: Move[Row], batch: Callable[[UnitOfWork, Move[Row]], tuple[Progress, bool]], watch: Watcher
) -> Progress:
    while True:
        progress, more = retried(lambda: batch(uow, move))
        if not more:
            return progress
        watch(progress)


def _move_batch(uow: UnitOfWork, move: Move[Row]) -> tuple[Progress, bool]:
    with uow:
        run = _held(uow, move)
        if run.status is not BatchStatus.RUNNING:
            return _progress(run), False
        rows = uow.batches.list_ahead(move.model, after=run.position, limit=move.size)
        rejects = _apply(uow, move.forward, rows)
        uow.batches.add_rejects(run, rejects)
        run.moved += len(rows) - len(rejects)
        run.rejected += len(rejects)
        if rows:
            run.position = rows[-1].id
        else:
            run.status, run.finished_at = BatchStatus.DONE, clock.now()
        uow.commit()
    return _progress(run), bool(rows)


def _roll_back_batch(uow: UnitOfWork, move: Move[Row]) -> tuple[Progress, bool]:
    with uow:
        run = _held(uow, move)
        if run.status is not BatchStatus.ROLLING_BACK:
            return _progress(run), False
        rows = uow.batches.list_behind(move.model, run, limit=move.size)
        rejects = _apply(uow, move.backward, rows)
        uow.batches.add_rejects(run, rejects)
        run.moved -= len(rows)
        run.rejected += len(rejects)
        if rows:
            # Everything up to the position is moved: so it is right before the last row that went back.
            run.position = UUID(int=rows[-1].id.int - 1)
        else:
            run.status, run.position, run.finished_at = BatchStatus.ROLLED_BACK, None, clock.now()
        uow.commit()
    return _progress(run), bool(rows)


def _held(uow: UnitOfWork, move: Move[Row]) -> BatchRun:
    """The run, locked: of two who move at once, each does some of the batches."""
    run = uow.batches.find_by_name(move.name)
    if run is None:
        raise LookupError(f"the run of {move.name} was deleted")
    return run


def _apply(uow: UnitOfWork, step: Step[Row], rows: Sequence[Row]) -> Mapping[UUID, str]:
    """Take the step with all rows; where one refuses, with each alone. Returns those that refused, and why."""
    try:
        with uow.savepoint():
            for row in rows:
                step(uow, row)
            uow.flush()
    except (RowRejected, CofferError, DataError):
        return {row.id: reason for row in rows if (reason := _refusal(uow, step, row)) is not None}
    return {}


def _refusal(uow: UnitOfWork, step: Step[Row], row: Row) -> str | None:
    try:
        with uow.savepoint():
            step(uow, row)
            uow.flush()
    except RowRejected as error:
        return str(error)
    except CofferError as error:
        return error.code
    except DataError:
        return "a value does not fit its column"
    return None


def _progress(run: BatchRun) -> Progress:
    return Progress(run.status, run.moved, run.rejected, run.total)
