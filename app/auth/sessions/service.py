"""Signing in, staying signed in, and leaving.

PostgreSQL keeps the sessions and is asked on every request, so that whatever ends one bites at once and in
every process. A refresh token works once; the next one takes its place in the same statement. A token that comes
back within GRACE gets the same successor (two tabs, or an answer that got lost); later it means that somebody has a
copy, and the session ends.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import NAMESPACE_OID, UUID, uuid5

from sqlalchemy import func

from app.auth.passwords.service import check_password, hash_password
from app.auth.permissions import PERMISSIONS
from app.auth.sessions.errors import (
    InvalidCredentials,
    RefreshTokenInvalid,
    RefreshTokenReused,
)
from app.auth.sessions.models import RefreshToken, Session
from app.core import clock, origin
from app.core.crypto import fingerprint
from app.core.db import new_id
from app.core.extensions import parts, settings
from app.core.security import Caller
from app.core.tokens import Claims, TokenKind, TokenRefused
from app.jobs.names import SEND_REUSE_NOTICE
from app.people.email_address import normal_form
from app.people.models import User, UserStatus
from app.unit_of_work import UnitOfWork

GRACE = timedelta(seconds=10)
SHORT_LIFE = timedelta(hours=24)
STRICT_IDLE = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Grant:
    """What a client gets for signing in or refreshing. Lifetimes are in seconds."""

    access_token: str
    refresh_token: str
    expires_in: int
    refresh_expires_in: int
    session_id: UUID
    token_type: str = "bearer"  # noqa: S105


def log_in(uow: UnitOfWork, *, email: str, password: str, remember_me: bool = True) -> Grant:
    """Begin a session.

    Raises InvalidCredentials. Unknown address, wrong password, closed account and unverified address take the same
    steps: one look-up, one hash, one audit row. That an address is not verified yet is not told even to who knows the
    password: a stranger could register it with a password of their own, and learn from the answer whether it was free.
    """
    address = _address(email)
    with uow:
        user = uow.users.find_by_email(address) if address else None
    # Outside of any transaction: hashing takes long and must not keep a connection.
    verdict = check_password(password, user.password_hash if user else None)
    if user is None or not verdict.matches or not _may_come_in(user):
        _note_failure(uow, user)
        raise InvalidCredentials
    rehashed = hash_password(password) if verdict.outdated else None
    return _start_session(uow, user, checked_hash=user.password_hash, rehashed=rehashed, remember_me=remember_me)


def refresh(uow: UnitOfWork, *, refresh_token: str) -> Grant:
    """Trade a refresh token for the next pair. Raises RefreshTokenInvalid, or RefreshTokenReused."""
    try:
        claims = parts().signer.read_claims(refresh_token, TokenKind.REFRESH)
    except TokenRefused as error:
        raise RefreshTokenInvalid from error
    with uow:
        session = uow.sessions.find_live_for_update(claims.session_id)
        if session is None or session.user_id != claims.subject:
            raise RefreshTokenInvalid
        origin.act_as(session.user_id)
        grant = _rotate(uow, session, claims) or _repeat(uow, session, claims)
        reused = grant is None and uow.refresh_tokens.was_spent(claims.token_id, session_id=session.id)
        if reused:
            _end_for_reuse(uow, session)
        uow.commit()
    if grant is None:
        raise RefreshTokenReused if reused else RefreshTokenInvalid
    return grant


def log_out(uow: UnitOfWork, *, user_id: UUID, session_id: UUID, all_devices: bool = False) -> None:
    """End this session, or all of the person's; their tokens are dead from now on."""
    with uow:
        if all_devices:
            ended = uow.sessions.end_all(user_id, reason="logout")
        else:
            ended = int(uow.sessions.end(session_id, reason="logout"))
        uow.audit.record("session.ended", session=str(session_id), all_devices=all_devices, ended=ended)
        uow.commit()


def load_caller(uow: UnitOfWork, claims: Claims) -> Caller | None:
    """Who is behind an access token, read from the database; None when its session has ended."""
    with uow:
        live = uow.sessions.find_live(claims.session_id, claims.subject)
        if live is None:
            return None
        if live.seen_long_ago:
            uow.sessions.mark_seen(claims.session_id, idle=_idle_life())
            uow.commit()
    return Caller(id=live.user_id, session_id=claims.session_id, permissions=PERMISSIONS[live.role])


def _may_come_in(user: User) -> bool:
    verified = user.email_verified or not settings().accounts.require_verified_email
    return verified and user.status is UserStatus.ACTIVE


