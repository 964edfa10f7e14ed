"""Background work: each module names its feature's tasks, and each task calls one service function."""

from tasks import audit, auth, jobs, ledger, ops

__all__ = ["audit", "auth", "jobs", "ledger", "ops"]
