"""`flask users`: people from the command line."""

import json
import sys

import click
from flask.cli import AppGroup

from app.auth.passwords.service import weaknesses
from app.auth.registration import service
from app.core.errors import CofferError
from app.people.email_address import normal_form
from app.people.schemas import ProfileFields
from app.people.service import promote
from app.unit_of_work import UnitOfWork

users = AppGroup("users", help="Create people, and change what they are.")


@users.command("create")
@click.argument("email")
@click.option("--admin", is_flag=True, help="Make the first administrator; refused once there is one.")
@click.option("--first-name")
@click.option("--last-name")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input instead of asking.")
@click.option("--json", "as_json", is_flag=True, help="Print the person as JSON.")
def create(
    email: str,
    first_name: str | None,
    last_name: str | None,
    *,
    admin: bool,
    password_stdin: bool,
    as_json: bool,
) -> None:
    """Create a person whose address counts as verified.

    \b
    Example:
      flask users create anna@example.org --admin
    """  # noqa: D301  # a backspace, which keeps the lines apart
    try:
        address = normal_form(email)
    except ValueError as error:
        raise click.ClickException(f"{email!r} is no e-mail address: {error}") from error
    if problems := ProfileFields().validate({"first_name": first_name, "last_name": last_name}):
        raise click.ClickException(f"These names cannot be kept: {problems}")
    password = _read_password(from_stdin=password_stdin)
    if reasons := weaknesses(password, about=[address, first_name or "", last_name or ""]):
        raise click.ClickException("The password is too weak. " + " ".join(reasons))
    try:
        user = service.create_person(
            UnitOfWork(everybody=True),
            email=address,
            password=password,
            first_name=first_name,
            last_name=last_name,
            admin=admin,
        )
    except CofferError as error:
        raise click.ClickException(f"{error.title}. {error.detail}") from error
    shown = {"id": str(user.id), "email": user.email, "role": user.role.value}
    click.echo(json.dumps(shown) if as_json else f"Created {shown['role']} {shown['email']} ({shown['id']}).")


@users.command("promote")
@click.argument("email")
def promote_command(email: str) -> None:
    """Make a person an administrator.

    \b
    Example:
      flask users promote anna@example.org
    """  # noqa: D301  # a backspace, which keeps the lines apart
    try:
        promote(UnitOfWork(everybody=True), email=normal_form(email))
    except ValueError as error:
        raise click.ClickException(f"{email!r} is no e-mail address: {error}") from error
    except CofferError as error:
        raise click.ClickException(f"{error.title}. {error.detail}") from error
    click.echo(f"{email} is an administrator now.")


def _read_password(*, from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\n")
    password: str = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    return password
