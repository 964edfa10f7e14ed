"""The nightly work on the ledger."""

from uuid import UUID

import pytest
from flask import Flask

from app.core.extensions import celery
from app.jobs.names import PURGE_DELETED
from app.ledger.transactions.models import Transaction
from app.ledger.transactions.service import delete_transaction
from app.unit_of_work import UnitOfWork
from tests.conftest import Database
from tests.factories.ledger import make_account, make_owner, make_transaction


@pytest.fixture
def deleted(app: Flask) -> UUID:
    owner = make_owner()
    row = make_transaction(make_account(owner))
    delete_transaction(UnitOfWork(acting_for=owner), owner_id=owner, transaction_id=row.id)
    return row.id


@pytest.mark.parametrize(("age", "left"), [("29 days", 1), ("31 days", 0)])
def test_what_was_deleted_a_month_ago_goes_for_good(deleted: UUID, database: Database, age: str, left: int) -> None:
    database.execute("UPDATE transactions SET deleted_at = now() - CAST(:age AS interval)", age=age)
    for _ in range(2):
        celery.tasks[PURGE_DELETED.name].apply(throw=True)
    assert database.count(Transaction, Transaction.id == deleted) == left
