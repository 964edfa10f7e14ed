"""The time, in UTC.

Expiry is compared in the database's clock; this one is for what never leaves the process.
"""

from datetime import UTC, datetime


def now() -> datetime:
    """The moment, with its time zone."""
    return datetime.now(UTC)
