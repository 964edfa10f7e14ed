"""The worker and beat as the Procfile starts them, with waiting times that a test can sit out."""

from datetime import timedelta

from app.jobs import service

service.LEASE = timedelta(seconds=3)
service.OVERDUE_AFTER = timedelta(seconds=1)
service.UNHEARD_AFTER = timedelta(seconds=4)

from tasks import schedule  # noqa: E402  # it and what it imports read the times above

schedule.TIMETABLE["relay the outbox"]["schedule"] = 1.0

from celery_worker import celery  # noqa: E402

__all__ = ["celery"]
