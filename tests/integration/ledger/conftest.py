"""Fixtures of the ledger's tests."""

from uuid import UUID

import pytest
from flask import Flask

from app.ledger.accounts.models import Account
from tests.counting import counter
from tests.factories.ledger import make_account, make_owner

__all__ = ["counter"]


@pytest.fixture
def owner(app: Flask) -> UUID:
    return make_owner()


@pytest.fixture
def account(owner: UUID) -> Account:
    return make_account(owner)
