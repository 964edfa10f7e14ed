"""What must never stand in a log (security numbers 35, 115)."""

import pytest

from app.core.logging import STRUCK, strike_secrets


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "new_password",
        "token",
        "access_token",
        "Authorization",
        "cookie",
        "api_key",
        "secret_key",
        "otp",
    ],
)
def test_values_of_secret_keys_are_struck_out_at_any_depth(name: str) -> None:
    event = strike_secrets(None, "info", {"event": "x", name: "canary", "body": {"inner": {name: "canary"}}})
    assert "canary" not in str(event)
    assert event[name] == STRUCK


def test_the_rest_stays() -> None:
    event = {"event": "request", "status": 200, "route": "/api/v1/profile"}
    assert strike_secrets(None, "info", dict(event)) == event
