"""What each role may do."""

from app.people.models import UserRole

_PERSON = frozenset({"profile:read", "profile:write", "sessions:write"})

PERMISSIONS: dict[UserRole, frozenset[str]] = {
    UserRole.USER: _PERSON,
    UserRole.ADMIN: _PERSON,
}
