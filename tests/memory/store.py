"""Rows kept in memory: what one transaction sees of them, and the rules of their columns and unique constraints.

It is one thread's. Row-level security, locks, foreign keys and CHECK constraints are the database's alone.
"""

import copy
import enum
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar, cast
from uuid import UUID

from sqlalchemy import BinaryExpression, ColumnElement, Index, Table, UniqueConstraint
from sqlalchemy.sql.elements import BindParameter, ClauseElement
from sqlalchemy.sql.functions import now as sql_now

from app.core import clock, db_errors
from app.core.db import Base
from app.core.errors import Conflict, Invalid
from app.jobs.publisher import Envelope

Row = TypeVar("Row", bound=Base)
Values = dict[str, Any]
Tables = dict[type[Base], dict[UUID, Values]]
Key = Callable[[Values], object]


@dataclass
class Store:
    """What has been committed."""

    tables: Tables = field(default_factory=lambda: defaultdict(dict))
    published: list[Envelope] = field(default_factory=list)


class MemorySession:
    """The rows as one transaction sees them; every row has one object."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._tables = _copied(store.tables)
        self._rows: dict[type[Base], dict[UUID, Base]] = defaultdict(dict)

    def find(self, model: type[Row], row_id: UUID) -> Row | None:
        if row_id not in self._tables[model]:
            return None
        if row_id not in self._rows[model]:
            self._rows[model][row_id] = model(**copy.deepcopy(self._tables[model][row_id]))
        return cast("Row", self._rows[model][row_id])

    def all(self, model: type[Row]) -> Iterator[Row]:
        self.flush()
        for row_id in sorted(self._tables[model]):
            row = self.find(model, row_id)
            if row is not None:
                yield row

    def insert(self, row: Base) -> None:
        _fill_in_defaults(row)
        values = _values(row)
        self._check(type(row), values)
        self._tables[type(row)][row.id] = values
        self._rows[type(row)][row.id] = row

    def delete(self, row: Base) -> None:
        del self._tables[type(row)][row.id]
        self._rows[type(row)].pop(row.id, None)

    def flush(self) -> None:
        """Write what was changed on the objects."""
        for model, rows in self._rows.items():
            for row_id, row in rows.items():
                new = _values(row)
                if new != self._tables[model][row_id]:
                    self._check(model, new)
                    row.updated_at = new["updated_at"] = clock.now()
                    self._tables[model][row_id] = new

    def commit(self) -> None:
        self.flush()
        self._store.tables = _copied(self._tables)

    def mark(self) -> Tables:
        """What a savepoint goes back to."""
        self.flush()
        return _copied(self._tables)

    def go_back(self, mark: Tables) -> None:
        self._tables = mark
        for model, rows in self._rows.items():
            for row_id in list(rows):
                kept = mark[model].get(row_id)
                if kept is None:
                    del rows[row_id]
                else:
                    for name, value in copy.deepcopy(kept).items():
                        setattr(rows[row_id], name, value)

    def _check(self, model: type[Base], values: Values) -> None:
        for column in model.__mapper__.column_attrs:
            if values[column.key] is None and not column.columns[0].nullable:
                raise Invalid
        for name, key in _unique_keys(model).items():
            mine = key(values)
            others = (other for other_id, other in self._tables[model].items() if other_id != values["id"])
            if mine is not None and any(key(other) == mine for other in others):
                raise db_errors._by_constraint.get(name, Conflict)
        if self._tables[model].get(values["id"]) is None and values["id"] in self._tables[model]:
            raise Conflict


def _copied(tables: Tables) -> Tables:
    return defaultdict(dict, {model: copy.deepcopy(rows) for model, rows in tables.items()})


def _values(row: Base) -> Values:
    found = {}
    for column in row.__mapper__.column_attrs:
        value = _resolved(getattr(row, column.key))
        setattr(row, column.key, value)
        found[column.key] = copy.deepcopy(value)
    return found


def _resolved(value: Any) -> Any:
    """A value instead of the few SQL expressions that services write: the time, and the time and a while."""
    if isinstance(value, sql_now):
        return clock.now()
    if isinstance(value, BinaryExpression) and isinstance(value.left, sql_now):
        if not isinstance(value.right, BindParameter):
            raise NotImplementedError(f"{value} has no value in memory: test this on PostgreSQL")
        duration: timedelta = cast("Any", value.right).value
        return clock.now() + duration
    if isinstance(value, ClauseElement):
        raise NotImplementedError(f"{value} has no value in memory: test this on PostgreSQL")
    return value


def _fill_in_defaults(row: Base) -> None:
    for attribute in row.__mapper__.column_attrs:
        column = attribute.columns[0]
        if getattr(row, attribute.key) is not None:
            continue
        if column.default is not None:
            default = cast("Any", column.default)
            setattr(row, attribute.key, default.arg(None) if default.is_callable else default.arg)
        elif column.server_default is not None:
            setattr(row, attribute.key, _server_default(column))


def _server_default(column: ColumnElement[Any]) -> Any:
    default = cast("Any", column).server_default.arg
    if isinstance(default, sql_now):
        return clock.now()
    shown = str(getattr(default, "text", default)).split("::")[0].strip("'")
    kind = column.type.python_type
    if issubclass(kind, enum.Enum):
        return kind(shown)
    if kind is bool:
        return shown == "true"
    return kind() if shown == "\\x" else datetime.fromisoformat(shown) if kind is datetime else kind(shown)


def _unique_keys(model: type[Base]) -> dict[str, Key]:
    """By the name of each unique constraint and index: what may be there once. Partial ones are the database's."""
    found: dict[str, Key] = {}
    table = cast("Table", model.__table__)
    names = {column.columns[0].name: column.key for column in model.__mapper__.column_attrs}
    for constraint in table.constraints:
        if isinstance(constraint, UniqueConstraint):
            found[str(constraint.name)] = _key([names[column.name] for column in constraint.columns])
    for index in table.indexes:
        if index.unique and not index.dialect_options["postgresql"]["where"]:
            found[str(index.name)] = _index_key(index, names)
    return found


def _index_key(index: Index, names: dict[str, str]) -> Key:
    shown = [re.fullmatch(r"(?:lower\()?(\w+)\)?", str(one).rpartition(".")[2]) for one in index.expressions]
    columns = [names[match[1]] for match in shown if match]
    if len(columns) != len(shown):
        raise NotImplementedError(f"{index.name} has no form in memory")
    return _key(columns, lower=any("lower(" in str(one) for one in index.expressions))


def _key(columns: list[str], *, lower: bool = False) -> Key:
    def key(values: Values) -> object:
        found = [values[column] for column in columns]
        if None in found:
            return None
        return tuple(value.lower() if lower and isinstance(value, str) else value for value in found)

    return key
