"""Asks every part that Coffer needs whether it answers, each within a bound."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import redis
import structlog
from alembic.config import Config
from alembic.script import ScriptDirectory
from kombu.exceptions import OperationalError as BrokerError
from redis.backoff import NoBackoff
from redis.retry import Retry
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from app.core.config import ROOT
from app.core.extensions import celery, open_session, settings

log = structlog.get_logger(__name__)

PATIENCE_SECONDS = 1


def check_parts() -> dict[str, bool]:
    """Whether each part answers. Nothing is raised; what was wrong is logged."""
    return {
        "database": _answers("database", _database),
        "migrations": _answers("migrations", _migrations),
        "redis": _answers("redis", _redis),
        "queue": _answers("queue", _queue),
    }


def _answers(part: str, check: Callable[[], bool]) -> bool:
    try:
        return check()
    except (SQLAlchemyError, redis.RedisError, BrokerError, OSError) as error:
        log.warning("part_not_ready", part=part, error=type(error).__name__)
        return False


def _database() -> bool:
    with open_session() as session:
        return session.scalar(text("SELECT true")) is True


def _migrations() -> bool:
    with open_session() as session:
        present = session.scalars(text("SELECT version_num FROM alembic_version"))
        return set(present) == wanted_heads()


@cache
def wanted_heads() -> set[str]:
    """The newest migrations that this code comes with."""
    config = Config()
    config.set_main_option("script_location", str(Path(ROOT) / "migrations"))
    return set(ScriptDirectory.from_config(config).get_heads())


def _redis() -> bool:
    with _client(settings().queue.redis_url) as client:
        # Writing is asked for too: a full or read-only server answers PING as if nothing were wrong.
        return bool(client.ping()) and bool(client.set("coffer:readiness", "1", ex=60))


def _client(url: str) -> redis.Redis:
    return redis.Redis.from_url(
        url, socket_timeout=PATIENCE_SECONDS, socket_connect_timeout=PATIENCE_SECONDS, retry=Retry(NoBackoff(), 0)
    )


def _queue() -> bool:
    broker = settings().queue.broker_url
    if broker.startswith("redis"):
        # Asked directly: Celery's own way tries again and again, for longer than a load balancer waits.
        with _client(broker) as client:
            return bool(client.ping())
    with celery.connection_for_write() as connection:
        connection.ensure_connection(max_retries=1, timeout=PATIENCE_SECONDS)
        return bool(connection.connected)
