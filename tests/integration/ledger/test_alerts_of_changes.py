"""Whatever changes the spending looks at the budgets, in the same transaction."""

from typing import Any

from flask import Flask
from sqlalchemy import select

from app.core import clock
from app.ledger.accounts.models import AccountType
from app.ledger.accounts.service import open_account
from app.ledger.budgets.models import Budget, BudgetAlert, BudgetPeriod
from app.ledger.budgets.service import create_budget
from app.ledger.categories.service import create_category
from app.ledger.transactions.bulk import record_transactions
from app.ledger.transactions.service import (
    categorise_transactions,
    change_transaction,
    delete_transaction,
    record_transaction,
    restore_transaction,
)
from app.unit_of_work import UnitOfWork
from tests.factories.people import make_person


def test_what_a_person_does_with_transactions_gives_each_alert_once(app: Flask) -> None:
    person = make_person()
    who: dict[str, Any] = {"owner_id": person.id}

    def uow() -> UnitOfWork:
        return UnitOfWork(acting_for=person.id)

    today = clock.now().date()
    category = create_category(uow(), **who, name="Cheese")
    other = create_category(uow(), **who, name="Wine")
    account = open_account(uow(), **who, name="Cash", type=AccountType.CASH, currency="EUR")
    for one in (category, other):
        create_budget(
            uow(), **who, category_id=one.id, name=one.name, amount="100", currency="EUR",
            period=BudgetPeriod.MONTHLY, starts_on=today.replace(day=1),
        )  # fmt: skip

    def alerts() -> list[tuple[str, int, bool]]:
        with uow() as found:
            rows = found._session.execute(
                select(Budget.name, BudgetAlert.percent, BudgetAlert.silent)
                .join(BudgetAlert, BudgetAlert.budget_id == Budget.id)
                .order_by(Budget.name, BudgetAlert.percent)
            )
            return [(name, percent, silent) for name, percent, silent in rows]

    spent: dict[str, Any] = {"account_id": account.id, "category_id": category.id, "booked_on": today}
    first = record_transaction(uow(), **who, **spent, amount="-50")
    assert alerts() == []
    change_transaction(uow(), **who, transaction_id=first.id, changes={"amount": "-85"})
    assert alerts() == [("Cheese", 80, False)]
    record_transactions(uow(), **who, rows=[{**spent, "amount": "-20"}])
    assert alerts() == [("Cheese", 80, False), ("Cheese", 100, False)]
    categorise_transactions(uow(), **who, transaction_ids=[first.id], category_id=other.id)
    assert alerts()[2:] == [("Wine", 80, False)]
    delete_transaction(uow(), **who, transaction_id=first.id)
    restore_transaction(uow(), **who, transaction_id=first.id)
    assert len(alerts()) == 3
