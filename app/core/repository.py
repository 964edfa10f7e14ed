"""The generic repository: what every feature's repository can do with its rows."""

from typing import Generic, TypeVar
from uuid import UUID

from sqlalchemy.orm import Session

from app.core.db import Base

Row = TypeVar("Row", bound=Base)


class Repository(Generic[Row]):
    """Rows of one model in one transaction; a feature's repository adds the questions it asks."""

    model: type[Row]

    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, row: Row) -> Row:
        """Insert this row now, so that a broken constraint shows here and not at the commit."""
        self._session.add(row)
        self._session.flush()
        return row

    def find(self, row_id: UUID) -> Row | None:
        """The row with this id, or None."""
        return self._session.get(self.model, row_id)

    def remove(self, row: Row) -> None:
        """Delete this row now."""
        self._session.delete(row)
        self._session.flush()
