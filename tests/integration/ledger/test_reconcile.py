"""The balance is the opening balance and all live, booked transactions, whatever happens and whoever is at it."""

import json
import random
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.core.errors import CofferError
from app.ledger.accounts import service as accounts
from app.ledger.accounts.models import Account
from app.ledger.transactions import service
from app.ledger.transactions.bulk import record_transactions
from app.ledger.transfers import service as transfers
from app.ledger.upkeep.service import reconcile
from app.unit_of_work import UnitOfWork
from tests.conftest import Database
from tests.factories.ledger import FIRST_DAY, balance_of, make_account, make_owner, make_transaction, uow_of
from tests.integration.test_concurrency import at_once

STEPS = (
    "record",
    "record",
    "bulk",
    "amount",
    "pending",
    "move",
    "delete",
    "restore",
    "transfer",
    "change_transfer",
    "delete_transfer",
    "delete_account",
    "restore_account",
)


class Life:
    """A person who does things with three accounts; what is refused is refused, and must leave nothing behind."""

    def __init__(self, owner: UUID, mine: list[Account]) -> None:
        self.owner = owner
        self.accounts = [one.id for one in mine]
        self.transactions: list[UUID] = []
        self.transfers: list[UUID] = []
        self.done = 0

    def step(self, kind: str, number: int) -> None:
        """Do one thing, with whatever the number points at."""
        try:
            getattr(self, f"_{kind}")(number)
            self.done += 1
        except CofferError:
            pass

    def _do(self, use_case: Callable[..., Any], **arguments: Any) -> Any:
        return use_case(uow_of(self.owner), owner_id=self.owner, **arguments)

    def _account(self, number: int) -> UUID:
        return self.accounts[number % len(self.accounts)]

    def _transaction(self, number: int) -> dict[str, UUID]:
        return (
            {"transaction_id": self.transactions[number % max(len(self.transactions), 1)]} if self.transactions else {}
        )

    def _row(self, number: int) -> dict[str, Any]:
        return {
            "account_id": self._account(number),
            "amount": Decimal(number % 1999 - 999) / 100,
            "booked_on": FIRST_DAY + timedelta(days=number % 400),
            "pending": number % 4 == 0,
        }

    def _record(self, number: int) -> None:
        self.transactions.append(self._do(service.record_transaction, **self._row(number)).id)

    def _bulk(self, number: int) -> None:
        rows = [self._row(number + other) | {"external_id": str(other % 5)} for other in range(7)]
        self.transactions += self._do(record_transactions, rows=rows, partial=True).ids

    def _change(self, number: int, **changes: Any) -> None:
        if which := self._transaction(number):
            self._do(service.change_transaction, **which, changes=changes)

    def _amount(self, number: int) -> None:
        self._change(number, amount=Decimal(number % 777 - 300))

    def _pending(self, number: int) -> None:
        self._change(number, pending=number % 2 == 0)

    def _move(self, number: int) -> None:
        self._change(number, account_id=self._account(number // 7), amount=Decimal(number % 55 - 20))

    def _delete(self, number: int) -> None:
        if which := self._transaction(number):
            self._do(service.delete_transaction, **which)

    def _restore(self, number: int) -> None:
        if which := self._transaction(number):
            self._do(service.restore_transaction, **which)

    def _transfer(self, number: int) -> None:
        made = self._do(
            transfers.record_transfer,
            from_account_id=self._account(number),
            to_account_id=self._account(number // 3),
            amount=number % 100,
            received=number % 90 if number % 2 else None,
            booked_on=FIRST_DAY,
            pending=number % 5 == 0,
        )
        self.transfers.append(made.id)
        self.transactions += [made.outgoing.id, made.incoming.id]

    def _change_transfer(self, number: int) -> None:
        if self.transfers:
            changes = {"amount": number % 60 + 1, "from_account_id": self._account(number // 5), "pending": False}
            which = self.transfers[number % len(self.transfers)]
            self._do(transfers.change_transfer, transfer_id=which, changes=changes)

    def _delete_transfer(self, number: int) -> None:
        if self.transfers:
            self._do(transfers.delete_transfer, transfer_id=self.transfers[number % len(self.transfers)])

    def _delete_account(self, number: int) -> None:
        # Rarely enough for the others to find something.
        if number % 3 == 0:
            self._do(accounts.delete_account, account_id=self._account(number))

    def _restore_account(self, number: int) -> None:
        for account_id in self.accounts:
            self._do(accounts.restore_account, account_id=account_id)


def new_life() -> Life:
    owner = make_owner()
    mine = [make_account(owner, opening_balance=10), make_account(owner), make_account(owner, currency="USD")]
    return Life(owner, mine)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 10_000)), min_size=5, max_size=40))
def test_whatever_happens_the_balances_are_right(app: Flask, steps: list[tuple[str, int]]) -> None:
    life = new_life()
    for kind, number in steps:
        life.step(kind, number)
    assert reconcile(UnitOfWork(everybody=True), at_once=2) == []


@pytest.mark.parametrize("seed", range(3))
def test_from_two_sessions_at_once_the_balances_are_right(committed: Flask, seed: int) -> None:
    life = new_life()
    for number in range(20):
        life.step("record", number * 37)
    before = life.done

    def live(own: int) -> Callable[[], None]:
        chance = random.Random(seed * 10 + own)  # noqa: S311  # repeatable, and guards nothing

        def run() -> None:
            for _ in range(60):
                life.step(chance.choice(STEPS), chance.randrange(10_000))

        return run

    at_once(committed, live(1), live(2))
    assert life.done > before + 40
    assert reconcile(UnitOfWork(everybody=True)) == []


def test_two_sessions_on_one_account_lose_nothing(committed: Flask) -> None:
    account = make_account(make_owner())

    def record(amount: int) -> Callable[[], None]:
        def run() -> None:
            for _ in range(25):
                make_transaction(account, amount)

        return run

    at_once(committed, record(1), record(100))
    assert balance_of(account) == 25 * 101
    assert reconcile(UnitOfWork(everybody=True)) == []


def test_two_transfers_in_opposite_directions_do_not_wait_in_a_circle(committed: Flask) -> None:
    owner = make_owner()
    one, other = make_account(owner), make_account(owner)

    def transfer(source: Account, target: Account, amount: int) -> Callable[[], None]:
        def run() -> None:
            for _ in range(25):
                transfers.record_transfer(
                    uow_of(owner),
                    owner_id=owner,
                    from_account_id=source.id,
                    to_account_id=target.id,
                    amount=amount,
                    booked_on=FIRST_DAY,
                )

        return run

    at_once(committed, transfer(one, other, 1), transfer(other, one, 10))
    assert (balance_of(one), balance_of(other)) == (225, -225)


def test_one_bank_s_id_from_two_sessions_is_recorded_once(committed: Flask) -> None:
    account = make_account(make_owner())
    rows = [
        {"account_id": account.id, "amount": "-1", "booked_on": FIRST_DAY, "external_id": str(number)}
        for number in range(200)
    ]

    def record(rows: list[dict[str, Any]]) -> Callable[[], int]:
        return lambda: len(
            record_transactions(uow_of(account.user_id), owner_id=account.user_id, rows=rows, partial=True).ids
        )

    assert sum(at_once(committed, record(rows), record(rows[::-1]))) == 200
    assert balance_of(account) == -200


def test_a_transaction_deleted_or_restored_twice_at_once_counts_once(committed: Flask) -> None:
    account = make_account(make_owner())
    owner = account.user_id
    row = make_transaction(account, "-10")
    make_transaction(account, "-1")

    def quietly(use_case: Callable[..., object]) -> Callable[[], None]:
        def run() -> None:
            with suppress(CofferError):
                use_case(uow_of(owner), owner_id=owner, transaction_id=row.id)

        return run

    for _ in range(5):
        at_once(committed, *[quietly(service.delete_transaction)] * 2)
        assert balance_of(account) == -1
        at_once(committed, *[quietly(service.restore_transaction)] * 2)
        assert balance_of(account) == -11


def test_the_command_tells_differences_and_fails(app: Flask, account: Account, database: Database) -> None:
    make_transaction(account, "-12.34")
    run = app.test_cli_runner().invoke
    right = run(args=["ledger", "reconcile"])
    assert (right.exit_code, right.output) == (0, "Differences: 0.\n")
    database.execute("UPDATE accounts SET balance = 1 WHERE id = :id", id=account.id)
    wrong = run(args=["ledger", "reconcile", "--json"])
    assert wrong.exit_code == 1
    assert json.loads(wrong.output) == {
        "differences": [
            {
                "account_id": str(account.id),
                "user_id": str(account.user_id),
                "currency": "EUR",
                "balance": "1.00",
                "expected": "-12.34",
            }
        ]
    }
    shown = run(args=["ledger", "reconcile"]).output
    assert shown == f"{account.id}: the balance is 1.00 EUR, expected -12.34.\nDifferences: 1.\n"
