"""The one unit of work: every repository over one transaction."""

from collections.abc import Callable

from sqlalchemy.orm import Session

from app.audit.repository import AuditRepository
from app.auth.registration.repository import OneTimeTokenRepository
from app.auth.sessions.repository import RefreshTokenRepository, SessionRepository
from app.core.extensions import open_session
from app.core.uow import Transaction
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

    def __init__(self, open_session: Callable[[], Session] = open_session) -> None:
        super().__init__(open_session)

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
