"""`flask audit`: whether the audit log is as it was written."""

import json
import sys

import click
from flask.cli import AppGroup

from app.audit import service
from app.unit_of_work import UnitOfWork

audit = AppGroup("audit", help="Check the audit log.")


@audit.command("verify")
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON.")
def verify_command(*, as_json: bool) -> None:
    """Say which row was changed, removed or added since it was sealed; exit 1 when there is one.

    \b
    Example:
      flask audit verify
    """  # noqa: D301  # a backspace, which keeps the lines apart
    found = service.verify(UnitOfWork(everybody=True))
    if as_json:
        shown = {
            "ok": not found.findings,
            "checkpoints": found.checkpoints,
            "rows": found.rows,
            "dropped": found.dropped,
            "unsealed": found.unsealed,
            "findings": [{"kind": one.kind, "id": str(one.id)} for one in found.findings],
        }
        click.echo(json.dumps(shown))
    else:
        for one in found.findings:
            click.echo(f"{one.kind}: {one.id}")
        click.echo(
            f"{found.rows} sealed rows under {found.checkpoints} checkpoints, {found.dropped} past their time and "
            f"dropped, {found.unsealed} not sealed yet; findings: {len(found.findings)}."
        )
    if found.findings:
        sys.exit(1)
