"""A client of the API, as a person would use it."""

from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.factories.people import PASSWORD

V1 = "/api/v1"


class ApiClient:
    """Speaks JSON, and remembers the tokens of one session."""

    def __init__(self, http: FlaskClient) -> None:
        self.http = http
        self.grant: dict[str, Any] = {}

    def call(self, method: str, path: str, body: Any = None, **options: Any) -> TestResponse:
        """Send a request, with the access token if there is one."""
        headers = dict(options.pop("headers", {}))
        if self.grant:
            headers.setdefault("Authorization", f"Bearer {self.grant['access_token']}")
        if body is not None:
            options["json"] = body
        return self.http.open(V1 + path, method=method, headers=headers, **options)

    def get(self, path: str, **options: Any) -> TestResponse:
        return self.call("GET", path, **options)

    def post(self, path: str, body: Any = None, **options: Any) -> TestResponse:
        return self.call("POST", path, body, **options)

    def patch(self, path: str, body: Any = None, **options: Any) -> TestResponse:
        return self.call("PATCH", path, body, **options)

    def log_in(self, email: str, password: str = PASSWORD, **more: Any) -> TestResponse:
        """Sign in and keep the tokens."""
        answer = self.post("/auth/login", {"email": email, "password": password, **more})
        if answer.status_code == 200:
            self.grant = answer.json or {}
        return answer

    def refresh(self, token: str | None = None) -> TestResponse:
        """Trade a refresh token; the own tokens stay as they are."""
        return self.http.post(f"{V1}/auth/refresh", json={"refresh_token": token or self.grant["refresh_token"]})


def body_of(answer: TestResponse) -> dict[str, Any]:
    """The JSON object of an answer that succeeded."""
    assert 200 <= answer.status_code < 300, answer.get_data(as_text=True)
    found: dict[str, Any] = answer.get_json()
    return found


def assert_problem(answer: TestResponse, status: int, code: str) -> dict[str, Any]:
    """The answer is this refusal, in the form of RFC 9457; returns its body."""
    body: dict[str, Any] = answer.get_json(force=True)
    assert (answer.status_code, body["code"]) == (status, code), body
    assert answer.content_type == "application/problem+json"
    assert body["status"] == status
    assert body["type"] == f"urn:coffer:error:{code}"
    assert body["title"]
    assert body["detail"]
    assert body["request_id"] == answer.headers["X-Request-ID"]
    assert set(body) <= {"type", "title", "status", "detail", "code", "request_id", "errors"}
    assert answer.headers["Cache-Control"] == "no-store"
    if status == 401:
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    return body
