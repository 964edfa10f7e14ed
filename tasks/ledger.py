"""Messages about budgets, and the sweep that finds what was missed."""

from uuid import UUID

import structlog

from app.jobs.names import SEND_BUDGET_ALERT, SWEEP_BUDGET_ALERTS
from app.ledger.budgets import alerts
from app.ledger.budgets import mail as budget_mail
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
