"""`flask seed`: what a fresh development database begins with."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any
from uuid import UUID

import click
from flask.cli import with_appcontext

from app.auth.registration.service import create_person
from app.core import clock
from app.core.extensions import parts, settings
from app.ledger.accounts.models import Account, AccountType
from app.ledger.accounts.service import open_account
from app.ledger.categories.defaults import ensure_system_categories
from app.ledger.transactions.bulk import record_transactions
from app.people.models import User
from app.seed_data import plausible_transactions
from app.unit_of_work import UnitOfWork

DEMO_EMAIL = "demo@coffer.example"
DEMO_PASSWORD = "coffer-demo-2026-tour"  # noqa: S105  # printed by `make run`; never made in production
OTHERS = (("anna@coffer.example", "Anna"), ("ben@coffer.example", "Ben"))
OTHERS_TRANSACTIONS = 200
YEARS = 2
# Each block of a person's transactions has a seed of its own and is kept whole or not at all, so that a run that
# was stopped goes on where it was.
BLOCK = 10_000
USUAL = 1_000


@dataclass(slots=True)
class Made:
    """What a run added."""

    categories: int = 0
    people: int = 0
    accounts: int = 0
    transactions: int = 0


@click.command("seed")
@click.option(
    "--transactions",
    type=click.IntRange(0, 10_000_000),
    default=USUAL,
    show_default=True,
    help="How many the demo person has, over two years.",
)
@click.option("--json", "as_json", is_flag=True, help="Print what was made as JSON.")
@with_appcontext
def seed_command(transactions: int, *, as_json: bool) -> None:
    """Fill a development database with categories, people and their money; a second run changes nothing.

    \b
    Example:
      flask seed --transactions 100000
    """  # noqa: D301  # a backspace, which keeps the lines apart
    if settings().is_production:
        raise click.ClickException("Production has no default accounts: use `flask users create EMAIL --admin`.")
    made = Made(categories=ensure_system_categories(UnitOfWork(everybody=True)))
    wanted = [(DEMO_EMAIL, "Demo", transactions), *((*other, OTHERS_TRANSACTIONS) for other in OTHERS)]
    for email, name, count in wanted:
        person = _person(email, name, made)
        _transactions(person, _account(person, made), count, made, quiet=as_json)
    shown = ", ".join(f"{number} {what}" for what, number in asdict(made).items())
    click.echo(json.dumps(asdict(made)) if as_json else f"Made: {shown}.")


def _person(email: str, name: str, made: Made) -> User:
    with UnitOfWork(everybody=True) as uow:
        found = uow.users.find_by_email(email)
    if found is not None:
        return found
    made.people += 1
    return create_person(UnitOfWork(everybody=True), email=email, password=DEMO_PASSWORD, first_name=name)


def _account(person: User, made: Made) -> Account:
    with UnitOfWork(acting_for=person.id) as uow:
        found = uow.accounts.list_owned(person.id, cursors=parts().cursors, limit=1).items
    if found:
        return found[0]
    made.accounts += 1
    return open_account(
        UnitOfWork(acting_for=person.id),
        owner_id=person.id,
        name="Everyday account",
        type=AccountType.CHECKING,
        currency="EUR",
        opening_balance="1500.00",
        institution_name="Sparkasse Musterstadt",
        mask="4711",
    )


def _transactions(person: User, account: Account, count: int, made: Made, *, quiet: bool) -> None:
    with UnitOfWork(acting_for=person.id) as uow:
        there = uow.transactions.count_of_account(account.id)
    if there >= count:
        return
    blocks = range(there // BLOCK, -(-count // BLOCK))
    categories = _categories()
    with click.progressbar(blocks, label=f"Transactions of {person.first_name}", hidden=quiet or count <= BLOCK) as bar:
        for block in bar:
            rows = list(_rows(account.id, categories, block, min(BLOCK, count - block * BLOCK)))
            result = record_transactions(UnitOfWork(acting_for=person.id), owner_id=person.id, rows=rows, partial=True)
            made.transactions += len(result.ids)


def _rows(account_id: UUID, categories: dict[str, UUID], block: int, count: int) -> Iterator[dict[str, Any]]:
    today = clock.now().date()
    begin = date(today.year - YEARS, today.month, 1)
    for number, seen in enumerate(plausible_transactions(seed=block, begin=begin, end=today, count=count)):
        yield {
            "account_id": account_id,
            "category_id": categories[seen.category],
            "amount": seen.amount,
            "booked_on": seen.booked_on,
            "description": seen.description,
            "merchant": seen.merchant,
            "external_id": f"seed-{block}-{number}",
        }


def _categories() -> dict[str, UUID]:
    """The system's categories by `Group/Category`."""
    with UnitOfWork(everybody=True) as uow:
        found = uow.categories.list_system_categories()
    names = {one.id: one.name for one in found}
    return {f"{names[one.parent_id]}/{one.name}": one.id for one in found if one.parent_id}
