"""Budget progress over 100,000 transactions, and a merge of 10,000, each beside the bare SQL.

    python -m benchmarks.budgets

Both sides run as the role of the API, under row-level security, interleaved; the figures are medians.
"""

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
from sqlalchemy import event

from app import create_app
from app.core.config import ROOT, load_settings
from app.core.db import new_id
from app.core.extensions import db
from app.ledger.accounts import service as accounts
from app.ledger.accounts.models import AccountType
from app.ledger.budgets import service as budgets
from app.ledger.budgets.models import BudgetPeriod, BudgetRollover
from app.ledger.categories import merges
from app.ledger.categories import service as categories
from app.ledger.categories.defaults import ensure_system_categories
from app.people.models import User
from app.unit_of_work import UnitOfWork
from dev.embedded import Postgres, Redis, provision

ROUNDS = 15
BUDGETS = 50
TRANSACTIONS = 100_000
OTHER_PEOPLE = 4
MERGED = 10_000
DAYS = 730
LAST_DAY = date(2026, 6, 30)

COPY = (
    "COPY transactions "
    "(id, user_id, account_id, category_id, amount, currency, description, booked_on, pending, source) FROM STDIN"
)
ACT_FOR = "SELECT set_config('app.user_id', %s, true)"
BARE_UPDATE = "UPDATE transactions SET category_id = %s, updated_at = now() WHERE user_id = %s AND category_id = %s"

Times = dict[str, list[float]]


@contextmanager
def database() -> Iterator[tuple[dict[str, str], Postgres]]:
    """A database that the migrations made, and the settings to use it."""
    with (
        tempfile.TemporaryDirectory(prefix="coffer-benchmark-") as folder,
        Postgres(Path(folder) / "postgres") as postgres,
        Redis(Path(folder) / "redis") as redis,
    ):
        urls = provision(postgres)
        settings = {
            "COFFER_ENV": "test",
            "DATABASE_URL": urls.api,
            "DATABASE_OWNER_URL": urls.owner,
            "REDIS_URL": redis.database_url(0),
            "SECRET_KEY": "Yx3-nC8rQw5ZtLb6VmKe9HjP2sDfUa7G",
            "STORAGE_URL": "memory:///",
            "LOG_LEVEL": "error",
        }
        command = [sys.executable, "-m", "flask", "--app", "wsgi", "db", "upgrade"]
        subprocess.run(command, cwd=ROOT, env=os.environ | settings, check=True, capture_output=True)  # noqa: S603
        yield settings, postgres


def fill(postgres: Postgres) -> UUID:
    """Several people with transactions on the system's categories; returns the one who is measured."""
    chance = random.Random(1)  # noqa: S311  # the same data each time
    ensure_system_categories(UnitOfWork(everybody=True))
    with UnitOfWork(everybody=True) as uow:
        known = [one.id for one in uow.categories.list_system_categories()]
    people = [_person() for _ in range(1 + OTHER_PEOPLE)]
    with postgres.connect("coffer") as connection:
        for person in people:
            account_id = _account(person)
            count = TRANSACTIONS if person == people[0] else TRANSACTIONS // OTHER_PEOPLE
            with connection.cursor().copy(COPY) as copy:
                for _ in range(count):
                    copy.write_row(_row(person, account_id, chance.choice(known), chance))
    for number in range(BUDGETS):
        budgets.create_budget(
            UnitOfWork(acting_for=people[0]),
            owner_id=people[0],
            category_id=chance.choice(known),
            name=f"Budget {number}",
            amount=1000,
            currency="EUR",
            period=list(BudgetPeriod)[number % 5],
            starts_on=LAST_DAY - timedelta(days=DAYS),
            rollover=list(BudgetRollover)[number % 4],
            alert_thresholds=[],
        )
    return people[0]


def _person() -> UUID:
    with UnitOfWork(everybody=True) as uow:
        user = uow.users.add(User(email=f"{new_id().hex}@example.org"))
        uow.commit()
    return user.id


def _account(owner_id: UUID) -> UUID:
    uow = UnitOfWork(acting_for=owner_id)
    return accounts.open_account(uow, owner_id=owner_id, name="Giro", type=AccountType.CHECKING, currency="EUR").id


def _row(owner_id: UUID, account_id: UUID, category_id: UUID, chance: random.Random) -> tuple[Any, ...]:
    booked_on = LAST_DAY - timedelta(days=chance.randrange(DAYS))
    cents = chance.randint(-9999, -1)
    return (
        new_id(), owner_id, account_id, category_id, f"{cents / 100:.2f}", "EUR", "Purchase", booked_on,
        chance.random() < 0.02, "manual",  # noqa: PLR2004  # a few are pending
    )  # fmt: skip


