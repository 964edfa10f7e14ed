"""The whole timetable. A tick that is missed is not made up for: the next one does the work of both."""

from celery.schedules import crontab

from app.jobs.names import (
    KEEP_PARTITIONS,
    PURGE_DELETED,
    PURGE_OUTBOX,
    RELAY_OUTBOX,
    SEAL_AUDIT,
    SWEEP_BUDGET_ALERTS,
    TaskName,
)


def _entry(name: TaskName, when: object, *, expires: int) -> dict[str, object]:
    return {"task": name.name, "schedule": when, "options": {"queue": name.queue, "expires": expires}}


TIMETABLE = {
    "relay the outbox": _entry(RELAY_OUTBOX, 5.0, expires=10),
    "purge the outbox": _entry(PURGE_OUTBOX, crontab(hour="3", minute="17"), expires=3600),
    "seal the audit log": _entry(SEAL_AUDIT, 60.0, expires=60),
    "keep the partitions": _entry(KEEP_PARTITIONS, crontab(minute="23"), expires=3600),
    "purge the deleted": _entry(PURGE_DELETED, crontab(hour="3", minute="47"), expires=3600),
    "sweep the budget alerts": _entry(SWEEP_BUDGET_ALERTS, crontab(hour="4", minute="37"), expires=3600),
}
