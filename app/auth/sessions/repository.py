"""Every query over sessions and refresh tokens. Expiry is compared in the database's clock."""

from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import CursorResult, and_, func, select, update

from app.auth.sessions.models import RefreshToken, Session
from app.core.repository import Repository
from app.people.models import User, UserRole, UserStatus

# Being seen is noted at most this often, so that reading costs no write.
SEEN_EVERY = timedelta(minutes=1)

_LIVE = and_(Session.revoked_at.is_(None), Session.idle_expires_at > func.now(), Session.expires_at > func.now())


class LiveSession(NamedTuple):
    """A session that is good now, and what its person may do now."""

    user_id: UUID
    role: UserRole
    seen_long_ago: bool


class SessionRepository(Repository[Session]):
    """Sessions."""

    model = Session

    def find_live(self, session_id: UUID, user_id: UUID) -> LiveSession | None:
        """The session, if it and its person are good at this moment."""
        row = self._session.execute(
            select(User.id, User.role, Session.last_seen_at < func.now() - SEEN_EVERY)
            .join(Session, Session.user_id == User.id)
            .where(Session.id == session_id, User.id == user_id, _LIVE, User.status == UserStatus.ACTIVE)
        ).one_or_none()
        return None if row is None else LiveSession(*row)

    def mark_seen(self, session_id: UUID, *, idle: timedelta) -> None:
        """Note that it is in use, which puts off its idle end and never its absolute one."""
        self._session.execute(
            update(Session)
            .where(Session.id == session_id, _LIVE, Session.last_seen_at < func.now() - SEEN_EVERY)
            .values(last_seen_at=func.now(), idle_expires_at=func.least(func.now() + idle, Session.expires_at))
        )

    def find_live_for_update(self, session_id: UUID) -> Session | None:
        """The session if it and its person are good, locked to the end of the transaction."""
        return self._session.scalar(
            select(Session)
            .join(User, User.id == Session.user_id)
            .where(Session.id == session_id, _LIVE, User.status == UserStatus.ACTIVE)
            .with_for_update(of=Session)
        )

    def end(self, session_id: UUID, *, reason: str) -> bool:
        """End it; False when it had ended before."""
        return self._end(Session.id == session_id, reason) == 1

    def end_all(self, user_id: UUID, *, reason: str) -> int:
        """End every session of the person; returns how many."""
        return self._end(Session.user_id == user_id, reason)

    def _end(self, which: object, reason: str) -> int:
        result = self._session.execute(
            update(Session)
            .where(which, Session.revoked_at.is_(None))  # type: ignore[arg-type]
            .values(revoked_at=func.now(), revoke_reason=reason)
        )
        return result.rowcount if isinstance(result, CursorResult) else 0


class RefreshTokenRepository(Repository[RefreshToken]):
    """Chains of refresh tokens."""

    model = RefreshToken

    def spend(self, token_id: UUID, *, session_id: UUID, successor_id: UUID) -> bool:
        """Use the token up: of many at once, one gets True.

        The statement asks for "not yet used" and takes the row's lock; whoever waited finds it used.
        """
        result = self._session.execute(
            update(RefreshToken)
            .where(
                RefreshToken.id == token_id,
                RefreshToken.session_id == session_id,
                RefreshToken.used_at.is_(None),
                RefreshToken.expires_at > func.now(),
            )
            .values(used_at=func.clock_timestamp(), successor_id=successor_id)
        )
        return isinstance(result, CursorResult) and result.rowcount == 1

    def find_recent_successor(self, token_id: UUID, *, session_id: UUID, within: timedelta) -> RefreshToken | None:
        """What took the place of a token that was spent no longer ago than this."""
        spent = RefreshToken.__table__.alias("spent")
        return self._session.scalar(
            select(RefreshToken)
            .join(spent, spent.c.successor_id == RefreshToken.id)
            .where(
                spent.c.id == token_id,
                spent.c.session_id == session_id,
                spent.c.used_at > func.clock_timestamp() - within,
            )
        )

    def was_spent(self, token_id: UUID, *, session_id: UUID) -> bool:
        """Whether the token is of this session and was used up."""
        return (
            self._session.scalar(
                select(RefreshToken.id).where(
                    RefreshToken.id == token_id,
                    RefreshToken.session_id == session_id,
                    RefreshToken.used_at.is_not(None),
                )
            )
            is not None
        )
