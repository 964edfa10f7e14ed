"""The ledger's speed, as ratios to limits that are measured in the same run: `python -m benchmarks.ledger`.

The server is an embedded PostgreSQL that keeps what it commits, as in production; the service runs as the app's role
with row-level security, audit rows and balances. What is compared runs in turns (A B A B), and medians count.
"""

import json
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import click
import psycopg

from app import create_app
from app.auth.registration.service import create_person
from app.core.config import ROOT, load_settings
from app.core.db import new_id
from app.ledger.accounts.models import Account, AccountType
from app.ledger.accounts.service import open_account
from app.ledger.categories.models import Category
from app.ledger.transactions.bulk import record_transactions
from app.ledger.transactions.service import list_transactions
from app.ledger.upkeep.service import reconcile
from app.unit_of_work import UnitOfWork
from dev.embedded import Postgres, provision, start_postgres, start_redis

ROUNDS = 7
ROWS = 10_000
FILLED = 110_000
DEPTH = 100_000
# A page takes some milliseconds: many short turns, so that what else the machine does meets both alike.
PAGE_ROUNDS = 150
RESULTS = ROOT / "var" / "benchmarks" / "ledger.json"
COLUMNS = (
    "id, user_id, account_id, category_id, amount, currency, description, merchant, booked_on, pending, source, "
    "external_id"
)
SHOPS = ("Supermarket", "Bakery", "Railway", "Café Zürich", "Bookshop", "Pharmacy", "Landlord", "Cinema")

Work = Callable[[], object]


@dataclass(frozen=True)
class Figure:
    """One comparison: medians in milliseconds, and their ratio."""

    name: str
    measured_ms: float
    limit_ms: float
    ratio: float
    target: float

    @property
    def reached(self) -> bool:
        """Whether the ratio is at most the target."""
        return self.ratio <= self.target


class Bench:
    """A person with a filled account, and another account that is filled and emptied."""

    def __init__(self, postgres: Postgres) -> None:
        self._superuser = postgres.connect("coffer")
        person = create_person(UnitOfWork(everybody=True), email="bench@example.org", password=secrets.token_hex(16))
        self.owner: UUID = person.id
        self.filled = self._account("Filled")
        self.emptied = self._account("Emptied")
        with UnitOfWork(everybody=True) as uow:
            session = uow._session  # noqa: SLF001  # categories for the rows, by the shortest way
            categories = [Category(user_id=self.owner, name=shop) for shop in SHOPS]
            session.add_all(categories)
            uow.commit()
        self._categories = [one.id for one in categories]

    def run(self) -> list[Figure]:
        """All comparisons."""
        self._insert(self._rows(self.filled, FILLED))
        self._settle()
        figures = [self._bulk(), *self._pages("-booked_on"), *self._pages("-amount")]
        if differences := reconcile(UnitOfWork(everybody=True)):
            raise click.ClickException(f"Balances are wrong: {differences}")
        return figures

    def _account(self, name: str) -> Account:
        return open_account(self._uow(), owner_id=self.owner, name=name, type=AccountType.CHECKING, currency="EUR")

    def _uow(self) -> UnitOfWork:
        return UnitOfWork(acting_for=self.owner)

    def _rows(self, account: Account, count: int) -> list[dict[str, Any]]:
        return [
            {
                "account_id": account.id,
                "category_id": self._categories[number % len(self._categories)],
                "amount": f"{-1 if number % 7 else 25}{number % 89}.{number % 100:02d}",
                "booked_on": date(2024, 1, 1) + timedelta(days=number % 730),
                "description": f"{SHOPS[number % len(SHOPS)]} purchase {number}",
                "merchant": SHOPS[number % len(SHOPS)],
                "external_id": f"bank-{number}",
            }
            for number in range(count)
        ]

    def _insert(self, rows: list[dict[str, Any]]) -> None:
        done = record_transactions(self._uow(), owner_id=self.owner, rows=rows)
        if len(done.ids) != len(rows):
            raise click.ClickException("Rows were rejected.")

    def _settle(self) -> None:
        self._superuser.execute("VACUUM (ANALYZE) transactions")
        self._superuser.execute("CHECKPOINT")

    def _bulk(self) -> Figure:
        rows = self._rows(self.emptied, ROWS)

        def empty() -> None:
            self._superuser.execute("DELETE FROM transactions WHERE account_id = %s", [self.emptied.id])
            self._superuser.execute("UPDATE accounts SET balance = 0 WHERE id = %s", [self.emptied.id])
            self._settle()

        def copy(data: bytes) -> Work:
            def work() -> None:
                with self._superuser.cursor().copy(f"COPY transactions ({COLUMNS}) FROM STDIN") as stream:
                    stream.write(data)

            return work

        figure = _compare(
            f"bulk insert of {ROWS:,} rows, over raw COPY",
            lambda: lambda: self._insert(rows),
            # Made into COPY's text beforehand: the limit is what the server alone needs.
            lambda: copy(self._as_copy(rows)),
            target=2.0,
            after=empty,
        )
        empty()
        return figure

    def _as_copy(self, rows: list[dict[str, Any]]) -> bytes:
        def line(row: dict[str, Any]) -> str:
            values = (
                new_id(),
                self.owner,
                row["account_id"],
                row["category_id"],
                row["amount"],
                "EUR",
                row["description"],
                row["merchant"],
                row["booked_on"],
                "f",
                "manual",
                row["external_id"],
            )
            return "\t".join(map(str, values)) + "\n"

        return "".join(map(line, rows)).encode()

    def _pages(self, sort: str) -> list[Figure]:
        def page(cursor: str | None, limit: int = 50) -> str | None:
            return list_transactions(
                self._uow(), owner_id=self.owner, sort=sort, limit=limit, cursor=cursor
            ).next_cursor

        deep = second = page(None)
        for _ in range(DEPTH // 200):
            deep = page(deep, 200)
        if deep is None:
            raise click.ClickException("The list ended too early.")

        def once(cursor: str | None) -> Callable[[], Work]:
            return lambda: lambda: page(cursor)

        def compare(name: str, nearer: str | None) -> Figure:
            title = f"page at {DEPTH:,} by {sort}, over the {name}"
            return _compare(title, once(deep), once(nearer), target=1.2, rounds=PAGE_ROUNDS)

        # The first page reads no cursor: beside the second, what is left is the depth.
        return [compare("first", None), compare("second", second)]


def _compare(
    name: str,
    measured: Callable[[], Work],
    limit: Callable[[], Work],
    *,
    target: float,
    rounds: int = ROUNDS,
    after: Work = lambda: None,
) -> Figure:
    """Run both in turns, once without looking, and then so many times."""
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds + 1):
        for prepare, taken in zip((measured, limit), times, strict=True):
            work = prepare()
            start = time.perf_counter()
            work()
            if number:
                taken.append((time.perf_counter() - start) * 1000)
            after()
    one, other = (statistics.median(taken) for taken in times)
    return Figure(name, round(one, 2), round(other, 2), round(one / other, 2), target)


