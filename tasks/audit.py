"""Seals of the audit log."""

import structlog

from app.audit import service
from app.jobs.names import SEAL_AUDIT
from app.unit_of_work import UnitOfWork
from tasks.base import scheduled_task

log = structlog.get_logger(__name__)


@scheduled_task(SEAL_AUDIT)
def seal_audit() -> None:
    """Seal the audit rows that are old enough."""
    sealed = service.seal(UnitOfWork(everybody=True))
    if sealed:
        log.info("audit_sealed", rows=sealed)
