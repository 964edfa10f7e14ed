"""Signing in, refreshing, leaving (security numbers 8, 25 to 32, 36)."""

from dataclasses import replace
from typing import Any

import bcrypt
import jwt
import pytest

from app.auth.sessions.models import Session
from app.core.extensions import KEY
from app.people.models import User, UserStatus
from tests.api.client import V1, ApiClient, assert_problem, body_of
from tests.conftest import Database, Worker
from tests.factories.people import PASSWORD, make_person


def test_an_answer_has_both_tokens(api: ApiClient) -> None:
    answer = api.log_in(make_person().email)
    assert answer.status_code == 200
    assert set(body_of(answer)) == {
        "access_token",
        "refresh_token",
        "token_type",
        "expires_in",
        "refresh_expires_in",
        "session_id",
    }
    assert body_of(answer)["token_type"] == "bearer"
    assert body_of(answer)["expires_in"] == 1800
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("address", ["nobody@example.org", "anna@example.org ", "x", "not an address", "ä@ä"])
def test_unknown_and_malformed_addresses_are_one_refusal(api: ApiClient, address: str) -> None:
    assert_problem(api.log_in(address), 401, "invalid_credentials")


def test_every_reason_not_to_let_somebody_in_looks_and_costs_the_same(api: ApiClient, hashes: list[str]) -> None:
    people: dict[str, User] = {
        "wrong password": make_person(password="another password of theirs"),
        "signs in elsewhere": make_person(password=None),
        "not verified": make_person(verified=False),
        **{status.value: make_person(status=status) for status in UserStatus if status is not UserStatus.ACTIVE},
    }
    addresses = {reason: person.email for reason, person in people.items()} | {"unknown": "nobody@example.org"}
    seen = {}
    for reason, address in addresses.items():
        hashes.clear()
        body = assert_problem(api.log_in(address), 401, "invalid_credentials")
        del body["request_id"]
        seen[reason] = (body, list(hashes))
    assert len({str(one) for one in seen.values()}) == 1, seen
    assert seen["unknown"][1] == ["checkpw"]


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "Bearer"])
def test_the_scheme_of_the_header_is_taken_in_any_case(api: ApiClient, scheme: str) -> None:
    api.log_in(make_person().email)
    headers = {"Authorization": f"{scheme} {api.grant['access_token']}"}
    assert api.get("/profile", headers=headers).status_code == 200


@pytest.mark.parametrize("cost", [4, 5, 6])
def test_a_hash_of_lower_cost_is_as_slow_to_refuse_as_none(
    api: ApiClient, app: Any, cost: int, monkeypatch: Any
) -> None:
    """Number 8, after the cost was raised: the work adds up to one hash of the present cost."""
    person = make_person()  # at cost 4
    dearer = replace(app.extensions[KEY].settings.accounts, bcrypt_rounds=cost)
    parts = app.extensions[KEY]
    app.extensions[KEY] = replace(parts, settings=replace(parts.settings, accounts=dearer))
    work: list[int] = []
    real = bcrypt.checkpw

    def counted(password: bytes, hashed: bytes) -> bool:
        work.append(2 ** int(hashed.split(b"$")[2]))
        return real(password, hashed)

    monkeypatch.setattr(bcrypt, "checkpw", counted)
    for address in (person.email, "nobody@example.org"):
        work.clear()
        assert_problem(api.log_in(address, "wrong"), 401, "invalid_credentials")
        assert sum(work) == 2**cost


def test_a_login_always_makes_a_new_session(api: ApiClient) -> None:
    person = make_person()
    ids = {body_of(api.log_in(person.email))["session_id"] for _ in range(3)}
    assert len(ids) == 3


class TestPasswordGrant:
    """RFC 6749, 4.3 and 5."""

    def send(self, api: ApiClient, **form: str) -> Any:
        return api.http.post(f"{V1}/auth/login", data=form)

    def test_the_form_gets_tokens(self, api: ApiClient) -> None:
        answer = self.send(api, grant_type="password", username=make_person().email, password=PASSWORD, scope="")
        assert answer.status_code == 200
        assert body_of(answer)["token_type"] == "bearer"
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Pragma"] == "no-cache"

    @pytest.mark.parametrize(
        ("form", "error"),
        [
            ({"grant_type": "password", "username": "nobody@example.org", "password": "x"}, "invalid_grant"),
            (
                {"grant_type": "client_credentials", "username": "a", "password": "x"},
                "unsupported_grant_type",
            ),
            ({"username": "a", "password": "x"}, "invalid_request"),
            ({"grant_type": "password", "password": "x"}, "invalid_request"),
            ({"grant_type": "password", "username": "a\x00", "password": "x"}, "invalid_request"),
            ({}, "invalid_request"),
            ({"grant_type": "client_credentials"}, "unsupported_grant_type"),
            ({"grant_type": ["password", "password"], "username": "a", "password": "x"}, "unsupported_grant_type"),
            ({"grant_type": "password", "username": "a", "password": ["x", "y"]}, "invalid_request"),
        ],
    )
    def test_refusals_have_the_form_of_the_standard(self, api: ApiClient, form: dict[str, Any], error: str) -> None:
        answer = api.http.post(f"{V1}/auth/login", data=form, content_type="application/x-www-form-urlencoded")
        assert (answer.status_code, answer.get_json()["error"]) == (400, error)
        assert set(answer.get_json()) == {"error", "error_description"}

    def test_who_is_not_verified_gets_the_same_kind_of_refusal(self, api: ApiClient) -> None:
        answer = self.send(api, grant_type="password", username=make_person(verified=False).email, password=PASSWORD)
        assert (answer.status_code, answer.get_json()["error"]) == (400, "invalid_grant")


