"""People for tests."""

from uuid import uuid4

from app.auth.passwords.service import hash_password
from app.core import clock
from app.people.models import User, UserRole, UserStatus
from app.unit_of_work import UnitOfWork

PASSWORD = "correct horse battery staple"


def make_person(
    *,
    email: str | None = None,
    password: str | None = PASSWORD,
    verified: bool = True,
    status: UserStatus = UserStatus.ACTIVE,
    role: UserRole = UserRole.USER,
    first_name: str | None = "Anna",
) -> User:
    """A person in the database; without a password, one who only signs in elsewhere."""
    user = User(
        email=email or f"{uuid4().hex}@example.org",
        password_hash=hash_password(password) if password else None,
        status=status,
        role=role,
        first_name=first_name,
        email_verified_at=clock.now() if verified else None,
    )
    with UnitOfWork(everybody=True) as uow:
        uow.users.add(user)
        uow.commit()
    return user
