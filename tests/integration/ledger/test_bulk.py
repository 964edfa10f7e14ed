"""Many transactions at once."""

from typing import Any
from uuid import UUID, uuid4

import pytest

from app.ledger.accounts import service as accounts
from app.ledger.accounts.models import Account
from app.ledger.transactions import bulk, service
from app.ledger.transactions.bulk import BulkResult, record_transactions
from app.ledger.transactions.errors import BulkRejected
from app.ledger.transactions.models import TransactionSource
from app.ledger.upkeep.service import reconcile
from app.unit_of_work import UnitOfWork
from tests.conftest import Database
from tests.counting import Counter
from tests.factories.ledger import (
    FIRST_DAY,
    balance_of,
    bulk_rows,
    make_account,
    make_category,
    make_owner,
    make_transaction,
    uow_of,
)


def record(account: Account, rows: Any, **options: Any) -> BulkResult:
    return record_transactions(uow_of(account.user_id), owner_id=account.user_id, rows=rows, **options)


def row(account: Account, **changes: Any) -> dict[str, Any]:
    return {"account_id": account.id, "amount": "-1.00", "booked_on": FIRST_DAY} | changes


def test_many_rows_cost_few_statements_and_one_update_of_each_balance(
    owner: UUID, account: Account, counter: Counter, database: Database
) -> None:
    other = make_account(owner, currency="JPY")
    rows = bulk_rows(account, 300) + [row(other, amount="-100")] * 2 + [row(account, amount="-9", pending=True)]
    with counter() as statements:
        done = record(account, rows, source=TransactionSource.IMPORT)
    assert (len(done.ids), done.rejected) == (303, [])
    assert len([one for one in statements.texts if one.startswith("UPDATE accounts")]) <= 2
    assert len(statements) <= 12
    assert balance_of(account) == sum(one["amount"] for one in rows[:300])
    assert balance_of(other) == -200
    in_order = "SELECT array_agg(id ORDER BY booked_on, amount DESC) FROM transactions WHERE source = 'import'"
    assert set(database.scalar(in_order)) == set(done.ids)
    assert database.scalar("SELECT count(*) FROM audit_logs WHERE action = 'transactions.recorded'") == 2
    assert reconcile(UnitOfWork(everybody=True)) == []


def test_every_field_arrives(owner: UUID, account: Account) -> None:
    food = make_category(owner)
    texts = {"description": 'Tab\t"quotes" \\N ünï', "merchant": "", "notes": "a\nb", "external_id": "x,y"}
    done = record(account, [row(account, category_id=food.id, pending=True, **texts), row(account)])
    first, second = (service.get_transaction(uow_of(owner), owner_id=owner, transaction_id=one) for one in done.ids)
    assert {name: getattr(first, name) for name in texts} == texts
    assert (first.category_id, first.pending, first.currency, first.booked_on) == (food.id, True, "EUR", FIRST_DAY)
    assert (second.description, second.merchant, second.pending, second.source) == ("", None, False, "manual")


def test_rows_that_are_not_valid_are_told_and_the_others_kept(owner: UUID, account: Account) -> None:
    make_transaction(account, "-1", external_id="known")
    theirs = make_account(make_owner())
    their_category = make_category(theirs.user_id)
    rows = [
        row(account),
        row(account, amount="0"),
        row(account, amount=0.1),
        row(account, amount="1.234"),
        row(account, booked_on="2024-01-01"),
        row(theirs),
        row(account, account_id=uuid4()),
        row(account, account_id="1"),
        row(account, category_id=their_category.id),
        row(account, category_id=uuid4()),
        row(account, user_id=theirs.user_id),
        {"account_id": account.id},
        row(account, external_id="known"),
        row(account, external_id="new"),
        row(account, external_id="new"),
        row(account, description="a\0"),
        row(account, notes="x" * 2001),
        row(account),
    ]
    with pytest.raises(BulkRejected) as refusal:
        record(account, rows[:12])
    assert list(refusal.value.errors or {}) == [str(number) for number in range(1, 12)]
    with pytest.raises(BulkRejected) as refusal:
        record(account, rows[12:15])
    assert [one.index for one in refusal.value.rejected] == [0, 2]
    assert balance_of(account) == -1

    done = record(account, rows, partial=True)
    reasons = {one.index: (one.code, list(one.errors)) for one in done.rejected}
    assert reasons == {
        1: ("invalid_amount", ["amount"]),
        2: ("invalid_amount", ["amount"]),
        3: ("invalid_amount", ["amount"]),
        4: ("invalid_fields", ["booked_on"]),
        5: ("invalid_fields", ["account_id"]),
        6: ("invalid_fields", ["account_id"]),
        7: ("invalid_fields", ["account_id"]),
        8: ("category_unusable", ["category_id"]),
        9: ("category_unusable", ["category_id"]),
        10: ("invalid_fields", ["user_id"]),
        11: ("invalid_fields", ["amount", "booked_on"]),
        12: ("external_id_taken", ["external_id"]),
        14: ("external_id_taken", ["external_id"]),
        15: ("invalid_fields", ["description"]),
        16: ("invalid_fields", ["notes"]),
    }
    assert len(done.ids) == 3
    assert balance_of(account) == -4
    assert done.rejected[4].errors == done.rejected[5].errors
    assert reconcile(UnitOfWork(everybody=True)) == []


def test_nothing_to_record_is_no_error(account: Account) -> None:
    assert record(account, []) == BulkResult([], [])
    assert record(account, [row(account, amount="x")], partial=True).ids == []


def test_a_large_insert_is_done_in_batches_that_are_told(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "BATCH", 40)
    told: list[tuple[int, int]] = []
    rows = [row(account, external_id=str(number % 90)) for number in range(100)]
    done = record(account, rows, partial=True, progress=lambda *so_far: told.append(so_far))
    assert told == [(40, 100), (80, 100), (100, 100)]
    assert (len(done.ids), [one.index for one in done.rejected]) == (90, list(range(90, 100)))
    assert balance_of(account) == -90


def test_rows_of_a_deleted_account_are_refused(account: Account) -> None:
    accounts.delete_account(uow_of(account.user_id), owner_id=account.user_id, account_id=account.id)
    with pytest.raises(BulkRejected):
        record(account, [row(account)])
