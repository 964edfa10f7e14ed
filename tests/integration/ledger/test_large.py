"""One hundred thousand transactions, and what PostgreSQL plans for the app's role with row-level security on."""

from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from flask import Flask
from sqlalchemy import text

from app.core.extensions import db
from app.ledger.accounts import service as accounts
from app.ledger.accounts.models import Account
from app.ledger.transactions import service
from app.ledger.transactions.bulk import record_transactions
from app.ledger.transactions.errors import TransferNotFound
from app.ledger.transactions.models import TransactionSource
from app.ledger.transactions.repository import Filters
from app.ledger.upkeep.service import purge_deleted, reconcile
from app.unit_of_work import UnitOfWork
from tests.conftest import Database
from tests.explaining import sequential_scans
from tests.factories.ledger import bulk_rows, make_account, make_category, make_owner, uow_of

PEOPLE = 10
ROWS_EACH = 10_000
SORTS = ("-booked_on", "booked_on", "-amount", "amount")

Question = Callable[[], object]


@pytest.fixture
def account(committed: Flask, committed_rows: Database) -> Account:
    """One of ten accounts of different people; some rows are deleted, some pending."""
    made = [make_account(make_owner()) for _ in range(PEOPLE)]
    for one in made:
        owner = one.user_id
        record_transactions(uow_of(owner), owner_id=owner, rows=bulk_rows(one, ROWS_EACH))
    committed_rows.execute("UPDATE transactions SET deleted_at = now() WHERE amount_units % 5000 = 0")
    committed_rows.execute("UPDATE transactions SET pending = true WHERE amount_units % 7000 = 0")
    committed_rows.execute("ANALYZE")
    assert committed_rows.scalar("SELECT count(*) FROM transactions") == PEOPLE * ROWS_EACH
    return made[PEOPLE // 2]


def test_sums_pages_and_plans(account: Account) -> None:
    """One test, since filling the table takes its time."""
    sums_are_exact(account.user_id)
    for sort in SORTS:
        pages_make_the_list(account.user_id, sort)
    questions = {**lists(account), **sums(account), **changes(account)}
    scanned = {name: found for name, ask in questions.items() if (found := scans(ask))}
    assert scanned == {}
    # Otherwise the above would be content with anything.
    assert scans(in_block(account.user_id, lambda uow: uow._session.execute(text("SELECT FROM transactions"))))


def sums_are_exact(owner: UUID) -> None:
    """Number 102."""
    cents = [(number + 1) * (-1 if number % 5 else 1) for number in range(ROWS_EACH) if (number + 1) % 50]
    totals = service.summarise_transactions(uow_of(owner), owner_id=owner, by="account", filters=Filters())
    assert [(one.net, one.transactions) for one in totals] == [(Decimal(sum(cents)) / 100, len(cents))]


def pages_make_the_list(owner: UUID, sort: str) -> None:
    with uow_of(owner) as uow:
        whole = uow.transactions.list_all(uow.transactions._filtered(owner, Filters()).sort(sort))
    found: list[UUID] = []
    cursor = None
    while True:
        page = service.list_transactions(uow_of(owner), owner_id=owner, sort=sort, limit=200, cursor=cursor)
        found += [one.id for one in page.items]
        if (cursor := page.next_cursor) is None:
            break
    assert found == [one.id for one in whole]


def scans(ask: Question) -> list[str]:
    return sequential_scans(db.engine, "transactions", ask)


def in_block(owner: UUID, work: Callable[[UnitOfWork], object]) -> Question:
    """Work inside a unit of work that is not kept."""

    def ask() -> None:
        with uow_of(owner) as uow:
            work(uow)

    return ask


def lists(account: Account) -> dict[str, Question]:
    owner, category = account.user_id, make_category(account.user_id)

    def pages(sort: str = "-booked_on", **filters: Any) -> Question:
        def ask() -> None:
            cursor = None
            for _ in range(2):
                page = service.list_transactions(
                    uow_of(owner), owner_id=owner, filters=Filters(**filters), sort=sort, cursor=cursor
                )
                cursor = page.next_cursor

        return ask

    return {
        **{f"by {sort}": pages(sort) for sort in SORTS},
        "of an account": pages(account_id=account.id),
        "of an account by amount": pages("amount", account_id=account.id),
        "of a category": pages(category_id=category.id),
        "of a month": pages(booked_from=date(2024, 5, 1), booked_to=date(2024, 5, 31)),
        "of amounts": pages(min_amount="-5", max_amount="-4"),
        "of amounts by amount": pages("amount", min_amount="-5", max_amount="-4"),
        "with words": pages(text="purchase 77"),
        "pending": pages(pending=True),
        "accounts": lambda: accounts.list_accounts(uow_of(owner), owner_id=owner, include_recent=True),
    }


def sums(account: Account) -> dict[str, Question]:
    owner = account.user_id
    month = Filters(booked_from=date(2024, 5, 1), booked_to=date(2024, 5, 31))

    def totals(by: Any, filters: Filters | None) -> Question:
        return lambda: service.summarise_transactions(uow_of(owner), owner_id=owner, by=by, filters=filters)

    return {
        **{f"of a month by {by}": totals(by, month) for by in ("month", "category", "account")},
        "by month": totals("month", None),
        "of accounts": lambda: accounts.summarise_accounts(uow_of(owner), owner_id=owner),
        "reconcile": lambda: reconcile(UnitOfWork(everybody=True), at_once=3),
    }


def changes(account: Account) -> dict[str, Question]:
    owner = account.user_id
    some, ids = uuid4(), [uuid4() for _ in range(20)]

    def transfer(uow: UnitOfWork) -> None:
        with pytest.raises(TransferNotFound):
            uow.transactions.list_transfer(some, owner_id=owner)

    def bulk(uow: UnitOfWork) -> None:
        uow.transactions.staging().insert(
            owner_id=owner, first=0, last=9, source=TransactionSource.BANK, import_id=None
        )

    return {
        "find one": in_block(owner, lambda uow: uow.transactions.find(some)),
        "find accounts": in_block(owner, lambda uow: uow.transactions.accounts_of(ids, owner_id=owner)),
        "lock several": in_block(owner, lambda uow: uow.transactions.lock_several(ids, owner_id=owner)),
        "categorise": in_block(owner, lambda uow: uow.transactions.set_category(ids, None, owner_id=owner)),
        "transfer": in_block(owner, transfer),
        "insert many": in_block(owner, bulk),
        "delete an account": in_block(
            owner, lambda uow: uow.transactions.delete_of_account(account.id, owner_id=owner, batch=some)
        ),
        "restore an account": in_block(
            owner, lambda uow: uow.transactions.restore_of_account(account.id, owner_id=owner, batch=some)
        ),
        # As the cascades of foreign keys ask.
        **{
            f"rows of {column}": in_block(owner, lambda uow, column=column: _rows_of(uow, column, some))  # type: ignore[misc]
            for column in ("account_id", "user_id", "category_id", "import_id")
        },
        "purge": lambda: purge_deleted(UnitOfWork(everybody=True)),
    }


def _rows_of(uow: UnitOfWork, column: str, value: UUID) -> None:
    uow._session.execute(text(f"SELECT FROM transactions WHERE {column} = :value"), {"value": value})
