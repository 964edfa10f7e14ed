"""`flask seed`: what a fresh development database begins with."""

import json

import click
from flask.cli import with_appcontext

from app.auth.registration.service import create_person
from app.core.extensions import settings
from app.people.errors import AddressTaken
from app.unit_of_work import UnitOfWork

DEMO_EMAIL = "demo@coffer.example"
DEMO_PASSWORD = "coffer-demo-2026-tour"  # noqa: S105  # printed by `make run`; never made in production


@click.command("seed")
@click.option("--json", "as_json", is_flag=True, help="Print what was made as JSON.")
@with_appcontext
def seed_command(*, as_json: bool) -> None:
    r"""Fill a development database with a person to try things with; a second run changes nothing.

    \b
    Example:
      flask seed
    """
    if settings().is_production:
        raise click.ClickException("Production has no default accounts: use `flask users create EMAIL --admin`.")
    try:
        create_person(
            UnitOfWork(everybody=True), email=DEMO_EMAIL, password=DEMO_PASSWORD, first_name="Demo", last_name="Person"
        )
        made = 1
    except AddressTaken:
        made = 0
    click.echo(json.dumps({"people": made}) if as_json else f"People made: {made}.")
