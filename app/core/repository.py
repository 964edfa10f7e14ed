"""The generic repository: what every feature's repository can do with its rows, and its form over SQLAlchemy."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import InstrumentedAttribute, Session
from sqlalchemy.sql.base import ExecutableOption

from app.core.db import Base
from app.core.errors import NotFound
from app.core.pages import USUAL_PER_PAGE, Cursors, NumberedPage, Page
from app.core.query import Query

Row = TypeVar("Row", bound=Base)


class RepositoryProtocol(Protocol[Row]):
    """What a service may ask of the rows of one model, wherever they are kept (`tests/contract` says it in full)."""

    def find(self, row_id: UUID, *, include_deleted: bool = False) -> Row | None:
        """The row with this id, or None."""

    def get(self, row_id: UUID, *, include_deleted: bool = False) -> Row:
        """The row with this id. Raises NotFound."""

    def get_for_update(self, row_id: UUID, *, include_deleted: bool = False) -> Row:
        """The row as of now, locked to the end of the transaction. Raises NotFound."""

    def query(self) -> Query[Row]:
        """A question over the fields that callers may use."""

    def list_all(self, query: Query[Row], *, limit: int | None = None) -> Sequence[Row]:
        """The rows that a query asks for, or the first few."""

    def count(self, query: Query[Row]) -> int:
        """How many rows a query asks for."""

    def list_page(
        self, query: Query[Row], cursors: Cursors, *, limit: int = USUAL_PER_PAGE, cursor: str | None = None
    ) -> Page[Row]:
        """The rows after a cursor. Raises CursorInvalid."""

    def list_numbered(self, query: Query[Row], *, page: int = 1, per_page: int = USUAL_PER_PAGE) -> NumberedPage[Row]:
        """The rows of a page by its number, with the total."""

    def add(self, row: Row) -> Row:
        """Insert this row now. Raises Conflict or Invalid."""

    def add_all(self, rows: Iterable[Row]) -> None:
        """Insert these rows now."""

    def update(self, row: Row, changes: Mapping[str, Any]) -> Row:
        """Change these columns of the row now. Raises Conflict or Invalid."""

    def remove(self, row: Row) -> None:
        """Delete this row now, for good."""


class Repository(Generic[Row]):
    """Rows of one model in one transaction; a feature's repository adds the questions it asks.

    `get_...` raises, `find_...` may return None, `list_...` returns many. Rows that were deleted softly are left out
    unless `include_deleted` asks for them.
    """

    model: type[Row]
    # What a missing row is called.
    not_found: type[NotFound] = NotFound
    # What callers may filter and sort by.
    fields: Mapping[str, InstrumentedAttribute[Any]] = {}

    def __init__(self, session: Session) -> None:
        self._session = session

    def find(
        self, row_id: UUID, *, options: Sequence[ExecutableOption] = (), include_deleted: bool = False
    ) -> Row | None:
        """The row with this id, or None."""
        statement = select(self.model).where(self.model.id == row_id).options(*options)
        return self._session.scalar(statement, execution_options={"include_deleted": include_deleted})

    def get(self, row_id: UUID, *, options: Sequence[ExecutableOption] = (), include_deleted: bool = False) -> Row:
        """The row with this id. Raises `not_found`."""
        found = self.find(row_id, options=options, include_deleted=include_deleted)
        if found is None:
            raise self.not_found
        return found

    def get_for_update(self, row_id: UUID, *, include_deleted: bool = False) -> Row:
        """The row as of now, locked to the end of the transaction. Raises `not_found`."""
        statement = select(self.model).where(self.model.id == row_id).with_for_update()
        execution = {"include_deleted": include_deleted, "populate_existing": True}
        found = self._session.scalar(statement, execution_options=execution)
        if found is None:
            raise self.not_found
        return found

    def query(self) -> Query[Row]:
        """A question over the fields that callers may use."""
        return Query(self.model, self.fields)

    def list_all(self, query: Query[Row], *, limit: int | None = None) -> Sequence[Row]:
        """The rows that a query asks for, or the first few."""
        return query.rows(self._session, limit=limit)

    def count(self, query: Query[Row]) -> int:
        """How many rows a query asks for."""
        return query.count(self._session)

    def list_page(
        self, query: Query[Row], cursors: Cursors, *, limit: int = USUAL_PER_PAGE, cursor: str | None = None
    ) -> Page[Row]:
        """The rows after a cursor. Raises CursorInvalid."""
        return query.page(self._session, cursors, limit=limit, cursor=cursor)

    def list_numbered(self, query: Query[Row], *, page: int = 1, per_page: int = USUAL_PER_PAGE) -> NumberedPage[Row]:
        """The rows of a page by its number, with the total."""
        return query.numbered_page(self._session, page=page, per_page=per_page)

    def add(self, row: Row) -> Row:
        """Insert this row now, so that a broken constraint shows here and not at the commit."""
        self._session.add(row)
        self._session.flush()
        return row

    def add_all(self, rows: Iterable[Row]) -> None:
        """Insert these rows now, in few statements."""
        self._session.add_all(rows)
        self._session.flush()

    def update(self, row: Row, changes: Mapping[str, Any]) -> Row:
        """Change these columns of the row now."""
        for name, value in changes.items():
            setattr(row, name, value)
        self._session.flush()
        return row

    def remove(self, row: Row) -> None:
        """Delete this row now, for good."""
        self._session.delete(row)
        self._session.flush()
