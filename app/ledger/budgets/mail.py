"""The mail that a budget alert asks for. A task calls this with ids; what they stand for is read here."""

from uuid import UUID

from app.core.extensions import parts, settings
from app.core.mail import Mail, message_id, render
from app.ledger.budgets.models import Budget, BudgetAlert
from app.ledger.money import shown
from app.people.models import User, UserStatus
from app.unit_of_work import UnitOfWork


def send_budget_alert(uow: UnitOfWork, *, alert_id: UUID, outbox_id: UUID) -> None:
    """Tell a person that a threshold is reached; nothing happens when they were told or the budget is gone."""
    with uow:
        mail = _mail(uow, alert_id, outbox_id)
    if mail is None:
        return
    # Outside of any transaction: a mail server may take long.
    parts().mailer.send(mail)
    with uow:
        uow.budget_alerts.mark_notified(alert_id)
        uow.commit()


def _mail(uow: UnitOfWork, alert_id: UUID, outbox_id: UUID) -> Mail | None:
    alert = uow.budget_alerts.find(alert_id)
    if alert is None or alert.notified_at is not None:
        return None
    budget, person = uow.budgets.find(alert.budget_id), uow.users.find(alert.user_id)
    if budget is None or person is None or person.status is not UserStatus.ACTIVE:
        return None
    return _render(alert, budget, person, outbox_id)


def _render(alert: BudgetAlert, budget: Budget, person: User, outbox_id: UUID) -> Mail:
    home = settings().server.public_url
    return render(
        "budget_alert",
        to=person.email,
        message_id=message_id(outbox_id, home),
        name=person.first_name,
        budget=budget.name,
        percent=alert.percent,
        spent=f"{shown(alert.spent, budget.currency)} {budget.currency}",
        since=alert.period_start.isoformat(),
        home=home,
    )
