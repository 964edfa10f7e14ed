"""What Coffer counts about itself, for Prometheus.

gunicorn has several processes, and a scrape reaches one of them. Each keeps its figures in a file of the folder that
`gunicorn.conf.py` makes, and whoever is asked adds all of them up. Workers of Celery are not asked over HTTP: what they
do shows in the outbox.
"""

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

CACHE_READS = Counter(
    "coffer_cache_reads", "Reads by outcome: hit, miss, error (Redis failed), bypass (not trusted)", ["kind", "outcome"]
)
CACHE_INVALIDATIONS = Counter("coffer_cache_invalidations", "Commits that outdated something cached", ["outcome"])

QUERY_SECONDS = Histogram(
    "coffer_db_query_seconds",
    "Time of one statement, without waiting for a connection",
    ["verb"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
SLOW_QUERIES = Counter("coffer_db_slow_queries", "Statements that took longer than SLOW_QUERY_MS")

POOL_SIZE = Gauge("coffer_db_pool_size", "Connections that the pools keep", multiprocess_mode="livesum")
POOL_OPEN = Gauge("coffer_db_pool_open", "Connections that are open", multiprocess_mode="livesum")
POOL_CHECKED_OUT = Gauge("coffer_db_pool_checked_out", "Connections in use", multiprocess_mode="livesum")
POOL_OVERFLOW = Gauge("coffer_db_pool_overflow", "Connections beyond the size", multiprocess_mode="livesum")
POOL_WAIT_SECONDS = Histogram(
    "coffer_db_pool_wait_seconds",
    "Time until the pool gave a connection",
    buckets=(0.0001, 0.001, 0.01, 0.05, 0.1, 0.5, 1.0, 2.0, 5.0),
)
POOL_TIMEOUTS = Counter("coffer_db_pool_timeouts", "Waits that ended without a connection")


def exposition(*more: Collector) -> bytes:
    """Everything counted in all processes, and what these collectors find now, as Prometheus reads it."""
    counted = CollectorRegistry()
    try:
        MultiProcessCollector(counted)  # type: ignore[no-untyped-call]  # the library has no annotation there
    except ValueError:
        # One process alone, as under `flask run` and in tests.
        counted = REGISTRY
    found = CollectorRegistry()
    for collector in more:
        found.register(collector)
    return generate_latest(counted) + generate_latest(found)
