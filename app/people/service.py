"""What a person can do with their profile."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from app.people.cards import card_of
from app.people.models import User, UserRole
from app.unit_of_work import UnitOfWork


def get_profile(uow: UnitOfWork, *, user_id: UUID) -> User:
    """The person themselves."""
    with uow:
        return uow.users.get(user_id)


def update_profile(
    uow: UnitOfWork, *, user_id: UUID, changes: Mapping[str, Any], check_version: Callable[[datetime], None]
) -> User:
    """Change some fields of the profile; the audit row has them before and after.

    `check_version` raises Stale when somebody else was faster; it runs under the row's lock.
    """
    with uow:
        user = uow.users.get_for_update(user_id)
        check_version(user.updated_at)
        uow.profiles.update(user, changes)
        uow.outdate(card_of(user_id))
        uow.commit()
    return user


def promote(uow: UnitOfWork, *, email: str) -> User:
    """Make a person an administrator. Raises PersonNotFound."""
    with uow:
        user = uow.users.get_for_update(uow.users.get_by_email(email).id)
        uow.audit.record("role.changed", user, changes={"role": [user.role.value, UserRole.ADMIN.value]})
        user.role = UserRole.ADMIN
        uow.commit()
    return user
