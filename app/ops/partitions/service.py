"""Keeps the months of the tables that are kept by time; a night that is missed is made up for by the next."""

from collections.abc import Callable
from functools import partial

import structlog
from sqlalchemy.exc import OperationalError

from app.ops.partitions.repository import KEPT_BY_TIME, PartitionRepository
from app.unit_of_work import UnitOfWork

log = structlog.get_logger(__name__)

LOCK_NOT_AVAILABLE = "55P03"


Step = Callable[[PartitionRepository], int]

# Months are made, then people's days are counted, then months are dropped: so none goes uncounted.
STEPS: dict[str, Step] = {
    **{f"{table} made": partial(PartitionRepository.ensure, table=table) for table in KEPT_BY_TIME},
    "daily_activity counted": PartitionRepository.refresh_daily_activity,
    **{f"{table} dropped": partial(PartitionRepository.drop_expired, table=table) for table in KEPT_BY_TIME},
}


def keep_partitions(uow: UnitOfWork) -> dict[str, int]:
    """Make the months ahead and end those that are past their time; returns what was done.

    Each step is a transaction of its own. One that does not get its locks at once is left for the next run, and so is
    one that somebody else is at.
    """
    done = {name: _take(uow, name, step) for name, step in STEPS.items()}
    return {name: count for name, count in done.items() if count is not None}


def _take(uow: UnitOfWork, name: str, step: Step) -> int | None:
    try:
        with uow:
            if not uow.partitions.lock():
                return None
            count = step(uow.partitions)
            uow.commit()
    except OperationalError as error:
        if getattr(error.orig, "sqlstate", None) != LOCK_NOT_AVAILABLE:
            raise
        log.warning("partitions_wait_for_a_lock", step=name)
        return None
    return count
