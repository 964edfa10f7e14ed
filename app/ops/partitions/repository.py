"""Upkeep of the tables that are kept by time. The database decides which months: it takes no dates from us."""

from datetime import datetime
from typing import Literal

from sqlalchemy import BigInteger, DateTime, Integer, func, select, text
from sqlalchemy.orm import Session

KeptByTime = Literal["audit_logs", "activity_events"]
KEPT_BY_TIME: tuple[KeptByTime, ...] = ("audit_logs", "activity_events")
# Within the time that a task may take.
UPKEEP_TIMEOUT = "50s"
# Everybody else would wait behind us.
LOCK_TIMEOUT = "2s"


class PartitionRepository:
    """Months that begin and end."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def lock(self) -> bool:
        """Be the only one who does this, to the end of the transaction; False when somebody else is at it."""
        for name, value in (("statement_timeout", UPKEEP_TIMEOUT), ("lock_timeout", LOCK_TIMEOUT)):
            self._session.execute(select(func.set_config(name, value, text("true"))))
        key = func.hashtext("coffer.partitions")
        return self._session.scalar(select(func.pg_try_advisory_xact_lock(key))) is True

    def ensure(self, table: KeptByTime) -> int:
        """Make the months up to a year from now; rows that landed in the default partition move. Returns how many."""
        return self._session.scalars(select(func.coffer_ensure_partitions(table, type_=Integer))).one()

    def drop_expired(self, table: KeptByTime) -> int:
        """Drop the months that are past their time; returns how many."""
        return self._session.scalars(select(func.coffer_drop_expired(table, type_=Integer))).one()

    def refresh_daily_activity(self) -> int:
        """Count the last days anew, and those that were missed; returns how many rows that gave."""
        return self._session.scalars(select(func.coffer_refresh_daily_activity(type_=BigInteger))).one()

    def oldest_stray(self, table: KeptByTime) -> datetime | None:
        """When the oldest row was made that found no month of its own."""
        return self._session.scalar(select(func.coffer_oldest_stray(table, type_=DateTime(timezone=True))))
