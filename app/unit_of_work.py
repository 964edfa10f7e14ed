"""The one unit of work: every repository over one transaction."""

from collections.abc import Callable
from uuid import UUID

from sqlalchemy.orm import Session

from app.audit.audited import AuditedRepository
from app.audit.repository import AuditRepository, CheckpointRepository
from app.auth.registration.repository import OneTimeTokenRepository
from app.auth.sessions.repository import RefreshTokenRepository, SessionRepository
from app.core import origin
from app.core.cache import Entry
from app.core.extensions import open_session, parts
from app.core.uow import Scope, Transaction
from app.jobs.batches.repository import BatchRepository
from app.jobs.models import OutboxMessage
from app.jobs.publisher import Envelope, publish_soon
from app.jobs.repository import OutboxRepository
from app.ledger.accounts.repository import AccountRepository
from app.ledger.budgets.repository import BudgetAlertRepository, BudgetRepository
from app.ledger.categories.repository import CategoryRepository
from app.ledger.spending.repository import SpendingRepository
from app.ledger.transactions.repository import TransactionRepository
from app.ops.monitoring.repository import MonitoringRepository
from app.ops.partitions.repository import PartitionRepository
from app.people.models import User
from app.people.repository import UserRepository


class UnitOfWork(Transaction):
    """`with uow:` begins a transaction; `uow.commit()` keeps it, and leaving the block without it keeps nothing."""

    users: UserRepository
    sessions: SessionRepository
    refresh_tokens: RefreshTokenRepository
    one_time_tokens: OneTimeTokenRepository
    outbox: OutboxRepository
    audit: AuditRepository
    audit_checkpoints: CheckpointRepository
    batches: BatchRepository
    partitions: PartitionRepository
    monitoring: MonitoringRepository
    # What people say of themselves; the audit log is told of each change.
    profiles: AuditedRepository[User]
    accounts: AccountRepository
    transactions: TransactionRepository
    categories: CategoryRepository
    budgets: BudgetRepository
    budget_alerts: BudgetAlertRepository
    spending: SpendingRepository

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

    def outdate(self, entry: Entry) -> None:
        """What the cache has of this is over with the commit."""
        self.around_commit(parts().cache.outdating(entry))

    def _scope(self) -> Scope:
        return Scope(person=self._acting_for or origin.current().actor_id, everybody=self._everybody)

    def _bind(self, session: Session) -> None:
        self.users = UserRepository(session)
        self.sessions = SessionRepository(session)
        self.refresh_tokens = RefreshTokenRepository(session)
        self.one_time_tokens = OneTimeTokenRepository(session)
        self.outbox = OutboxRepository(session, self._publish_after_commit)
        self.audit = AuditRepository(session)
        self.audit_checkpoints = CheckpointRepository(session)
        self.batches = BatchRepository(session)
        self.partitions = PartitionRepository(session)
        self.monitoring = MonitoringRepository(session)
        self.profiles = AuditedRepository(self.users, self.audit, "profile")
        self.accounts = AccountRepository(session)
        self.transactions = TransactionRepository(session)
        self.categories = CategoryRepository(session)
        self.budgets = BudgetRepository(session)
        self.budget_alerts = BudgetAlertRepository(session)
        self.spending = SpendingRepository(session)

    def _publish_after_commit(self, message: OutboxMessage) -> None:
        envelope = Envelope.of(message)
        self.after_commit(lambda: publish_soon(envelope))
