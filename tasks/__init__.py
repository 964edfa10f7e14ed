"""Background work: each module names its feature's tasks, and each task calls one service function."""

from tasks import auth, jobs

__all__ = ["auth", "jobs"]
