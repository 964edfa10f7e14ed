"""The whole timetable. A tick that is missed is not made up for: the next one does the work of both."""

from celery.schedules import crontab

from app.jobs.names import PURGE_OUTBOX, RELAY_OUTBOX, TaskName


def _entry(name: TaskName, when: object, *, expires: int) -> dict[str, object]:
    return {"task": name.name, "schedule": when, "options": {"queue": name.queue, "expires": expires}}


TIMETABLE = {
    "relay the outbox": _entry(RELAY_OUTBOX, 5.0, expires=10),
    "purge the outbox": _entry(PURGE_OUTBOX, crontab(hour="3", minute="17"), expires=3600),
}
