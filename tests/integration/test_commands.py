"""What an operator types: `flask seed` and `flask users` (security numbers 2, 3, 5, 137)."""

import json
import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from click.testing import Result
from flask import Flask

from app.core.config import Environment
from app.core.extensions import KEY
from app.seed import DEMO_EMAIL, DEMO_PASSWORD
from tests.api.client import ApiClient
from tests.conftest import Database, Worker
from tests.factories.people import PASSWORD, make_person

Command = Callable[..., Result]
EMAIL = "anna@example.org"


@pytest.fixture
def run(app: Flask) -> Command:
    """`flask` with these words, and a password on its standard input."""

    def invoke(*words: str, password: str = PASSWORD) -> Result:
        return app.test_cli_runner().invoke(args=words, input=f"{password}\n")

    return invoke


def create(run: Command, *more: str, email: str = EMAIL, password: str = PASSWORD) -> Result:
    return run("users", "create", email, "--password-stdin", *more, password=password)


def assert_refused(result: Result, reason: str) -> None:
    """With one line that says why, on standard error, for a script to see."""
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert reason in result.stderr
    assert result.stderr.count("\n") == 1


class TestCreate:
    """`flask users create`."""

    def test_the_person_can_log_in_at_once(self, run: Command, api: ApiClient) -> None:
        result = create(run, "--first-name", "Zoë")
        assert (result.exit_code, result.stderr) == (0, "")
        assert result.stdout.startswith(f"Created user {EMAIL}")
        assert api.log_in(EMAIL).status_code == 200
        profile = api.get("/profile").get_json()
        assert (profile["first_name"], profile["role"], profile["email_verified"]) == ("Zoë", "user", True)

    def test_a_script_gets_json(self, run: Command, database: Database) -> None:
        shown = json.loads(create(run, "--json", email="ANNA@Example.org").stdout)
        assert shown == {"id": str(database.scalar("SELECT id FROM users")), "email": EMAIL, "role": "user"}

    def test_the_password_is_asked_for_twice_and_not_shown(self, run: Command, api: ApiClient) -> None:
        result = run("users", "create", EMAIL, password=f"{PASSWORD}\n{PASSWORD}")
        assert result.exit_code == 0
        assert PASSWORD not in result.output
        assert api.log_in(EMAIL).status_code == 200

    def test_what_was_typed_differently_makes_nobody(self, run: Command, database: Database) -> None:
        assert run("users", "create", EMAIL, password=f"{PASSWORD}\nanother").exit_code == 1
        assert database.scalar("SELECT count(*) FROM users") == 0

    @pytest.mark.parametrize("password", ["short", "", "password123", "anna@example.org", "x" * 257])
    def test_a_weak_password_is_refused(self, run: Command, database: Database, password: str) -> None:
        """Numbers 2 and 3: the rules hold on the command line too."""
        assert_refused(create(run, password=password), "The password is too weak.")
        assert database.scalar("SELECT count(*) FROM users") == 0

    @pytest.mark.parametrize("email", ["anna", "anna@", "@example.org", "anna@@example.org", "anna @example.org"])
    def test_what_is_no_address_is_refused(self, run: Command, email: str) -> None:
        assert_refused(create(run, email=email), "is no e-mail address")

    def test_an_address_that_is_taken_is_refused(self, run: Command, database: Database) -> None:
        make_person(email=EMAIL)
        assert_refused(create(run, email="Anna@EXAMPLE.org"), "Somebody has this e-mail address already.")
        assert database.scalar("SELECT count(*) FROM users") == 1

    def test_the_first_administrator_is_made_once(self, run: Command, database: Database) -> None:
        assert create(run, "--admin").exit_code == 0
        assert_refused(create(run, "--admin", email="eve@example.org"), "There is an administrator already.")
        assert database.row("SELECT email, role FROM users") == (EMAIL, "admin")

    def test_it_leaves_a_trace_without_the_password(self, run: Command, database: Database) -> None:
        create(run, "--admin")
        row = database.row("SELECT action, metadata, entity_id = (SELECT id FROM users) FROM audit_logs")
        assert row == ("person.created", {"role": "admin"}, True)
        assert PASSWORD not in database.dump()

    def test_nobody_is_written_to(self, run: Command, worker: Worker) -> None:
        create(run)
        assert worker.deliver() == []


class TestPromote:
    """`flask users promote`."""

    def test_the_person_is_an_administrator(self, run: Command, database: Database) -> None:
        make_person(email=EMAIL)
        result = run("users", "promote", "ANNA@example.org")
        assert (result.exit_code, result.stderr) == (0, "")
        assert "is an administrator now" in result.stdout
        assert database.scalar("SELECT role FROM users") == "admin"
        changes = database.scalar("SELECT changes FROM audit_logs WHERE action = 'role.changed'")
        assert changes == {"role": ["user", "admin"]}

    def test_who_is_not_there_cannot_be_promoted(self, run: Command) -> None:
        assert_refused(run("users", "promote", EMAIL), "There is no such person.")

    def test_what_is_no_address_is_refused(self, run: Command) -> None:
        assert_refused(run("users", "promote", "anna"), "is no e-mail address")


class TestSeed:
    """`flask seed`."""

    def test_a_second_run_changes_nothing(self, run: Command, database: Database) -> None:
        assert run("seed").exit_code == 0
        before = database.dump()
        assert run("seed").exit_code == 0
        assert database.dump() == before

    def test_the_demo_person_can_log_in(self, run: Command, api: ApiClient) -> None:
        run("seed")
        assert api.log_in(DEMO_EMAIL, DEMO_PASSWORD).status_code == 200

    def test_production_is_refused(self, app: Flask, run: Command, database: Database) -> None:
        """An account whose password everybody knows has no place there."""
        parts = app.extensions[KEY]
        app.extensions[KEY] = replace(parts, settings=replace(parts.settings, env=Environment.PRODUCTION))
        assert_refused(run("seed"), "Production has no default accounts")
        assert database.scalar("SELECT count(*) FROM users") == 0


@pytest.mark.parametrize("words", [["users", "create"], ["users", "promote"], ["users", "create", EMAIL, "--root"]])
def test_a_wrong_call_shows_how_it_is_meant(run: Command, words: list[str]) -> None:
    result = run(*words)
    assert result.exit_code == 2
    assert "Usage:" in result.stderr


@pytest.mark.parametrize(
    "command", ["seed", "users create", "users promote", "ledger reconcile", "audit verify", "db-health"]
)
def test_every_command_has_help_with_an_example_on_lines_of_its_own(app: Flask, command: str) -> None:
    shown = app.test_cli_runner().invoke(args=[*command.split(), "--help"]).output
    assert re.search(rf"\n  Example:\n    flask {command}", shown), shown
    assert "\\b" not in shown
