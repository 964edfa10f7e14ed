"""Many rows at once: COPY into a table of this transaction alone, and from there into the real one.

PostgreSQL refuses COPY into a table with row-level security; the INSERT … SELECT is held by its policies.
"""

from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

from psycopg import Connection
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.ledger.transactions.models import TransactionSource


class StagedRow(NamedTuple):
    """A row that was checked, and its place in what the caller sent."""

    position: int
    id: UUID
    account_id: UUID
    category_id: UUID | None
    amount: Decimal
    currency: str
    description: str
    merchant: str | None
    notes: str | None
    booked_on: date
    pending: bool
    external_id: str | None


_TYPES = ("int4", "uuid", "uuid", "uuid", "numeric", "text", "text", "text", "text", "date", "bool", "text")
_MAKE = text(
    "CREATE TEMPORARY TABLE IF NOT EXISTS staged_transactions ("
    + ", ".join(f"{name} {kind}" for name, kind in zip(StagedRow._fields, _TYPES, strict=True))
    + ") ON COMMIT DROP"
)
_EMPTY = text("TRUNCATE pg_temp.staged_transactions")
_COPY = f"COPY pg_temp.staged_transactions ({', '.join(StagedRow._fields)}) FROM STDIN (FORMAT BINARY)"
_COLUMNS = ", ".join(StagedRow._fields[1:])
_INSERT = text(
    f"""
    WITH added AS (
        INSERT INTO transactions (user_id, source, import_id, {_COLUMNS})
        SELECT :owner_id, CAST(:source AS transaction_source), :import_id, {_COLUMNS}
        FROM pg_temp.staged_transactions WHERE position BETWEEN :first AND :last
        ON CONFLICT (account_id, external_id) WHERE external_id IS NOT NULL AND deleted_at IS NULL DO NOTHING
        RETURNING id
    )
    SELECT position FROM pg_temp.staged_transactions staged
    WHERE position BETWEEN :first AND :last AND NOT EXISTS (SELECT FROM added WHERE added.id = staged.id)
    ORDER BY position
    """  # noqa: S608  # made of the names above
)


class Staging:
    """The table for one bulk insert; it goes with the transaction."""

    def __init__(self, session: Session) -> None:
        self._session = session
        session.execute(_MAKE)
        session.execute(_EMPTY)

    def load(self, rows: Iterable[StagedRow]) -> None:
        """Put rows there; nobody else sees or waits for them."""
        driver = self._session.connection().connection.driver_connection
        assert isinstance(driver, Connection)  # noqa: S101  # narrows what SQLAlchemy knows as any driver's
        with driver.cursor() as cursor, cursor.copy(_COPY) as copy:
            copy.set_types(_TYPES)
            for row in rows:
                copy.write_row(row)

    def insert(
        self, *, owner_id: UUID, first: int, last: int, source: TransactionSource, import_id: UUID | None
    ) -> list[int]:
        """Insert the rows of these positions; returns those that the account has already, by their external id."""
        values = {
            "owner_id": owner_id,
            "source": source.value,
            "import_id": import_id,
            "first": first,
            "last": last,
        }
        return list(self._session.scalars(_INSERT, values))
