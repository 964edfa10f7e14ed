"""How the database is: a list of checks for operators, and figures for Prometheus."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import structlog
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError

from app.ops.health.service import wanted_heads
from app.ops.monitoring.repository import TableSize
from app.ops.partitions.repository import KEPT_BY_TIME
from app.unit_of_work import UnitOfWork

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must hold, and what was found where it does not."""

    name: str
    problem: str = ""

    @property
    def ok(self) -> bool:
        """Whether it holds."""
        return not self.problem


@dataclass(slots=True)
class Diagnosis:
    """All checks; hints are worth a thought and no failure."""

    checks: list[Check] = field(default_factory=list)
    hints: list[str] = field(default_factory=list)
    sizes: list[TableSize] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether every check holds."""
        return all(check.ok for check in self.checks)


def examine(uow: UnitOfWork) -> Diagnosis:
    """Look at connection, role, row-level security, partitions, migrations and sizes. Nothing is raised."""
    found = Diagnosis()
    try:
        with uow:
            found.checks = [Check("connection"), *_checks(uow)]
            found.hints = list(_hints(uow))
            found.sizes = uow.monitoring.list_sizes()
    except SQLAlchemyError as error:
        log.warning("database_not_examined", error=type(error).__name__)
        found.checks = [Check("connection", type(error).__name__)]
    return found


def _checks(uow: UnitOfWork) -> Iterator[Check]:
    present, wanted = uow.monitoring.revisions(), wanted_heads()
    yield Check("migrations", "" if present == wanted else f"at {_listed(present)}, this code takes {_listed(wanted)}")
    if present != wanted:
        # The rest is asked with functions that the newest schema has.
        return
    role = uow.monitoring.role()
    wrong = {
        "is superuser": role.superuser,
        "has BYPASSRLS": role.bypasses,
        "owns tables": role.owned > 0,
        "may create in public": role.creates,
    }
    yield Check("role", ", ".join(name for name, holds in wrong.items() if holds))
    yield Check("row-level security", _listed(uow.monitoring.list_unprotected(), "missing on "))
    strays = [table for table in KEPT_BY_TIME if uow.partitions.oldest_stray(table) is not None]
    yield Check("partitions", _listed(strays, "rows without a month in "))


def _hints(uow: UnitOfWork) -> Iterator[str]:
    for index in uow.monitoring.list_unused_indexes():
        yield f"nothing has read the index {index} yet"
    for table in uow.monitoring.list_read_in_full():
        yield f"{table} is mostly read from end to end: an index may be missing"
    for reference in uow.monitoring.list_unindexed_references():
        yield f"no index serves the foreign key {reference}"


def _listed(names: object, before: str = "") -> str:
    shown = ", ".join(sorted(names))  # type: ignore[call-overload]
    return f"{before}{shown}" if shown else ""


class DatabaseCollector(Collector):
    """Asks the database when Prometheus asks us."""

    def __init__(self, uow: UnitOfWork) -> None:
        self._uow = uow

    def collect(self) -> Iterator[Metric]:
        """Sizes and the outbox; only that the database is away when it is."""
        try:
            found = list(self._ask())
        except SQLAlchemyError as error:
            log.warning("database_not_measured", error=type(error).__name__)
            found = []
        yield GaugeMetricFamily("coffer_db_up", "Whether the database answers", value=float(bool(found)))
        yield from found

    def _ask(self) -> Iterator[Metric]:
        with self._uow as uow:
            sizes, outbox = uow.monitoring.list_sizes(), uow.monitoring.outbox()
            strays = {table: uow.partitions.oldest_stray(table) is not None for table in KEPT_BY_TIME}
        tables = GaugeMetricFamily("coffer_db_table_bytes", "Size of a table without its indexes", labels=["table"])
        indexes = GaugeMetricFamily("coffer_db_index_bytes", "Size of a table's indexes", labels=["table"])
        for size in sizes:
            tables.add_metric([size.table], size.table_bytes)
            indexes.add_metric([size.table], size.index_bytes)
        messages = GaugeMetricFamily("coffer_outbox_messages", "Messages that are not done", labels=["status"])
        messages.add_metric(["waiting"], outbox.waiting)
        messages.add_metric(["failed"], outbox.failed)
        without_month = GaugeMetricFamily("coffer_db_rows_without_partition", "Whether there are any", labels=["table"])
        for table, stray in strays.items():
            without_month.add_metric([table], float(stray))
        oldest = "How long the oldest message has been due"
        yield from (tables, indexes, messages, without_month)
        yield GaugeMetricFamily("coffer_outbox_oldest_seconds", oldest, value=outbox.oldest_seconds)
