"""A list that a caller may filter, sort and page: only by fields that the list names, never by SQL of theirs."""

import hashlib
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, Literal, TypeVar, cast

from sqlalchemy import ColumnElement, Select, and_, func, or_, select, true, tuple_
from sqlalchemy.orm import InstrumentedAttribute, Session
from sqlalchemy.sql.base import ExecutableOption

from app.core.db import Base
from app.core.errors import Invalid
from app.core.pages import MOST_PER_PAGE, USUAL_PER_PAGE, Cursors, NumberedPage, Page

Row = TypeVar("Row", bound=Base)
Operator = Literal["eq", "ne", "lt", "le", "gt", "ge", "in"]

_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
    "in": lambda column, values: column.in_(list(values)),
}


class UnknownField(Invalid):
    """A list was asked to filter or sort by what it does not have."""

    code = "unknown_field"
    title = "The list has no such field"
    detail = "Filter and sort by the fields that the API page names for this list."


@dataclass(frozen=True)
class Query(Generic[Row]):
    """One question to one table. Every step returns a new query; `rows`, `page` and `numbered_page` ask it.

    `fields` is the allow-list: the names that callers use, and their columns. `joins` names the relationships that may
    be joined. The id is added to every order, so that it is total.
    """

    model: type[Row]
    fields: Mapping[str, InstrumentedAttribute[Any]]
    joins: Mapping[str, Any] | None = None
    criteria: tuple[ColumnElement[bool], ...] = ()
    joined: tuple[str, ...] = ()
    order: str = "-id"
    options: tuple[ExecutableOption, ...] = ()
    # What the criteria were made from: a cursor is good for the same list only.
    trail: tuple[str, ...] = ()
    deleted_too: bool = False

    def where(self, field: str, compare: Operator, value: Any) -> "Query[Row]":
        """Keep rows whose field compares so. Raises UnknownField."""
        if compare not in _COMPARE:
            raise UnknownField(errors={field: [f"Unknown comparison {compare!r}."]})
        criterion = _COMPARE[compare](self._column(field), value)
        return self.also(criterion, trail=f"{field} {compare} {value!r}")

    def where_given(self, **filters: tuple[str, Operator, Any]) -> "Query[Row]":
        """`where` for each filter whose value is not None."""
        query = self
        for field, compare, value in filters.values():
            query = query if value is None else query.where(field, compare, value)
        return query

    def also(self, *criteria: ColumnElement[bool], trail: str = "") -> "Query[Row]":
        """Keep rows for which these hold too; for the repository's own conditions."""
        shown = trail or " ".join(str(one) for one in criteria)
        return replace(self, criteria=(*self.criteria, *criteria), trail=(*self.trail, shown))

    def either(self, *criteria: ColumnElement[bool], trail: str) -> "Query[Row]":
        """Keep rows for which one of these holds."""
        return self.also(or_(*criteria), trail=trail)

    def join(self, name: str) -> "Query[Row]":
        """Join a relationship that the list names. Raises UnknownField."""
        if not self.joins or name not in self.joins:
            raise UnknownField(errors={"join": [f"Unknown: {name!r}."]})
        return self if name in self.joined else replace(self, joined=(*self.joined, name))

    def sort(self, order: str) -> "Query[Row]":
        """Order by a field, downwards with a leading minus. Raises UnknownField."""
        self._column(order.removeprefix("-"))
        return replace(self, order=order)

    def load(self, *options: ExecutableOption) -> "Query[Row]":
        """Load what the answer will show together with the rows."""
        return replace(self, options=(*self.options, *options))

    def include_deleted(self) -> "Query[Row]":
        """Show rows that were deleted softly, too."""
        return replace(self, deleted_too=True)

    @property
    def statement(self) -> Select[Row]:
        """The SELECT, in order."""
        descending = self.order.startswith("-")
        columns = [self._column(self.order.removeprefix("-")), self._id]
        ordered = [one.desc() if descending else one.asc() for one in dict.fromkeys(columns)]
        return self._unordered(select(self.model)).order_by(*ordered).options(*self.options)

    def rows(self, session: Session, *, limit: int | None = None) -> Sequence[Row]:
        """All rows, or the first few."""
        return session.scalars(self.statement.limit(limit), execution_options=self._execution).unique().all()

    def count(self, session: Session) -> int:
        """How many rows there are."""
        counted = self._unordered(select(func.count()).select_from(self.model))
        return session.scalar(counted, execution_options=self._execution) or 0

    def page(
        self, session: Session, cursors: Cursors, *, limit: int = USUAL_PER_PAGE, cursor: str | None = None
    ) -> Page[Row]:
        """The rows after a cursor. It costs the same at any depth. Raises CursorInvalid."""
        limit = max(1, min(limit, MOST_PER_PAGE))
        statement = self.statement
        if cursor is not None:
            statement = statement.where(self._after(cursors.read(cursor, list_name=self._name)))
        found = session.scalars(statement.limit(limit + 1), execution_options=self._execution).unique().all()
        items = found[:limit]
        more = len(found) > limit
        return Page(items, cursors.make(self._position(items[-1]), list_name=self._name) if more else None)

    def numbered_page(self, session: Session, *, page: int = 1, per_page: int = USUAL_PER_PAGE) -> NumberedPage[Row]:
        """The rows of a page by its number, from 1, with the total."""
        per_page = max(1, min(per_page, MOST_PER_PAGE))
        statement = self.statement.limit(per_page).offset((max(page, 1) - 1) * per_page)
        items = session.scalars(statement, execution_options=self._execution).unique().all()
        return NumberedPage(items, page, per_page, self.count(session))

    @property
    def _id(self) -> InstrumentedAttribute[Any]:
        return cast("InstrumentedAttribute[Any]", self.model.id)

    @property
    def _execution(self) -> dict[str, Any]:
        return {"include_deleted": self.deleted_too}

    @property
    def _name(self) -> str:
        """What a cursor is bound to: the table, the order and the filters."""
        trail = "\n".join((self.model.__tablename__, self.order, *self.trail))
        return hashlib.sha256(trail.encode()).hexdigest()

    def _column(self, field: str) -> InstrumentedAttribute[Any]:
        column: InstrumentedAttribute[Any] | None = self._id if field == "id" else self.fields.get(field)
        if column is None:
            raise UnknownField(errors={field: ["Unknown field."]})
        return column

    def _unordered(self, statement: Select[Any]) -> Select[Any]:
        for name in self.joined:
            statement = statement.join((self.joins or {})[name])
        return statement.where(and_(true(), *self.criteria))

    def _after(self, position: list[Any]) -> ColumnElement[bool]:
        column = self._column(self.order.removeprefix("-"))
        columns = list(dict.fromkeys([column, self._id]))
        compare = operator.lt if self.order.startswith("-") else operator.gt
        after: ColumnElement[bool] = compare(tuple_(*columns), tuple_(*position))
        return after

    def _position(self, row: Row) -> list[Any]:
        names = dict.fromkeys([self._column(self.order.removeprefix("-")).key, "id"])
        return [getattr(row, name) for name in names]