def _address(email: str) -> str | None:
    try:
        return normal_form(email)
    except ValueError:
        return None


def _note_failure(uow: UnitOfWork, user: User | None) -> None:
    with uow:
        uow.audit.record("login.failed", user)
        uow.commit()


def _start_session(
    uow: UnitOfWork, user: User, *, checked_hash: str | None, rehashed: str | None, remember_me: bool
) -> Grant:
    now = origin.current()
    origin.act_as(user.id)
    life = _absolute_life() if remember_me else min(SHORT_LIFE, _absolute_life())
    with uow:
        person = uow.users.get_for_update(user.id)
        if person.password_hash != checked_hash or person.status is not UserStatus.ACTIVE:
            # Changed while the hash was computed: what was checked is not true any more.
            raise InvalidCredentials
        if rehashed:
            person.password_hash = rehashed
        person.last_login_at = clock.now()
        session = Session(
            id=new_id(),
            user_id=person.id,
            token_hash=fingerprint(str(new_id())),
            ip=now.ip,
            user_agent=now.user_agent,
            auth_methods=["pwd"],
            idle_expires_at=func.now() + min(_idle_life(), life),
            expires_at=func.now() + life,
        )
        uow.sessions.add(session)
        token = _add_refresh_token(uow, session)
        grant = _grant(session, token)
        session.token_hash = fingerprint(grant.refresh_token)
        uow.audit.record("login.succeeded", session)
        uow.commit()
    return grant


def _rotate(uow: UnitOfWork, session: Session, claims: Claims) -> Grant | None:
    """Spend the token for its successor; None when it is spent already."""
    successor = _add_refresh_token(uow, session)
    if not uow.refresh_tokens.spend(claims.token_id, session_id=session.id, successor_id=successor.id):
        uow.refresh_tokens.remove(successor)
        return None
    grant = _grant(session, successor)
    session.token_hash = fingerprint(grant.refresh_token)
    session.last_seen_at = func.now()
    session.idle_expires_at = func.least(func.now() + _idle_life(), Session.expires_at)
    uow.audit.record("session.refreshed", session)
    return grant


def _repeat(uow: UnitOfWork, session: Session, claims: Claims) -> Grant | None:
    """The pair that a token just spent was traded for, while its grace lasts."""
    successor = uow.refresh_tokens.find_recent_successor(claims.token_id, session_id=session.id, within=GRACE)
    return _grant(session, successor) if successor else None


def _end_for_reuse(uow: UnitOfWork, session: Session) -> None:
    uow.sessions.end(session.id, reason="refresh_token_reused")
    uow.audit.record("authn_token_reuse", session)
    uow.outbox.send(SEND_REUSE_NOTICE, user_id=session.user_id)


def _add_refresh_token(uow: UnitOfWork, session: Session) -> RefreshToken:
    ends = func.least(func.now() + _idle_life(), session.expires_at)
    return uow.refresh_tokens.add(
        RefreshToken(id=new_id(), user_id=session.user_id, session_id=session.id, expires_at=ends)
    )


def _grant(session: Session, token: RefreshToken) -> Grant:
    """The pair of tokens that belongs to a link of the chain: asked twice, it is the same pair."""
    access_ends = min(
        token.created_at + timedelta(minutes=settings().accounts.access_token_minutes), session.expires_at
    )

    def sign(kind: TokenKind, token_id: UUID, ends: datetime) -> str:
        return parts().signer.sign(
            Claims(
                kind=kind,
                subject=session.user_id,
                session_id=session.id,
                token_id=token_id,
                issued_at=token.created_at,
                expires_at=ends,
            )
        )

    return Grant(
        access_token=sign(TokenKind.ACCESS, uuid5(NAMESPACE_OID, f"access:{token.id}"), access_ends),
        refresh_token=sign(TokenKind.REFRESH, token.id, token.expires_at),
        expires_in=int((access_ends - token.created_at).total_seconds()),
        refresh_expires_in=int((token.expires_at - token.created_at).total_seconds()),
        session_id=session.id,
    )


def _idle_life() -> timedelta:
    accounts = settings().accounts
    return STRICT_IDLE if accounts.strict_sessions else timedelta(days=accounts.session_idle_days)


def _absolute_life() -> timedelta:
    accounts = settings().accounts
    return SHORT_LIFE if accounts.strict_sessions else timedelta(days=accounts.session_absolute_days)
