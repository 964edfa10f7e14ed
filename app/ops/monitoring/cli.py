"""`flask db-health`: whether the database is as Coffer needs it."""

import json
import sys
from dataclasses import asdict

import click
from flask.cli import with_appcontext

from app.ops.monitoring import service
from app.unit_of_work import UnitOfWork

BIGGEST = 10


@click.command("db-health")
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON.")
@with_appcontext
def db_health(*, as_json: bool) -> None:
    """Check role, row-level security, partitions and migrations; exit 1 when something is wrong.

    \b
    Example:
      flask db-health
    """  # noqa: D301  # a backspace, which keeps the lines apart
    found = service.examine(UnitOfWork(everybody=True))
    if as_json:
        shown = {
            "ok": found.ok,
            "checks": [asdict(check) | {"ok": check.ok} for check in found.checks],
            "hints": found.hints,
            "sizes": [size._asdict() for size in found.sizes],
        }
        click.echo(json.dumps(shown))
    else:
        for check in found.checks:
            click.echo(f"{'ok   ' if check.ok else 'WRONG'} {check.name}{': ' if check.problem else ''}{check.problem}")
        for hint in found.hints:
            click.echo(f"hint  {hint}")
        for size in found.sizes[:BIGGEST]:
            click.echo(f"size  {size.table}: {size.table_bytes:,} bytes, indexes {size.index_bytes:,}")
    if not found.ok:
        sys.exit(1)
