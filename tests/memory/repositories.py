"""The repositories over rows in memory.

A query of a repository that is not written here says so when it is asked: that test belongs on PostgreSQL.
"""

import enum
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, NoReturn, TypeVar
from uuid import UUID

from sqlalchemy import ColumnElement
from sqlalchemy.orm import Session as DatabaseSession
from sqlalchemy.orm.evaluator import _EvaluatorCompiler
from sqlalchemy.sql.base import ExecutableOption

from app.audit.models import AuditLog
from app.audit.repository import AuditRepository, audit_row
from app.auth.registration.models import OneTimeToken, TokenPurpose
from app.auth.registration.repository import OneTimeTokenRepository
from app.auth.sessions.models import RefreshToken, Session
from app.auth.sessions.repository import SEEN_EVERY, LiveSession, RefreshTokenRepository, SessionRepository
from app.core import clock
from app.core.db import Base, SoftDeleted
from app.core.pages import MOST_PER_PAGE, USUAL_PER_PAGE, Cursors, NumberedPage, Page
from app.core.query import Query
from app.core.repository import Repository
from app.jobs.models import MessageStatus, OutboxMessage
from app.jobs.repository import OutboxRepository
from app.people.models import User, UserRole, UserStatus
from app.people.repository import UserRepository
from tests.memory.store import MemorySession

Row = TypeVar("Row", bound=Base)


class MemoryRepository(Repository[Row]):
    """The generic repository, without a database."""

    def __init__(self, memory: MemorySession) -> None:
        self._memory = memory

    @property
    def _session(self) -> DatabaseSession:  # type: ignore[override]  # a plain attribute there
        return self._no_answer()

    def _no_answer(self) -> NoReturn:
        raise NotImplementedError(f"{type(self).__name__} cannot answer this in memory: test it on PostgreSQL")

    def find(
        self, row_id: UUID, *, options: Sequence[ExecutableOption] = (), include_deleted: bool = False
    ) -> Row | None:
        self._memory.flush()
        row = self._memory.find(self.model, row_id)
        return None if row is None or (_is_deleted(row) and not include_deleted) else row

    def get_for_update(self, row_id: UUID, *, include_deleted: bool = False) -> Row:
        return self.get(row_id, include_deleted=include_deleted)

    def add(self, row: Row) -> Row:
        self._memory.flush()
        self._memory.insert(row)
        return row

    def add_all(self, rows: Iterable[Row]) -> None:
        for row in rows:
            self.add(row)

    def update(self, row: Row, changes: Mapping[str, Any]) -> Row:
        for name, value in changes.items():
            setattr(row, name, value)
        self._memory.flush()
        return row

    def remove(self, row: Row) -> None:
        self._memory.delete(row)

    def list_all(self, query: Query[Row], *, limit: int | None = None) -> Sequence[Row]:
        return self._ordered(query)[:limit]

    def count(self, query: Query[Row]) -> int:
        return len(self._ordered(query))

    def list_page(
        self, query: Query[Row], cursors: Cursors, *, limit: int = USUAL_PER_PAGE, cursor: str | None = None
    ) -> Page[Row]:
        limit = max(1, min(limit, MOST_PER_PAGE))
        rows = self._ordered(query)
        if cursor is not None:
            after = tuple(_sortable(value) for value in cursors.read(cursor, list_name=query._name))
            descending = query.order.startswith("-")
            rows = [
                row for row in rows if (_position(query, row) < after if descending else _position(query, row) > after)
            ]
        items = rows[:limit]
        more = len(rows) > limit
        return Page(items, cursors.make(query._position(items[-1]), list_name=query._name) if more else None)

    def list_numbered(self, query: Query[Row], *, page: int = 1, per_page: int = USUAL_PER_PAGE) -> NumberedPage[Row]:
        per_page = max(1, min(per_page, MOST_PER_PAGE))
        rows = self._ordered(query)
        begin = (max(page, 1) - 1) * per_page
        return NumberedPage(rows[begin : begin + per_page], page, per_page, len(rows))

    def _where(self, holds: Callable[[Row], bool]) -> list[Row]:
        return [row for row in self._memory.all(self.model) if not _is_deleted(row) and holds(row)]

    def _ordered(self, query: Query[Row]) -> list[Row]:
        if query.joined:
            self._no_answer()
        tests = [_in_python(self.model, criterion) for criterion in query.criteria]
        rows = [
            row
            for row in self._memory.all(self.model)
            if (query.deleted_too or not _is_deleted(row)) and all(test(row) is True for test in tests)
        ]
        return sorted(rows, key=lambda row: _position(query, row), reverse=query.order.startswith("-"))


def _in_python(model: type[Base], criterion: ColumnElement[bool]) -> Callable[[Base], object]:
    """What SQLAlchemy itself uses to apply an UPDATE to the rows that a session has."""
    compiler: Any = _EvaluatorCompiler(model)  # type: ignore[no-untyped-call]
    test: Callable[[Base], object] = compiler.process(criterion)
    return test


def _is_deleted(row: Base) -> bool:
    return isinstance(row, SoftDeleted) and row.deleted_at is not None


