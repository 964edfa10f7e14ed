"""Accounts, categories and transactions for tests."""

from collections.abc import Mapping
from datetime import date, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from app.ledger.accounts import service as accounts
from app.ledger.accounts.models import Account, AccountType
from app.ledger.categories.models import Category
from app.ledger.transactions import service as transactions
from app.ledger.transactions.models import Transaction
from app.unit_of_work import UnitOfWork
from tests.factories.people import make_person

FIRST_DAY = date(2024, 1, 1)


def uow_of(owner_id: UUID) -> UnitOfWork:
    """A unit of work that sees this person's rows."""
    return UnitOfWork(acting_for=owner_id)


def make_owner() -> UUID:
    """Somebody with a ledger that is still empty."""
    return make_person(password=None).id


def make_account(owner_id: UUID, **changes: Any) -> Account:
    """An account in euros with nothing on it."""
    fields: dict[str, Any] = {"name": "Giro", "type": AccountType.CHECKING, "currency": "EUR"}
    return accounts.open_account(uow_of(owner_id), owner_id=owner_id, **fields | changes)


def make_category(owner_id: UUID | None, name: str = "Food", parent_id: UUID | None = None) -> Category:
    """A category of the person, or of the system."""
    with UnitOfWork(everybody=True) as uow:
        category = Category(user_id=owner_id, name=name, parent_id=parent_id, is_system=owner_id is None)
        uow._session.add(category)
        uow.commit()
    return category


def make_transaction(account: Account, amount: Any = "-12.34", **changes: Any) -> Transaction:
    """A booked transaction."""
    owner_id = account.user_id
    fields: dict[str, Any] = {"booked_on": FIRST_DAY, "description": "Coffee"}
    return transactions.record_transaction(
        uow_of(owner_id), owner_id=owner_id, account_id=account.id, amount=amount, **fields | changes
    )


def bulk_rows(account: Account, count: int, **changes: Any) -> list[Mapping[str, Any]]:
    """Rows for a bulk insert: one a day over two years, amounts all different."""
    return [
        {
            "account_id": account.id,
            "amount": Decimal(number + 1) * (-1 if number % 5 else 1) / 100,
            "booked_on": FIRST_DAY + timedelta(days=number % 730),
            "description": f"Purchase {number}",
            **changes,
        }
        for number in range(count)
    ]


def balance_of(account: Account) -> Any:
    """The account's balance as the database has it now."""
    return accounts.get_account(
        uow_of(account.user_id), owner_id=account.user_id, account_id=account.id
    ).account.balance
