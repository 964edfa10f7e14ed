"""Many transactions at once."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

from app.core.db import new_id
from app.core.errors import Invalid
from app.ledger.budgets.alerts import record_crossings
from app.ledger.errors import FieldsInvalid
from app.ledger.owned import once_more
from app.ledger.transactions.checks import checked
from app.ledger.transactions.errors import BulkRejected, CategoryUnusable, ExternalIdTaken
from app.ledger.transactions.models import TransactionSource
from app.ledger.transactions.staging import StagedRow
from app.unit_of_work import UnitOfWork

# Rows for one INSERT: enough to be fast, and far from the statement timeout.
BATCH = 10_000
# How many refusals the error of an insert that was refused as a whole names.
MOST_NAMED = 100

_REQUIRED = ("account_id", "amount", "booked_on")
_OPTIONAL: dict[str, Any] = {
    "category_id": None,
    "description": "",
    "merchant": None,
    "notes": None,
    "pending": False,
    "external_id": None,
}
_FIELDS = {*_REQUIRED, *_OPTIONAL}

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row that was not kept, by its place in what was sent, and why."""

    index: int
    code: str
    errors: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class BulkResult:
    """What came of a bulk insert. `ids` are those of the rows that were kept, in the order in which they were sent."""

    ids: Sequence[UUID]
    rejected: Sequence[Rejected]


@dataclass(frozen=True, slots=True)
class _Known:
    """What of the person's the rows may point at."""

    currencies: Mapping[UUID, str]
    categories: set[UUID]


@once_more
def record_transactions(
    uow: UnitOfWork,
    *,
    owner_id: UUID,
    rows: Sequence[Mapping[str, Any]],
    partial: bool = False,
    source: TransactionSource = TransactionSource.MANUAL,
    import_id: UUID | None = None,
    progress: Progress | None = None,
) -> BulkResult:
    """Record many transactions in one database transaction; each row has the fields of `record_transaction`.

    With `partial` the rows that are not valid are left out and told; else they are refused all together: BulkRejected.
    `progress` hears how many rows of how many are done, after each batch.
    """
    with uow:
        known = _known(uow, owner_id, rows)
        staged, rejected = _check(rows, known)
        _refuse_unless(partial, rejected)
        staging = uow.transactions.staging()
        staging.load(staged)
        # Locked only now: what came before has not kept anybody waiting.
        accounts = uow.accounts.lock({one.account_id for one in staged}, owner_id=owner_id)
        for first in range(0, len(rows), BATCH):
            last = min(first + BATCH, len(rows)) - 1
            taken = staging.insert(owner_id=owner_id, first=first, last=last, source=source, import_id=import_id)
            rejected += [Rejected(index, ExternalIdTaken.code, {"external_id": ["Known already."]}) for index in taken]
            if progress:
                progress(last + 1, len(rows))
        _refuse_unless(partial, rejected)
        lost = {one.index for one in rejected}
        kept = [one for one in staged if one.position not in lost]
        for account_id, (count, amount) in _sums(kept).items():
            accounts[account_id].move(amount)
            uow.audit.record("transactions.recorded", accounts[account_id], count=count, booked=str(amount))
        uow.flush()
        if categories := {one.category_id for one in kept if one.category_id}:
            record_crossings(uow, owner_id=owner_id, category_ids=categories, since=min(one.booked_on for one in kept))
        uow.commit()
    return BulkResult([one.id for one in kept], _in_order(rejected))


def _known(uow: UnitOfWork, owner_id: UUID, rows: Sequence[Mapping[str, Any]]) -> _Known:
    def ids(name: str) -> set[UUID]:
        return {value for row in rows if isinstance(value := row.get(name), UUID)}

    categories = ids("category_id")
    return _Known(
        currencies=uow.accounts.currencies(ids("account_id"), owner_id=owner_id),
        categories=uow.transactions.usable_categories(categories, owner_id=owner_id) if categories else set(),
    )


def _check(rows: Sequence[Mapping[str, Any]], known: _Known) -> tuple[list[StagedRow], list[Rejected]]:
    staged: list[StagedRow] = []
    rejected: list[Rejected] = []
    for position, row in enumerate(rows):
        try:
            staged.append(_staged(position, row, known))
        except (Invalid, CategoryUnusable) as refusal:
            rejected.append(Rejected(position, refusal.code, dict(refusal.errors or {})))
    return staged, rejected


def _staged(position: int, row: Mapping[str, Any], known: _Known) -> StagedRow:
    if not row.keys() <= _FIELDS or any(name not in row for name in _REQUIRED):
        odd = {name: ["Unknown field."] for name in row if name not in _FIELDS}
        missing = {name: ["Missing."] for name in _REQUIRED if name not in row}
        raise FieldsInvalid(errors={**odd, **missing})
    account_id = row["account_id"]
    currency = known.currencies.get(account_id) if isinstance(account_id, UUID) else None
    if currency is None:
        raise FieldsInvalid(errors={"account_id": ["There is no such account."]})
    fields = _OPTIONAL | checked(row, currency)
    if fields["category_id"] is not None and fields["category_id"] not in known.categories:
        raise CategoryUnusable(errors={"category_id": ["There is no such category."]})
    return StagedRow(position=position, id=new_id(), currency=currency, **fields)


def _refuse_unless(partial: bool, rejected: Sequence[Rejected]) -> None:  # noqa: FBT001  # reads as a sentence
    if rejected and not partial:
        named = _in_order(rejected)[:MOST_NAMED]
        raise BulkRejected(_in_order(rejected), errors={str(one.index): one.errors for one in named})


def _in_order(rejected: Sequence[Rejected]) -> list[Rejected]:
    return sorted(rejected, key=lambda one: one.index)


def _sums(rows: Sequence[StagedRow]) -> dict[UUID, tuple[int, Decimal]]:
    """Of each account, how many rows there are and the sum of the booked ones."""
    counts: Counter[UUID] = Counter(one.account_id for one in rows)
    booked: dict[UUID, Decimal] = defaultdict(Decimal)
    for one in rows:
        if not one.pending:
            booked[one.account_id] += one.amount
    return {account_id: (count, booked[account_id]) for account_id, count in counts.items()}
