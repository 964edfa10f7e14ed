"""The Celery application, for workers and beat."""

from app import create_app
from app.core.config import ConfigurationError
from app.core.extensions import celery
from app.core.startup import check_database_role
from tasks import base, schedule

try:
    flask_app = create_app()
    check_database_role(flask_app)
except ConfigurationError as error:
    raise SystemExit(f"Coffer cannot start:\n{error}") from None

base.bind(flask_app)
celery.conf.beat_schedule = schedule.TIMETABLE

__all__ = ["celery"]
