"""Upkeep of the database."""

import structlog

from app.jobs.names import KEEP_PARTITIONS
from app.ops.partitions import service
from app.unit_of_work import UnitOfWork
from tasks.base import scheduled_task

log = structlog.get_logger(__name__)


@scheduled_task(KEEP_PARTITIONS)
def keep_partitions() -> None:
    """Make the months to come, drop those past their time, count what people did."""
    log.info("partitions_kept", **service.keep_partitions(UnitOfWork(everybody=True)))
