"""The API, for gunicorn and the Flask command line."""

from app import create_app
from app.core.config import ConfigurationError
from app.core.startup import check_database_role

try:
    app = create_app()
    check_database_role(app)
except ConfigurationError as error:
    raise SystemExit(f"Coffer cannot start:\n{error}") from None
