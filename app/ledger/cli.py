"""`flask ledger`: looking after everybody's ledger."""

import json
import sys

import click
from flask.cli import AppGroup

from app.ledger.money import shown
from app.ledger.upkeep import service
from app.unit_of_work import UnitOfWork

ledger = AppGroup("ledger", help="Look after accounts and transactions.")


@ledger.command("reconcile")
@click.option("--json", "as_json", is_flag=True, help="Print the differences as JSON.")
def reconcile(*, as_json: bool) -> None:
    """Recompute every balance and report differences; the exit status is 1 when there are any.

    \b
    Example:
      flask ledger reconcile --json
    """  # noqa: D301  # a backspace, which keeps the lines apart
    found = [
        {
            "account_id": str(one.account_id),
            "user_id": str(one.user_id),
            "currency": one.currency,
            "balance": shown(one.balance, one.currency),
            "expected": shown(one.expected, one.currency),
        }
        for one in service.reconcile(UnitOfWork(everybody=True))
    ]
    if as_json:
        click.echo(json.dumps({"differences": found}))
    else:
        for one in found:
            click.echo("{account_id}: the balance is {balance} {currency}, expected {expected}.".format(**one))
        click.echo(f"Differences: {len(found)}.")
    sys.exit(1 if found else 0)
