"""What the cases of the contract share."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from app.auth.sessions.models import Session
from app.core import clock
from app.jobs.publisher import Envelope
from app.people.models import User
from app.unit_of_work import UnitOfWork

SOON = timedelta(minutes=5)
Begin = Callable[[], UnitOfWork]


@dataclass
class Kept:
    """One place where rows are kept."""

    begin: Callable[[], UnitOfWork]
    published: Callable[[], list[Envelope]]


def person(name: str, **more: object) -> User:
    return User(email=f"{name}@example.org", first_name=name, **more)


def add(begin: Begin, *people: User) -> list[User]:
    with begin() as uow:
        uow.users.add_all(people)
        uow.commit()
    return list(people)


def session_of(user: User, token_hash: bytes, *, lasts: timedelta = SOON) -> Session:
    ends = clock.now() + lasts
    return Session(user_id=user.id, token_hash=token_hash, auth_methods=["pwd"], idle_expires_at=ends, expires_at=ends)
