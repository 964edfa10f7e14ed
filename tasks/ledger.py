"""Messages about budgets, and the sweep that finds what was missed."""

from uuid import UUID

import structlog

from app.jobs.names import PURGE_DELETED, SEND_BUDGET_ALERT, SWEEP_BUDGET_ALERTS
from app.ledger.budgets import alerts
from app.ledger.budgets import mail as budget_mail
from app.ledger.upkeep import service as upkeep
from app.unit_of_work import UnitOfWork
from tasks.base import outbox_task, scheduled_task

log = structlog.get_logger(__name__)


@outbox_task(SEND_BUDGET_ALERT)
def send_budget_alert(*, outbox_id: UUID, user_id: UUID, alert_id: UUID) -> None:
    """Mail that a budget has reached a threshold."""
    budget_mail.send_budget_alert(UnitOfWork(acting_for=user_id), alert_id=alert_id, outbox_id=outbox_id)


@scheduled_task(SWEEP_BUDGET_ALERTS)
def sweep_budget_alerts() -> None:
    """Find the thresholds that nobody noticed being reached."""
    found = alerts.sweep_alerts(UnitOfWork(everybody=True))
    if found:
        log.info("budget_alerts_found", alerts=found)


@scheduled_task(PURGE_DELETED)
def purge_deleted() -> None:
    """Delete for good what can no longer be restored."""
    purged = upkeep.purge_deleted(UnitOfWork(everybody=True))
    log.info("deleted_for_good", transactions=purged.transactions, accounts=purged.accounts)
