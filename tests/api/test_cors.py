"""Which browsers' apps may read answers (security number 131)."""

from collections.abc import Iterator

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app import create_app
from app.core.config import load_settings
from app.core.extensions import db

ALLOWED = "https://app.example.org"


@pytest.fixture(scope="module")
def browser(environment: dict[str, str]) -> Iterator[FlaskClient]:
    app: Flask = create_app(load_settings(environment | {"CORS_ORIGINS": f"{ALLOWED},http://localhost:5173"}))
    yield app.test_client()
    with app.app_context():
        db.engine.dispose()


def preflight(browser: FlaskClient, origin: str) -> dict[str, str]:
    answer = browser.options(
        "/api/v1/profile",
        headers={
            "Origin": origin,
            "Access-Control-Request-Method": "PATCH",
            "Access-Control-Request-Headers": "authorization",
            "Access-Control-Request-Private-Network": "true",
        },
    )
    return {name: value for name, value in answer.headers.items() if name.startswith("Access-Control")}


@pytest.mark.parametrize("origin", [ALLOWED, "http://localhost:5173"])
def test_the_named_origins_are_let_in(browser: FlaskClient, origin: str) -> None:
    headers = preflight(browser, origin)
    assert headers["Access-Control-Allow-Origin"] == origin
    assert "authorization" in headers["Access-Control-Allow-Headers"].lower()
    assert "Access-Control-Allow-Credentials" not in headers
    assert headers.get("Access-Control-Allow-Private-Network") != "true"
    assert browser.get("/api/v1/profile", headers={"Origin": origin}).headers["Vary"] == "Origin"


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "*",
        "http://app.example.org",
        "https://app.example.org:8443",
        "https://APP.example.org",
        "https://appxexample.org",
        "https://app.example.org.evil.example",
        "https://evil-app.example.org",
        "https://app.example.org/",
        "https://app.example.org%00",
        "http://localhost:51730",
    ],
)
def test_all_others_get_no_header(browser: FlaskClient, origin: str) -> None:
    assert preflight(browser, origin) == {}
    assert "Access-Control-Allow-Origin" not in browser.get("/api/v1/profile", headers={"Origin": origin}).headers
