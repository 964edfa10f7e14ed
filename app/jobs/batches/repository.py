"""Every query of moves in batches."""

from collections.abc import Mapping, Sequence
from typing import TypeVar
from uuid import UUID

from sqlalchemy import delete, func, select

from app.core.db import Base
from app.core.repository import Repository
from app.jobs.batches.models import BatchReject, BatchRun

Row = TypeVar("Row", bound=Base)

_ALL_ROWS = {"include_deleted": True}


class BatchRepository(Repository[BatchRun]):
    """Runs, and the rows that they move: those deleted softly too."""

    model = BatchRun

    def find_by_name(self, name: str) -> BatchRun | None:
        """The run of this name, locked to the end of the transaction."""
        return self._session.scalar(
            select(BatchRun).where(BatchRun.name == name).with_for_update(),
            execution_options={"populate_existing": True},
        )

    def count_rows(self, model: type[Base]) -> int:
        """How many rows there are to move."""
        counted = select(func.count()).select_from(model)
        return self._session.scalar(counted, execution_options=_ALL_ROWS) or 0

    def list_ahead(self, model: type[Row], *, after: UUID | None, limit: int) -> Sequence[Row]:
        """The next rows behind this one, locked."""
        statement = select(model).order_by(model.id).limit(limit).with_for_update()
        if after is not None:
            statement = statement.where(model.id > after)
        return self._session.scalars(statement, execution_options=_ALL_ROWS).all()

    def list_behind(self, model: type[Row], run: BatchRun, *, limit: int) -> Sequence[Row]:
        """The last rows that the run has moved, the newest first, locked."""
        rejected = select(BatchReject.row_id).where(BatchReject.run_id == run.id)
        statement = (
            select(model)
            .where(model.id <= run.position, model.id.not_in(rejected))
            .order_by(model.id.desc())
            .limit(limit)
            .with_for_update()
        )
        return self._session.scalars(statement, execution_options=_ALL_ROWS).all()

    def add_rejects(self, run: BatchRun, reasons: Mapping[UUID, str]) -> None:
        """Note the rows that stay as they are."""
        self._session.add_all(
            BatchReject(run_id=run.id, row_id=row_id, reason=reason[:200]) for row_id, reason in reasons.items()
        )

    def list_rejects(self, run: BatchRun) -> Sequence[BatchReject]:
        """The rows that a run left as they were, in order."""
        return self._session.scalars(
            select(BatchReject).where(BatchReject.run_id == run.id).order_by(BatchReject.row_id)
        ).all()

    def forget_rejects(self, run: BatchRun) -> None:
        """Begin anew."""
        self._session.execute(delete(BatchReject).where(BatchReject.run_id == run.id))
