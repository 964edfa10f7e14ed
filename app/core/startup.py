"""What must be true before anything is served, beyond the settings themselves."""

import structlog
from flask import Flask
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from app.core.config import ConfigurationError
from app.core.extensions import open_session, settings

log = structlog.get_logger(__name__)

_PRIVILEGED = text("SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user")


def check_database_role(app: Flask) -> None:
    """In production, refuse a database role to which row-level security does not apply.

    A database that is away does not stop the start: readiness tells of it, and it may come back.
    Raises ConfigurationError.
    """
    with app.app_context():
        if not settings().is_production:
            return
        try:
            with open_session() as session:
                privileged = session.scalar(_PRIVILEGED)
        except OperationalError:
            log.warning("database_role_unchecked")
            return
    if privileged:
        raise ConfigurationError(
            "DATABASE_URL names a superuser or a role with BYPASSRLS; it takes a role without either"
        )
