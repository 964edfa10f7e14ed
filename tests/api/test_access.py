"""Who gets what from every operation (security number 88): a new operation without a row fails."""

from collections.abc import Callable

import pytest
from flask import Flask

from app.people.models import UserRole, UserStatus
from tests.api.client import ApiClient
from tests.conftest import Database
from tests.factories.people import make_person

ANYBODY = {"anonymous": 0, "unverified": 0, "ended": 0, "disabled": 0, "person": 0, "administrator": 0}
ONLY_PEOPLE = {"anonymous": 401, "unverified": 401, "ended": 401, "disabled": 401}

# The status by caller; for an empty request, so that what is refused is the caller and not the body.
TABLE: dict[tuple[str, str], dict[str, int]] = {
    ("post", "/api/v1/auth/register"): dict.fromkeys(ANYBODY, 422),
    ("post", "/api/v1/auth/email/verify"): dict.fromkeys(ANYBODY, 422),
    ("post", "/api/v1/auth/email/resend"): dict.fromkeys(ANYBODY, 422),
    ("post", "/api/v1/auth/login"): dict.fromkeys(ANYBODY, 422),
    # An access token is sent as bearer where there is one, and is no refresh token.
    ("post", "/api/v1/auth/refresh"): dict.fromkeys(ANYBODY, 401) | {"anonymous": 422, "unverified": 422},
    ("post", "/api/v1/auth/logout"): ONLY_PEOPLE | {"person": 204, "administrator": 204},
    ("get", "/api/v1/profile"): ONLY_PEOPLE | {"person": 200, "administrator": 200},
    ("patch", "/api/v1/profile"): ONLY_PEOPLE | {"person": 200, "administrator": 200},
    ("get", "/healthz"): dict.fromkeys(ANYBODY, 200),
    ("get", "/readyz"): dict.fromkeys(ANYBODY, 200),
    # From loopback, where the tests are.
    ("get", "/metrics"): dict.fromkeys(ANYBODY, 200),
}


@pytest.fixture
def callers(app: Flask, database: Database) -> dict[str, Callable[[], ApiClient]]:
    def signed_in(*, role: UserRole = UserRole.USER) -> ApiClient:
        client = ApiClient(app.test_client())
        client.log_in(make_person(role=role).email)
        return client

    def unverified() -> ApiClient:
        client = ApiClient(app.test_client())
        client.log_in(make_person(verified=False).email)
        return client

    def ended() -> ApiClient:
        client = signed_in()
        assert client.post("/auth/logout").status_code == 204
        return client

    def disabled() -> ApiClient:
        client = signed_in()
        newest = "(SELECT user_id FROM sessions ORDER BY id DESC LIMIT 1)"
        database.execute(f"UPDATE users SET status = '{UserStatus.DISABLED.value}' WHERE id = {newest}")
        return client

    return {
        "anonymous": lambda: ApiClient(app.test_client()),
        "unverified": unverified,
        "ended": ended,
        "disabled": disabled,
        "person": signed_in,
        "administrator": lambda: signed_in(role=UserRole.ADMIN),
    }


def test_the_table_has_every_operation(api: ApiClient) -> None:
    paths = api.http.get("/api/openapi.json").get_json()["paths"]
    assert {(method, path) for path, operations in paths.items() for method in operations} == set(TABLE)


@pytest.mark.parametrize("operation", list(TABLE), ids=" ".join)
def test_every_caller_gets_what_the_table_says(
    callers: dict[str, Callable[[], ApiClient]], operation: tuple[str, str]
) -> None:
    method, path = operation
    seen = {}
    for name, make in callers.items():
        caller = make()
        headers = {"Authorization": f"Bearer {caller.grant['access_token']}"} if caller.grant else {}
        seen[name] = caller.http.open(path, method=method.upper(), headers=headers).status_code
    assert seen == TABLE[operation]
