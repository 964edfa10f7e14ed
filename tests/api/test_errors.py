"""Every refusal has one form (security numbers 119, 120, 122, 129, 133)."""

import json
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from app.people import service
from tests.api.client import V1, ApiClient, assert_problem
from tests.factories.people import make_person

LOGIN = f"{V1}/auth/login"


def test_an_unknown_path(api: ApiClient) -> None:
    assert_problem(api.get("/nothing/here"), 404, "not_found")


def test_a_wrong_method(api: ApiClient) -> None:
    answer = api.http.delete(LOGIN)
    assert_problem(answer, 405, "method_not_allowed")
    assert "POST" in answer.headers["Allow"]


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "FOO"])
def test_methods_that_nobody_needs_are_off(api: ApiClient, method: str) -> None:
    assert api.http.open("/api/v1/profile", method=method).status_code == 405


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"",
        b"nonsense",
        b'{"email": NaN}',
        b'{"email": Infinity}',
        b'{"a": 1, "a": 2}',
        b"\xff\xfe",
        b'"\xc3"',
        b"[" * 60_000,
        b'{"a":' * 900 + b"1" + b"}" * 900,
        b"[" * 60 + b"]" * 60,
        b"1" * 60_000,
        b'{"a": 1' + b"0" * 5000 + b"}",
        "{“email”: 1}".encode(),
        b"'{}'",
        b"{}{}",
        b"\x00",
    ],
)
def test_a_body_that_is_no_json(api: ApiClient, body: bytes) -> None:
    assert_problem(api.http.post(LOGIN, data=body, content_type="application/json"), 400, "malformed_request")


@pytest.mark.parametrize("body", [[], "text", 7, None, True])
def test_json_that_is_no_object(api: ApiClient, body: Any) -> None:
    assert_problem(api.http.post(LOGIN, json=body), 422, "invalid")


@pytest.mark.parametrize(
    "media_type",
    [
        "text/plain",
        "text/json",
        "application/xml",
        "multipart/form-data; boundary=x",
        "application/jsonx",
        "image/png",
    ],
)
def test_another_media_type(api: ApiClient, media_type: str) -> None:
    answer = api.http.post(f"{V1}/auth/register", data=b'{"email": "a"}', content_type=media_type)
    assert_problem(answer, 415, "unsupported_media_type")


def test_the_form_is_taken_at_login_only(api: ApiClient) -> None:
    assert_problem(
        api.http.post(f"{V1}/auth/email/resend", data={"email": "a@example.org"}),
        415,
        "unsupported_media_type",
    )


def test_a_body_that_is_too_large(api: ApiClient) -> None:
    answer = api.http.post(LOGIN, data=b'"' + b"x" * 1_100_000 + b'"', content_type="application/json")
    assert_problem(answer, 413, "body_too_large")


def test_a_form_of_many_parts_is_refused(api: ApiClient) -> None:
    answer = api.http.post(LOGIN, data=b"a=1&" * 300_000, content_type="application/x-www-form-urlencoded")
    assert answer.status_code in {400, 413}


@pytest.mark.parametrize("text", ["\x00", "a\x00b", "\ud800", "\udfff\ud800"])
@pytest.mark.parametrize("field", ["email", "password"])
def test_text_that_cannot_be_kept(api: ApiClient, field: str, text: str) -> None:
    body = json.dumps({"email": "anna@example.org", "password": "x", field: text})
    answer = api.http.post(LOGIN, data=body, content_type="application/json")
    assert list(assert_problem(answer, 422, "invalid")["errors"]) == [field]


def test_a_field_name_that_cannot_be_kept(api: ApiClient) -> None:
    assert_problem(api.http.post(LOGIN, json={"\x00": 1}), 422, "invalid")


@pytest.mark.parametrize("value", [[], {}, 0, True, None, ["anna@example.org"]])
@pytest.mark.parametrize("field", ["email", "password", "remember_me"])
def test_values_of_other_types(api: ApiClient, field: str, value: Any) -> None:
    if field == "remember_me" and value is True:
        return
    body = {"email": "anna@example.org", "password": "x", field: value}
    assert list(assert_problem(api.http.post(LOGIN, json=body), 422, "invalid")["errors"]) == [field]


def test_an_unexpected_error_tells_nothing(api: ApiClient, monkeypatch: pytest.MonkeyPatch) -> None:
    api.log_in(make_person().email)

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("SELECT secret FROM /etc/canary")

    monkeypatch.setattr(service, "get_profile", broken)
    answer = api.get("/profile")
    assert_problem(answer, 500, "internal_error")
    assert "canary" not in answer.get_data(as_text=True)


def test_a_database_that_is_away_is_503_and_nobody_is_let_in(api: ApiClient, monkeypatch: pytest.MonkeyPatch) -> None:
    api.log_in(make_person().email)

    def gone(*_: object, **__: object) -> None:
        raise OperationalError("SELECT 1", {}, Exception("canary"))

    monkeypatch.setattr("app.auth.sessions.repository.SessionRepository.find_live", gone)
    answer = api.get("/profile")
    assert_problem(answer, 503, "unavailable")
    assert int(answer.headers["Retry-After"]) > 0
    assert "canary" not in answer.get_data(as_text=True)


@pytest.mark.parametrize(
    "given", ["short", "a b c d e f g h", "x" * 65, "abc\tdefgh", "ünïcödé-id", "<script>alert</script>"]
)
def test_a_request_id_that_is_not_well_formed_is_replaced(api: ApiClient, given: str) -> None:
    answer = api.http.get("/healthz", headers={"X-Request-ID": given.encode("utf-8").decode("latin-1")})
    assert answer.headers["X-Request-ID"] != given
    assert len(answer.headers["X-Request-ID"]) == 32
