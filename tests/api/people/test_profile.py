"""The profile over HTTP."""

from typing import Any

import pytest

from app.people.models import User
from tests.api.client import ApiClient, assert_problem
from tests.conftest import Database
from tests.factories.people import make_person


@pytest.fixture
def person(api: ApiClient) -> User:
    found = make_person(email="anna@example.org")
    api.log_in(found.email)
    return found


def test_the_whole_profile(api: ApiClient, person: User) -> None:
    body = dict(api.get("/profile").json or {})
    assert body.pop("created_at")
    assert body == {
        "id": str(person.id),
        "email": "anna@example.org",
        "email_verified": True,
        "first_name": "Anna",
        "last_name": None,
        "phone": None,
        "timezone": "UTC",
        "language": "en",
        "role": "user",
        "tier": "free",
        "avatar_url": None,
        "mfa_enabled": False,
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"first_name": "Zoë"},
        {"first_name": None, "last_name": "O'Hara-Müller"},
        {"phone": "+4930123456"},
        {"timezone": "Asia/Kolkata", "language": "pt-BR"},
        {},
    ],
)
def test_named_fields_change_and_the_others_stay(api: ApiClient, person: User, changes: dict[str, Any]) -> None:
    before = api.get("/profile").json or {}
    answer = api.patch("/profile", changes)
    assert answer.json == before | changes
    assert api.get("/profile").json == before | changes


@pytest.mark.parametrize(
    "field",
    [
        "id",
        "email",
        "email_verified",
        "role",
        "tier",
        "status",
        "password_hash",
        "created_at",
        "avatar_url",
        "mfa_enabled",
    ],
)
def test_nobody_gives_themselves_more_than_a_name(api: ApiClient, person: User, field: str) -> None:
    before = api.get("/profile").json
    body = assert_problem(api.patch("/profile", {field: "admin"}), 422, "invalid")
    assert list(body["errors"]) == [field]
    assert api.get("/profile").json == before


class TestVersions:
    """ETag and If-Match."""

    def test_the_version_that_was_read_may_be_changed(self, api: ApiClient, person: User, database: Database) -> None:
        read = api.get("/profile")
        database.execute("UPDATE users SET updated_at = updated_at - interval '1 minute'")
        stale = read.headers["ETag"]
        fresh = api.get("/profile").headers["ETag"]
        assert stale != fresh
        assert_problem(api.patch("/profile", {"first_name": "X"}, headers={"If-Match": stale}), 412, "stale")
        assert api.patch("/profile", {"first_name": "X"}, headers={"If-Match": fresh}).status_code == 200

    @pytest.mark.parametrize("unreadable", ['"""', "W/x", ",", '"a'])
    def test_what_cannot_be_read_names_no_version(self, api: ApiClient, person: User, unreadable: str) -> None:
        assert_problem(api.patch("/profile", {"first_name": "X"}, headers={"If-Match": unreadable}), 412, "stale")

    def test_any_version_is_a_star(self, api: ApiClient, person: User) -> None:
        assert api.patch("/profile", {"first_name": "X"}, headers={"If-Match": "*"}).status_code == 200

    def test_who_has_it_already_is_told_so(self, api: ApiClient, person: User) -> None:
        tag = api.get("/profile").headers["ETag"]
        again = api.get("/profile", headers={"If-None-Match": tag})
        assert (again.status_code, again.data) == (304, b"")


def test_the_audit_row_has_before_and_after(api: ApiClient, person: User, database: Database) -> None:
    answer = api.patch("/profile", {"first_name": "Zoë", "language": "en"}, headers={"X-Request-ID": "my-request-1"})
    assert answer.headers["X-Request-ID"] == "my-request-1"
    row = database.row(
        "SELECT actor_id, entity_type, entity_id, changes, host(ip), request_id FROM audit_logs"
        " WHERE action = 'profile.updated'"
    )
    assert row == (
        person.id,
        "users",
        person.id,
        {"first_name": ["Anna", "Zoë"]},
        "127.0.0.1",
        "my-request-1",
    )


@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": ""}, {"Authorization": "Basic YTpi"}, {"Authorization": "Bearer"}]
)
def test_without_a_token_nobody_is_let_in(api: ApiClient, headers: dict[str, str]) -> None:
    body = api.get("/profile", headers=headers)
    assert body.status_code == 401
    assert (body.get_json(force=True))["code"] in {"authentication_required", "invalid_token"}


def test_a_person_sees_only_themselves(api: ApiClient, person: User) -> None:
    make_person(email="other@example.org", first_name="Canary")
    assert "Canary" not in api.get("/profile").get_data(as_text=True)
