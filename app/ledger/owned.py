"""Rows that belong to one person: asked for by id and owner, so that somebody else's are not there at all."""

from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import wraps
from typing import Any, ParamSpec, TypeVar
from uuid import UUID

from sqlalchemy import ColumnElement, func, or_, select

from app.core.db import Base
from app.core.repository import Repository
from app.core.uow import retried

# What was deleted can come back for so long; then it is deleted for good.
RESTORABLE_FOR = timedelta(days=30)

Row = TypeVar("Row", bound=Base)
Given = ParamSpec("Given")
Answer = TypeVar("Answer")


def owned_by(model: Any, owner_id: UUID) -> ColumnElement[bool]:
    """The row is this person's. Row-level security says so again; this condition can use an index."""
    condition: ColumnElement[bool] = model.user_id == owner_id
    return condition


def once_more(use_case: Callable[Given, Answer]) -> Callable[Given, Answer]:
    """Let a whole use case be done again after a deadlock (`retried`)."""

    @wraps(use_case)
    def wrapper(*args: Given.args, **kwargs: Given.kwargs) -> Answer:
        return retried(lambda: use_case(*args, **kwargs))

    return wrapper


class OwnedRepository(Repository[Row]):
    """A repository whose rows have a `user_id`."""

    def get_owned(self, row_id: UUID, *, owner_id: UUID, include_deleted: bool = False) -> Row:
        """The person's row with this id. Raises `not_found`."""
        return self._one(row_id, owner_id, include_deleted=include_deleted, lock=False)

    def get_owned_for_update(self, row_id: UUID, *, owner_id: UUID, include_deleted: bool = False) -> Row:
        """The person's row as of now, locked to the end of the transaction. Raises `not_found`."""
        return self._one(row_id, owner_id, include_deleted=include_deleted, lock=True)

    def get_restorable(self, row_id: UUID, *, owner_id: UUID, lock: bool = False) -> Row:
        """The person's row, live or deleted not too long ago. Raises `not_found`."""
        model: Any = self.model
        recent = or_(model.deleted_at.is_(None), model.deleted_at > func.now() - RESTORABLE_FOR)
        return self._one(row_id, owner_id, recent, include_deleted=True, lock=lock)

    def delete_softly(self, rows: Iterable[Row], *, batch: UUID) -> None:
        """Mark these rows as deleted now, together."""
        for row in rows:
            self.update(row, {"deleted_at": func.now(), "deleted_batch": batch})

    def _one(self, row_id: UUID, owner_id: UUID, *also: ColumnElement[bool], include_deleted: bool, lock: bool) -> Row:
        statement = select(self.model).where(self.model.id == row_id, owned_by(self.model, owner_id), *also)
        if lock:
            # Not against the key: rows that point here may come and go meanwhile.
            statement = statement.with_for_update(key_share=True)
        execution = {"include_deleted": include_deleted, "populate_existing": lock}
        found = self._session.scalar(statement, execution_options=execution)
        if found is None:
            raise self.not_found
        return found
