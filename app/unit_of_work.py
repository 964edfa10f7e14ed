"""The one unit of work: every repository over one transaction."""

from collections.abc import Callable
from uuid import UUID

from sqlalchemy.orm import Session

from app.audit.repository import AuditRepository
from app.auth.registration.repository import OneTimeTokenRepository
from app.auth.sessions.repository import RefreshTokenRepository, SessionRepository
from app.core import origin
from app.core.extensions import open_session
from app.core.uow import Scope, Transaction
from app.jobs.models import OutboxMessage
from app.jobs.publisher import Envelope, publish_soon
from app.jobs.repository import OutboxRepository
from app.people.repository import UserRepository


class UnitOfWork(Transaction):
    """`with uow:` begins a transaction; `uow.commit()` keeps it, and leaving the block without it keeps nothing."""

    users: UserRepository
    sessions: SessionRepository
    refresh_tokens: RefreshTokenRepository
    one_time_tokens: OneTimeTokenRepository
    outbox: OutboxRepository
    audit: AuditRepository

    def __init__(
        self,
        *,
        acting_for: UUID | None = None,
        everybody: bool = False,
        open_session: Callable[[], Session] = open_session,
    ) -> None:
        """See the rows of whoever acts (`app.core.origin`), of `acting_for`, or of everybody.

        A job, an administrator's action, and what happens before anybody is known say `everybody`.
        """
        super().__init__(open_session)
        self._acting_for = acting_for
        self._everybody = everybody

    def _scope(self) -> Scope:
        return Scope(person=self._acting_for or origin.current().actor_id, everybody=self._everybody)

    def _bind(self, session: Session) -> None:
        self.users = UserRepository(session)
        self.sessions = SessionRepository(session)
        self.refresh_tokens = RefreshTokenRepository(session)
        self.one_time_tokens = OneTimeTokenRepository(session)
        self.outbox = OutboxRepository(session, self._publish_after_commit)
        self.audit = AuditRepository(session)

    def _publish_after_commit(self, message: OutboxMessage) -> None:
        envelope = Envelope.of(message)
        self.after_commit(lambda: publish_soon(envelope))
