"""What must be true before anything is served, beyond the settings themselves."""

import structlog
from flask import Flask
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from app.core.config import ConfigurationError
from app.core.extensions import db, open_session, settings

log = structlog.get_logger(__name__)

_PRIVILEGED = text("SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user")
_OWNS_TABLES = text(
    "SELECT EXISTS (SELECT FROM pg_class WHERE relowner = current_user::regrole AND relkind IN ('r', 'p')"
    " AND relnamespace = 'public'::regnamespace)"
)


def check_database_role(app: Flask) -> None:
    """In production, refuse a database role to which row-level security does not apply, and warn of the owner.

    The owner of the tables is held by the policies, but could take them away.

    A database that is away does not stop the start: readiness tells of it, and it may come back.
    Raises ConfigurationError.
    """
    with app.app_context():
        if not settings().is_production:
            return
        try:
            with open_session() as session:
                privileged = session.scalar(_PRIVILEGED)
                owns_tables = session.scalar(_OWNS_TABLES)
        except OperationalError:
            log.warning("database_role_unchecked")
            return
        finally:
            db.engine.dispose()
    if owns_tables:
        log.warning("database_role_owns_tables", advice="let DATABASE_URL name a role that owns nothing")
    if privileged:
        raise ConfigurationError(
            "DATABASE_URL names a superuser or a role with BYPASSRLS; it takes a role without either"
        )
