"""What every answer carries (security numbers 130, 133, 136)."""

import pytest

from tests.api.client import ApiClient

PATHS = [
    "/healthz",
    "/readyz",
    "/api/openapi.json",
    "/api/docs",
    "/verify-email",
    "/dev/mailbox",
    "/nothing",
    "/api/v1/profile",
    "/static/pages.css",
    "/api/docs/swagger-ui.css",
]


@pytest.mark.parametrize("path", PATHS)
def test_security_headers(api: ApiClient, path: str) -> None:
    with api.http.get(path) as answer:
        headers = answer.headers
    assert int(headers["Strict-Transport-Security"].split("=")[1].split(";")[0]) >= 31_536_000
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert headers["X-Request-ID"]
    assert headers.getlist("Cache-Control")


@pytest.mark.parametrize("path", [path for path in PATHS if not path.startswith(("/static", "/api/docs/"))])
def test_nothing_is_cached(api: ApiClient, path: str) -> None:
    assert api.http.get(path).headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("path", ["/healthz", "/api/v1/profile", "/api/docs", "/nothing"])
def test_head_equals_get(api: ApiClient, path: str) -> None:
    got, head = api.http.get(path), api.http.head(path)
    assert (head.status_code, head.content_type, head.data) == (got.status_code, got.content_type, b"")


def test_options_tells_methods_and_nothing_else(api: ApiClient) -> None:
    answer = api.http.options("/api/v1/profile")
    assert (answer.status_code, answer.data) == (200, b"")
    assert set(answer.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS", "PATCH"}
