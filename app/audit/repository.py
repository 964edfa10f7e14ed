"""Audit rows, written in the transaction of the change that they tell of."""

from typing import Any
from uuid import UUID

from app.audit.models import AuditLog
from app.core import origin
from app.core.db import Base
from app.core.repository import Repository


class AuditRepository(Repository[AuditLog]):
    """Adds rows; nothing here changes or removes one."""

    model = AuditLog

    def record(
        self,
        action: str,
        entity: Base | None = None,
        *,
        changes: dict[str, Any] | None = None,
        **details: Any,
    ) -> None:
        """Tell that this was done, by the origin of the work at hand. Never pass a credential."""
        now = origin.current()
        self._session.add(
            AuditLog(
                action=action,
                user_id=_person_of(entity) or now.actor_id,
                actor_id=now.actor_id,
                entity_type=entity.__tablename__ if entity is not None else None,
                entity_id=entity.id if entity is not None else None,
                changes=changes,
                details=details or None,
                ip=now.ip,
                user_agent=now.user_agent,
                request_id=now.request_id,
            )
        )


def _person_of(entity: Base | None) -> UUID | None:
    """Whom a row concerns: its owner, or the person that it is."""
    if entity is None:
        return None
    if entity.__tablename__ == "users":
        return entity.id
    owner: UUID | None = getattr(entity, "user_id", None)
    return owner
