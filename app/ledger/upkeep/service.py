"""What keeps the ledger in order, over everybody's rows: use it with `UnitOfWork(everybody=True)`."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from app.ledger.accounts.repository import Difference
from app.ledger.owned import RESTORABLE_FOR
from app.unit_of_work import UnitOfWork

ACCOUNTS_AT_ONCE = 500
ROWS_AT_ONCE = 5_000


class Purged(NamedTuple):
    """How much was deleted for good."""

    transactions: int
    accounts: int


def reconcile(uow: UnitOfWork, *, at_once: int = ACCOUNTS_AT_ONCE) -> Sequence[Difference]:
    """Every balance that is not its opening balance and the live, booked transactions; none is how it should be."""
    differences: list[Difference] = []
    after = None
    while True:
        # A transaction for each batch, so that a long run holds no old snapshot.
        with uow:
            wrong, after = uow.accounts.list_differences(after=after, limit=at_once)
        differences += wrong
        if after is None:
            return differences


def purge_deleted(uow: UnitOfWork, *, at_once: int = ROWS_AT_ONCE) -> Purged:
    """Delete for good what was deleted longer ago than it could be restored; each batch is a transaction."""
    transactions = _in_batches(uow, lambda: uow.transactions.purge(older_than=RESTORABLE_FOR, limit=at_once), at_once)
    accounts = _in_batches(uow, lambda: uow.accounts.purge(older_than=RESTORABLE_FOR, limit=at_once), at_once)
    return Purged(transactions, accounts)


def _in_batches(uow: UnitOfWork, purge: Callable[[], int], at_once: int) -> int:
    total = 0
    while True:
        with uow:
            count = purge()
            if count:
                uow.audit.record("ledger.purged", count=count)
            uow.commit()
        total += count
        if count < at_once:
            return total
