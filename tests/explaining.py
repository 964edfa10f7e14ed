"""What PostgreSQL plans for the statements of a piece of work, under the very role and settings that they run with."""

from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy import Engine, event

PLANNED = ("SELECT", "WITH", "UPDATE", "DELETE", "INSERT")


def plans_of(engine: Engine, work: Callable[[], object]) -> list[tuple[str, dict[str, Any]]]:
    """Each statement of the work and its plan, made right before it ran."""
    found: list[tuple[str, dict[str, Any]]] = []

    def explain(_: Any, cursor: Any, statement: str, parameters: Any, *__: Any) -> None:
        if statement.lstrip().startswith(PLANNED):
            with cursor.connection.cursor() as other:
                other.execute(f"EXPLAIN (FORMAT JSON) {statement}", parameters)
                found.append((statement, other.fetchone()[0][0]["Plan"]))

    event.listen(engine, "before_cursor_execute", explain)
    try:
        work()
    finally:
        event.remove(engine, "before_cursor_execute", explain)
    return found


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every node of a plan."""
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


def sequential_scans(engine: Engine, table: str, work: Callable[[], object]) -> list[str]:
    """The statements of the work that read the whole table."""
    return [
        statement
        for statement, plan in plans_of(engine, work)
        if any(node["Node Type"] == "Seq Scan" and node.get("Relation Name") == table for node in nodes(plan))
    ]
