"""Changes that leave an audit row: what each column was before and is after, in the same transaction."""

from collections.abc import Mapping
from typing import Any, Generic, Protocol, TypeVar

from app.core.db import Base, as_json
from app.core.repository import RepositoryProtocol

Row = TypeVar("Row", bound=Base)

# The database sets these; they tell nothing that the audit row does not.
_ITS_OWN = {"id", "created_at", "updated_at"}


class AuditTrail(Protocol):
    """Where audit rows go."""

    def record(
        self, action: str, entity: Base | None = None, *, changes: dict[str, Any] | None = None, **details: Any
    ) -> None:
        """Tell that this was done."""


class AuditedRepository(Generic[Row]):
    """Another repository whose changes are told to the audit log as `<noun>.created`, `.updated` and `.removed`.

    Columns that are marked secret are changed and left out of the audit row. A change that changes nothing is not told.
    """

    def __init__(self, rows: RepositoryProtocol[Row], trail: AuditTrail, noun: str) -> None:
        self._rows = rows
        self._trail = trail
        self._noun = noun

    def add(self, row: Row, *, action: str = "created", **details: Any) -> Row:
        """Insert this row now."""
        self._rows.add(row)
        changes = {name: [None, shown] for name, shown in _shown(row).items() if shown is not None}
        self._trail.record(f"{self._noun}.{action}", row, changes=changes, **details)
        return row

    def update(self, row: Row, changes: Mapping[str, Any], *, action: str = "updated", **details: Any) -> Row:
        """Change these columns of the row now."""
        new = {name: value for name, value in changes.items() if getattr(row, name) != value}
        if new:
            before = _shown(row)
            self._rows.update(row, new)
            after = _shown(row)
            told = {name: [before[name], after[name]] for name in new if name in after}
            self._trail.record(f"{self._noun}.{action}", row, changes=told, **details)
        return row

    def remove(self, row: Row, *, action: str = "removed", **details: Any) -> None:
        """Delete this row now, for good."""
        changes = {name: [shown, None] for name, shown in _shown(row).items() if shown is not None}
        self._rows.remove(row)
        self._trail.record(f"{self._noun}.{action}", row, changes=changes, **details)


def _shown(row: Base) -> dict[str, Any]:
    """The row's columns as JSON holds them, without secret ones."""
    return {
        column.key: as_json(getattr(row, column.key))
        for column in row.__mapper__.column_attrs
        if column.key not in _ITS_OWN and not column.columns[0].info.get("secret")
    }