def _position(query: Query[Any], row: Base) -> tuple[Any, ...]:
    return tuple(_sortable(value) for value in query._position(row))


def _sortable(value: Any) -> tuple[bool, Any]:
    """As PostgreSQL sorts: nothing comes last, an enum in the order of its values."""
    return (value is None, list(type(value)).index(value) if isinstance(value, enum.Enum) else value)


class MemoryUsers(MemoryRepository[User], UserRepository):
    """People."""

    def find_by_email(self, email: str) -> User | None:
        return next(iter(self._where(lambda user: user.email == email)), None)

    def add_if_new(self, user: User) -> User | None:
        taken = any(one.email.lower() == user.email.lower() for one in self._memory.all(User))
        return None if taken else self.add(user)

    def has_administrator(self) -> bool:
        return bool(self._where(lambda user: user.role is UserRole.ADMIN))

    def lock_administrators(self) -> None:
        """One thread needs no lock."""


class MemoryAudit(MemoryRepository[AuditLog], AuditRepository):
    """The audit log."""

    def record(
        self, action: str, entity: Base | None = None, *, changes: dict[str, Any] | None = None, **details: Any
    ) -> None:
        self.add(audit_row(action, entity, changes=changes, details=details))


class MemoryOutbox(MemoryRepository[OutboxMessage], OutboxRepository):
    """Messages to tasks. `send` is the one of the real repository."""

    def __init__(self, memory: MemorySession, publish_after_commit: Callable[[OutboxMessage], None]) -> None:
        super().__init__(memory)
        self._publish_after_commit = publish_after_commit

    def claim(self, message_id: UUID, *, lease: timedelta) -> int | None:
        message, now = self.find(message_id), clock.now()
        if message is None or message.status is not MessageStatus.WAITING or message.available_at > now:
            return None
        if message.leased_until is not None and message.leased_until >= now:
            return None
        self.update(message, {"leased_until": now + lease, "attempts": message.attempts + 1})
        return message.attempts

    def finish(self, message_id: UUID, *, attempt: int) -> bool:
        message = self.find(message_id)
        if message is None or message.status is not MessageStatus.WAITING or message.attempts != attempt:
            return False
        self.update(message, {"status": MessageStatus.DONE, "finished_at": clock.now(), "leased_until": None})
        return True


class MemoryOneTimeTokens(MemoryRepository[OneTimeToken], OneTimeTokenRepository):
    """Tokens of mailed links. `issue` is the one of the real repository."""

    def find_owner_id(self, token_hash: bytes, purpose: TokenPurpose) -> UUID | None:
        found = self._where(lambda token: token.token_hash == token_hash and token.purpose is purpose)
        return found[0].user_id if found else None

    def spend(self, token_hash: bytes, purpose: TokenPurpose) -> OneTimeToken | None:
        for token in self._where(lambda one: one.token_hash == token_hash and one.purpose is purpose):
            if self.find_usable(token.id):
                return self.update(token, {"used_at": clock.now()})
        return None

    def find_usable(self, token_id: UUID) -> OneTimeToken | None:
        token = self.find(token_id)
        return token if token and token.used_at is None and token.expires_at > clock.now() else None

    def list_payloads(self, user_id: UUID) -> list[dict[str, Any]]:
        newest = sorted(self._of(user_id, TokenPurpose.VERIFY_EMAIL), key=lambda token: token.id, reverse=True)
        return [token.payload for token in newest[:200]]

    def void(self, user_id: UUID, purpose: TokenPurpose) -> None:
        for token in self._of(user_id, purpose):
            self.remove(token)

    def _of(self, user_id: UUID, purpose: TokenPurpose) -> list[OneTimeToken]:
        return self._where(lambda token: token.user_id == user_id and token.purpose is purpose)


class MemorySessions(MemoryRepository[Session], SessionRepository):
    """Sessions."""

    def find_live(self, session_id: UUID, user_id: UUID) -> LiveSession | None:
        session, user = self.find_live_for_update(session_id), self._memory.find(User, user_id)
        if session is None or user is None or session.user_id != user_id:
            return None
        return LiveSession(user_id, user.role, session.last_seen_at < clock.now() - SEEN_EVERY)

    def find_live_for_update(self, session_id: UUID) -> Session | None:
        session, now = self.find(session_id), clock.now()
        if session is None or session.revoked_at or min(session.idle_expires_at, session.expires_at) <= now:
            return None
        user = self._memory.find(User, session.user_id)
        active = user is not None and user.status is UserStatus.ACTIVE and user.deleted_at is None
        return session if active else None

    def _end(self, which: Any, reason: str) -> int:
        test = _in_python(Session, which)
        ended = self._where(lambda session: session.revoked_at is None and test(session) is True)
        for session in ended:
            self.update(session, {"revoked_at": clock.now(), "revoke_reason": reason})
        return len(ended)


class MemoryRefreshTokens(MemoryRepository[RefreshToken], RefreshTokenRepository):
    """Refresh tokens, as far as the generic repository goes."""