@contextmanager
def _bench() -> Iterator[Bench]:
    with tempfile.TemporaryDirectory(prefix="coffer-bench-", ignore_cleanup_errors=True) as folder:
        # PostgreSQL does not run as root, and its own user has to get there.
        Path(folder).chmod(0o711)
        with start_postgres(Path(folder) / "postgres") as postgres, start_redis(Path(folder) / "redis") as redis:
            urls = provision(postgres)
            environment = {
                "COFFER_ENV": "test",
                "DATABASE_URL": urls.api,
                "DATABASE_OWNER_URL": urls.owner,
                "REDIS_URL": redis.url,
                "SECRET_KEY": secrets.token_urlsafe(32),
                "STORAGE_URL": "memory:///",
                "LOG_LEVEL": "error",
            }
            subprocess.run(
                [sys.executable, "-m", "flask", "--app", "wsgi", "db", "upgrade"],
                cwd=ROOT,
                env={**environment, "PATH": os.defpath},
                check=True,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            with create_app(load_settings(environment)).app_context():
                yield Bench(postgres)


def main() -> None:
    """Print the figures, and write them to var/benchmarks/ledger.json."""
    with _bench() as bench:
        figures = bench.run()
    click.echo(f"{'what':<48} {'measured':>10} {'limit':>10} {'ratio':>6} {'target':>6}")
    for one in figures:
        mark = "" if one.reached else "  missed"
        times = f"{one.measured_ms:>7.1f} ms {one.limit_ms:>7.1f} ms"
        click.echo(f"{one.name:<48} {times} {one.ratio:>6.2f} {one.target:>6.1f}{mark}")
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    shown = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "rounds": ROUNDS,
        "cpus": os.cpu_count(),
        "psycopg": psycopg.__version__,
        "figures": [asdict(one) for one in figures],
    }
    RESULTS.write_text(json.dumps(shown, indent=2) + "\n")


if __name__ == "__main__":
    main()
