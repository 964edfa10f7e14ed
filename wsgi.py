"""The API, for gunicorn and the Flask command line."""

from app import create_app
from app.core.config import ConfigurationError

try:
    app = create_app()
except ConfigurationError as error:
    raise SystemExit(f"Coffer cannot start:\n{error}") from None
