"""Audit rows, written in the transaction of the change that they tell of, and the checkpoints that seal them."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Text, Uuid, cast, func, select, text

from app.audit.models import AuditCheckpoint, AuditLog
from app.core import origin
from app.core.db import Base
from app.core.repository import Repository


class SealableRow(NamedTuple):
    """What is sealed of an audit row. JSON and addresses are text, as PostgreSQL writes them, so that none is lost."""

    id: UUID
    created_at: datetime
    updated_at: datetime
    user_id: UUID | None
    actor_id: UUID | None
    impersonator_id: UUID | None
    action: str
    entity_type: str | None
    entity_id: UUID | None
    changes: str | None
    details: str | None
    ip: str | None
    user_agent: str | None
    request_id: str


_SEALABLE = select(
    AuditLog.id,
    AuditLog.created_at,
    AuditLog.updated_at,
    AuditLog.user_id,
    AuditLog.actor_id,
    AuditLog.impersonator_id,
    AuditLog.action,
    AuditLog.entity_type,
    AuditLog.entity_id,
    cast(AuditLog.changes, Text),
    cast(AuditLog.details, Text),
    cast(AuditLog.ip, Text),
    AuditLog.user_agent,
    AuditLog.request_id,
).order_by(AuditLog.id)

# Everybody may look at the locks. Whoever has written an audit row holds this one to the end of the transaction.
_WRITERS = text(
    "SELECT virtualtransaction FROM pg_locks WHERE relation = 'audit_logs'::regclass AND mode = 'RowExclusiveLock'"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND pid <> pg_backend_pid()"
)


class AuditRepository(Repository[AuditLog]):
    """Adds rows; nothing here changes or removes one."""

    model = AuditLog

    def has_undone(self, audit_id: UUID, *, action: str, owner_id: UUID) -> bool:
        """Whether a later row of this action says that it undid the one with this id (`merge` in its details)."""
        statement = select(AuditLog.id).where(
            AuditLog.user_id == owner_id,
            AuditLog.id > audit_id,
            AuditLog.action == action,
            AuditLog.details["merge"].astext == str(audit_id),
        )
        return self._session.scalar(statement.limit(1)) is not None

    def record(
        self,
        action: str,
        entity: Base | None = None,
        *,
        changes: dict[str, Any] | None = None,
        **details: Any,
    ) -> None:
        """Tell that this was done, by the origin of the work at hand. Never pass a credential."""
        self._session.add(audit_row(action, entity, changes=changes, details=details))

    def list_sealable(self, *, after: UUID | None, up_to: UUID, limit: int | None = None) -> list[SealableRow]:
        """Rows with an id behind `after` and not behind `up_to`, in the order of their ids."""
        statement = _SEALABLE.where(AuditLog.id <= up_to).limit(limit)
        if after is not None:
            statement = statement.where(AuditLog.id > after)
        return [SealableRow._make(row) for row in self._session.execute(statement)]

    def count_after(self, audit_id: UUID | None) -> int:
        """How many rows are behind this one."""
        statement = select(func.count()).select_from(AuditLog)
        if audit_id is not None:
            statement = statement.where(AuditLog.id > audit_id)
        return self._session.scalar(statement) or 0

    def id_at(self, age: timedelta) -> UUID:
        """The least id that a row of this age can have."""
        return self._session.scalars(select(func.uuid7_floor(func.clock_timestamp() - age, type_=Uuid()))).one()

    def writers(self) -> set[str]:
        """Other transactions that have written audit rows and are not over."""
        return set(self._session.scalars(_WRITERS))


class CheckpointRepository(Repository[AuditCheckpoint]):
    """Seals; nothing here changes or removes one."""

    model = AuditCheckpoint

    def lock(self) -> bool:
        """Be the only one who seals, to the end of the transaction; False when somebody else does."""
        key = func.hashtext("coffer.audit_checkpoints")
        return self._session.scalar(select(func.pg_try_advisory_xact_lock(key))) is True

    def find_last(self) -> AuditCheckpoint | None:
        """The newest one."""
        return self._session.scalar(select(AuditCheckpoint).order_by(AuditCheckpoint.last_audit_id.desc()).limit(1))

    def list_after(self, audit_id: UUID | None, *, limit: int) -> Sequence[AuditCheckpoint]:
        """The next ones behind the one that ends with this row, in order."""
        statement = select(AuditCheckpoint).order_by(AuditCheckpoint.last_audit_id).limit(limit)
        if audit_id is not None:
            statement = statement.where(AuditCheckpoint.last_audit_id > audit_id)
        return self._session.scalars(statement).all()


def audit_row(
    action: str, entity: Base | None, *, changes: dict[str, Any] | None, details: dict[str, Any] | None
) -> AuditLog:
    """A row that tells that this was done, by the origin of the work at hand."""
    now = origin.current()
    return AuditLog(
        action=action,
        user_id=_person_of(entity) or now.actor_id,
        actor_id=now.actor_id,
        entity_type=entity.__tablename__ if entity is not None else None,
        entity_id=entity.id if entity is not None else None,
        changes=changes or None,
        details=details or None,
        ip=now.ip,
        user_agent=now.user_agent,
        request_id=now.request_id,
    )


def _person_of(entity: Base | None) -> UUID | None:
    """Whom a row concerns: its owner, or the person that it is."""
    if entity is None:
        return None
    if entity.__tablename__ == "users":
        return entity.id
    owner: UUID | None = getattr(entity, "user_id", None)
    return owner
