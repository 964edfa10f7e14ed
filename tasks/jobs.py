"""Upkeep of the outbox."""

import structlog

from app.core.extensions import celery
from app.jobs import service
from app.jobs.names import PURGE_OUTBOX, RELAY_OUTBOX
from app.jobs.publisher import publish_now
from app.unit_of_work import UnitOfWork
from tasks.base import scheduled_task

log = structlog.get_logger(__name__)


@scheduled_task(RELAY_OUTBOX)
def relay_outbox() -> None:
    """Publish what the broker does not know of."""
    relayed = service.relay_messages(UnitOfWork(), lambda envelope: publish_now(celery, envelope))
    if relayed:
        log.info("outbox_relayed", messages=relayed)


@scheduled_task(PURGE_OUTBOX)
def purge_outbox() -> None:
    """Delete what was done long ago."""
    service.purge_messages(UnitOfWork())