def timed(times: Times, name: str, work: Callable[[], Any]) -> Any:
    """Do it, and note how many milliseconds it took."""
    start = time.perf_counter()
    answer = work()
    times.setdefault(name, []).append((time.perf_counter() - start) * 1000)
    return answer


def measure_progress(owner_id: UUID, bare: psycopg.Connection) -> Times:
    """The use case, its one statement over transactions through the repository, and that statement bare."""
    times: Times = {}

    def whole() -> list[Any]:
        return budgets.budget_progress(UnitOfWork(acting_for=owner_id), owner_id=owner_id, on=LAST_DAY)

    statement, parameters = _statement_of(whole)

    def plain() -> int:
        bare.execute(ACT_FOR, [str(owner_id)])
        found = len(bare.execute(statement, parameters).fetchall())
        bare.rollback()
        return found

    for number in range(ROUNDS + 1):
        into = times if number else {}
        standings = timed(into, "progress of 50 budgets", whole)
        rows = timed(into, "the same statement, bare", plain)
        if len(standings) != BUDGETS or rows < BUDGETS:
            raise AssertionError("the two do not ask the same")
    return times


def _statement_of(work: Callable[[], Any]) -> tuple[Any, Any]:
    asked: list[tuple[str, Any]] = []

    def note(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        asked.append((statement, parameters))

    event.listen(db.engine, "before_cursor_execute", note)
    work()
    event.remove(db.engine, "before_cursor_execute", note)
    (found,) = (one for one in asked if "FROM transactions" in one[0])
    return found


def measure_merge(owner_id: UUID, bare: psycopg.Connection, postgres: Postgres) -> Times:
    """The merge, its undoing, and a bare UPDATE of the same rows."""
    times: Times = {}
    uow = UnitOfWork(acting_for=owner_id)
    source, target = (categories.create_category(uow, owner_id=owner_id, name=name).id for name in ("From", "To"))
    chance = random.Random(2)  # noqa: S311  # the same data each time
    account_id = _account(owner_id)
    with postgres.connect("coffer") as connection, connection.cursor().copy(COPY) as copy:
        for _ in range(MERGED):
            copy.write_row(_row(owner_id, account_id, source, chance))

    def merge() -> merges.Merge:
        return merges.merge_categories(uow, owner_id=owner_id, source_id=source, target_id=target)

    def plain(old: UUID, new: UUID) -> int:
        bare.execute(ACT_FOR, [str(owner_id)])
        count = bare.execute(BARE_UPDATE, [new, owner_id, old]).rowcount
        bare.commit()
        return count

    for number in range(ROUNDS + 1):
        into = times if number else {}
        merged = timed(into, "merge of 10,000", merge)
        timed(
            into,
            "undoing it",
            partial(merges.undo_merge, uow, owner_id=owner_id, audit_id=merged.audit_id),
        )
        moved = timed(into, "a bare UPDATE of them", lambda: plain(source, target))
        plain(target, source)
        if merged.transactions != MERGED or moved != MERGED:
            raise AssertionError("the two do not move the same")
        with postgres.connect("coffer") as connection:
            connection.execute("VACUUM ANALYZE transactions")
    return times


def report(times: Times, limits: dict[str, str]) -> dict[str, dict[str, float]]:
    """Print each median and its ratio to its limit."""
    medians = {name: statistics.median(values) for name, values in times.items()}
    figures = {}
    for name, median in medians.items():
        figures[name] = {"median_ms": round(median, 2), "least_ms": round(min(times[name]), 2)}
        if name in limits:
            figures[name]["ratio"] = round(median / medians[limits[name]], 3)
        ratio = f"{figures[name]['ratio']:8.2f} of {limits[name]!r}" if name in limits else ""
        sys.stdout.write(f"{name:28}{median:10.1f} ms{ratio}\n")
    return figures


def main() -> None:
    """Measure, print and keep."""
    with database() as (settings, postgres):
        app = create_app(load_settings(settings))
        with app.app_context():
            owner_id = fill(postgres)
            with postgres.connect("coffer") as connection:
                connection.execute("VACUUM ANALYZE")
            url = settings["DATABASE_URL"].replace("postgresql+psycopg://", "postgresql://", 1)
            with psycopg.connect(url) as bare:
                times = measure_progress(owner_id, bare) | measure_merge(owner_id, bare, postgres)
            db.engine.dispose()
    limits = {
        "progress of 50 budgets": "the same statement, bare",
        "merge of 10,000": "a bare UPDATE of them",
        "undoing it": "a bare UPDATE of them",
    }
    figures = report(times, limits)
    folder = ROOT / "var" / "benchmarks"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "budgets.json").write_text(json.dumps({"rounds": ROUNDS, "figures": figures}, indent=2) + "\n")


if __name__ == "__main__":
    main()