class TestRefresh:
    """One use, one successor, one family."""

    def test_the_token_is_traded_for_the_next_pair(self, api: ApiClient) -> None:
        api.log_in(make_person().email)
        answer = api.refresh()
        assert body_of(answer)["refresh_token"] != api.grant["refresh_token"]
        assert body_of(answer)["session_id"] == api.grant["session_id"]
        api.grant = body_of(answer)
        assert api.get("/profile").status_code == 200

    def test_as_bearer_it_works_too(self, api: ApiClient) -> None:
        api.log_in(make_person().email)
        answer = api.http.post(f"{V1}/auth/refresh", headers={"Authorization": f"Bearer {api.grant['refresh_token']}"})
        assert answer.status_code == 200

    def test_without_a_token_the_field_is_named(self, api: ApiClient) -> None:
        body = assert_problem(api.http.post(f"{V1}/auth/refresh"), 422, "invalid")
        assert list(body["errors"]) == ["refresh_token"]

    def test_a_lost_answer_can_be_asked_for_again(self, api: ApiClient) -> None:
        api.log_in(make_person().email)
        assert api.refresh().json == api.refresh().json

    def test_a_spent_token_that_comes_back_late_ends_the_family(
        self, api: ApiClient, worker: Worker, database: Database
    ) -> None:
        person = make_person()
        api.log_in(person.email)
        successor = body_of(api.refresh())
        database.execute(
            "UPDATE refresh_tokens SET used_at = used_at - interval '11 seconds' WHERE used_at IS NOT NULL"
        )
        assert_problem(api.refresh(), 401, "refresh_token_reused")
        assert_problem(api.refresh(successor["refresh_token"]), 401, "invalid_refresh_token")
        assert_problem(api.get("/profile"), 401, "invalid_token")
        api.grant = successor
        assert_problem(api.get("/profile"), 401, "invalid_token")
        assert database.scalar("SELECT count(*) FROM audit_logs WHERE action = 'authn_token_reuse'") == 1
        (notice,) = worker.deliver()
        assert (notice.to, notice.subject) == (person.email, "We ended one of your sessions")

    def test_other_sessions_of_the_person_live_on(self, api: ApiClient, database: Database, app: Any) -> None:
        person = make_person()
        other = ApiClient(app.test_client())
        other.log_in(person.email)
        api.log_in(person.email)
        api.refresh()
        database.execute(
            "UPDATE refresh_tokens SET used_at = used_at - interval '11 seconds' WHERE used_at IS NOT NULL"
        )
        assert_problem(api.refresh(), 401, "refresh_token_reused")
        assert other.get("/profile").status_code == 200

    def test_rotation_never_moves_the_absolute_end(self, api: ApiClient, database: Database) -> None:
        api.log_in(make_person().email, remember_me=False)
        before = database.scalar("SELECT expires_at FROM sessions")
        answer = api.refresh()
        assert database.scalar("SELECT expires_at FROM sessions") == before
        assert body_of(answer)["refresh_expires_in"] <= 24 * 3600

    @pytest.mark.parametrize("column", ["idle_expires_at", "expires_at"])
    def test_an_ended_session_refreshes_nothing(self, api: ApiClient, database: Database, column: str) -> None:
        api.log_in(make_person().email)
        database.execute(f"UPDATE sessions SET {column} = now() - interval '1 second'")
        assert_problem(api.refresh(), 401, "invalid_refresh_token")
        assert_problem(api.get("/profile"), 401, "invalid_token")

    def test_an_expired_refresh_token_is_refused(self, api: ApiClient, database: Database) -> None:
        api.log_in(make_person().email)
        database.execute("UPDATE refresh_tokens SET expires_at = now() - interval '1 second'")
        assert_problem(api.refresh(), 401, "invalid_refresh_token")

    def test_what_is_stored_cannot_be_presented(self, api: ApiClient, database: Database) -> None:
        api.log_in(make_person().email)
        stored = database.dump()
        assert api.grant["refresh_token"] not in stored
        assert api.grant["access_token"] not in stored

    def test_an_access_token_is_no_refresh_token_and_the_reverse(self, api: ApiClient) -> None:
        api.log_in(make_person().email)
        assert_problem(api.refresh(api.grant["access_token"]), 401, "invalid_refresh_token")
        wrong = {"Authorization": f"Bearer {api.grant['refresh_token']}"}
        assert_problem(api.get("/profile", headers=wrong), 401, "invalid_token")


class TestLogout:
    """Ended means refused on the next request."""

    def test_both_tokens_are_dead(self, api: ApiClient) -> None:
        api.log_in(make_person().email)
        assert api.post("/auth/logout").status_code == 204
        assert_problem(api.get("/profile"), 401, "invalid_token")
        assert_problem(api.refresh(), 401, "invalid_refresh_token")
        assert_problem(api.post("/auth/logout"), 401, "invalid_token")

    def test_all_devices(self, api: ApiClient, app: Any) -> None:
        person = make_person()
        other = ApiClient(app.test_client())
        other.log_in(person.email)
        api.log_in(person.email)
        assert api.post("/auth/logout", {"all_devices": True}).status_code == 204
        assert_problem(other.get("/profile"), 401, "invalid_token")

    def test_one_device_leaves_the_others(self, api: ApiClient, app: Any) -> None:
        person = make_person()
        other = ApiClient(app.test_client())
        other.log_in(person.email)
        api.log_in(person.email)
        api.post("/auth/logout")
        assert other.get("/profile").status_code == 200


class TestTheStateOfThePersonIsReadOnEachRequest:
    """Number 26."""

    @pytest.mark.parametrize("status", [one for one in UserStatus if one is not UserStatus.ACTIVE])
    def test_a_closed_account_is_out_at_once(self, api: ApiClient, database: Database, status: UserStatus) -> None:
        api.log_in(make_person().email)
        database.execute(f"UPDATE users SET status = '{status.value}'")
        assert_problem(api.get("/profile"), 401, "invalid_token")
        assert_problem(api.refresh(), 401, "invalid_refresh_token")

    def test_a_deleted_person_is_out_at_once(self, api: ApiClient, database: Database) -> None:
        api.log_in(make_person().email)
        database.execute("DELETE FROM users")
        assert_problem(api.get("/profile"), 401, "invalid_token")

    def test_a_token_holds_ids_and_nothing_of_the_person(self, api: ApiClient) -> None:
        person = make_person(first_name="Canary")
        api.log_in(person.email)
        claims = jwt.decode(api.grant["access_token"], options={"verify_signature": False})
        assert set(claims) == {"iss", "aud", "sub", "sid", "jti", "type", "scope", "iat", "nbf", "exp"}
        assert person.email not in str(claims)


def test_being_seen_puts_off_the_idle_end_and_is_written_once_a_minute(api: ApiClient, database: Database) -> None:
    api.log_in(make_person().email)
    before = database.scalar("SELECT updated_at FROM sessions")
    api.get("/profile")
    assert database.scalar("SELECT updated_at FROM sessions") == before
    database.execute(
        "UPDATE sessions SET last_seen_at = now() - interval '2 minutes', idle_expires_at = now() + interval '1 hour'"
    )
    api.get("/profile")
    assert database.scalar("SELECT last_seen_at = now() AND idle_expires_at > now() + interval '6 days' FROM sessions")


def test_a_refused_login_leaves_a_trace(api: ApiClient, database: Database) -> None:
    person = make_person()
    api.log_in(person.email, "wrong")
    row = database.row("SELECT action, entity_id, request_id FROM audit_logs WHERE action = 'login.failed'")
    assert row[:2] == ("login.failed", person.id)


def test_where_a_session_began_is_kept(api: ApiClient, database: Database) -> None:
    person = make_person()
    api.post("/auth/login", {"email": person.email, "password": PASSWORD}, headers={"User-Agent": "curl/8"})
    assert database.count(Session, Session.user_agent == "curl/8", Session.ip == "127.0.0.1") == 1


def test_a_forwarded_address_is_not_believed(api: ApiClient, database: Database) -> None:
    person = make_person()
    headers = dict.fromkeys(("X-Forwarded-For", "X-Real-IP", "Forwarded"), "203.0.113.9")
    api.post("/auth/login", {"email": person.email, "password": PASSWORD}, headers=headers)
    assert database.count(Session, Session.ip == "127.0.0.1") == 1
