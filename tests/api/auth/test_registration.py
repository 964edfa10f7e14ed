"""Signing up over HTTP (security numbers 1, 2, 5, 7, 9, 10, 35)."""

from typing import Any

import pytest

from app.auth.passwords import service as passwords
from app.auth.registration.models import OneTimeToken
from app.core.mail import MAILBOX
from app.jobs.models import OutboxMessage
from app.people.models import User
from app.unit_of_work import UnitOfWork
from tests.api.client import ApiClient, assert_problem, body_of
from tests.conftest import Database, Worker
from tests.factories.people import PASSWORD, make_person

ADDRESS = "new@example.org"


def form(**changes: Any) -> dict[str, Any]:
    return {
        "email": ADDRESS,
        "password": PASSWORD,
        "password_confirm": changes.get("password", PASSWORD),
        "accept_terms": True,
        **changes,
    }


def test_a_person_signs_up_verifies_and_logs_in(api: ApiClient, worker: Worker) -> None:
    begun = api.post("/auth/register", form(first_name="Zoë", timezone="Europe/Berlin"))
    assert begun.status_code == 202
    (mail,) = worker.deliver()
    assert mail.to == ADDRESS
    assert_problem(api.log_in(ADDRESS), 401, "invalid_credentials")
    assert api.post("/auth/email/verify", {"token": mail.token}).status_code == 200
    assert api.log_in(ADDRESS).status_code == 200
    profile = body_of(api.get("/profile"))
    assert profile | {"first_name": "Zoë", "timezone": "Europe/Berlin", "email_verified": True} == profile
    (welcome,) = worker.deliver()
    assert welcome.subject == "Welcome to Coffer"


def test_a_known_address_gets_the_same_answer_and_its_owner_a_mail(
    api: ApiClient, worker: Worker, database: Database
) -> None:
    owner = make_person(email="owner@example.org")
    unknown = api.post("/auth/register", form())
    known = api.post("/auth/register", form(email="OWNER@Example.org"))
    for answer in (unknown, known):
        answer.headers.remove("X-Request-ID")
        answer.headers.remove("Date") if "Date" in answer.headers else None
    assert (known.status_code, known.data, dict(known.headers)) == (
        unknown.status_code,
        unknown.data,
        dict(unknown.headers),
    )
    assert {(m.to, m.subject) for m in worker.deliver()} == {
        (ADDRESS, "Confirm your e-mail address"),
        (owner.email, "You already have an account"),
    }
    assert database.count(User, User.email == owner.email) == 1
    assert api.log_in(owner.email).status_code == 200


def test_known_and_unknown_addresses_cost_the_same_hashes(api: ApiClient, hashes: list[str]) -> None:
    make_person(email="owner@example.org")
    hashes.clear()
    api.post("/auth/register", form())
    unknown = list(hashes)
    hashes.clear()
    api.post("/auth/register", form(email="owner@example.org"))
    assert hashes == unknown == ["hashpw"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"email": "no address"}, "email"),
        ({"email": "a" * 250 + "@example.org"}, "email"),
        ({"password": "short"}, "password"),
        ({"password": "password123"}, "password"),
        ({"password": "coffer12"}, "password"),
        ({"password": "new@example.org"}, "password"),
        ({"password": "x" * 2000}, "password"),
        ({"password_confirm": "another"}, "password_confirm"),
        ({"accept_terms": False}, "accept_terms"),
        ({"accept_terms": "yes"}, "accept_terms"),
        ({"first_name": "x" * 101}, "first_name"),
        ({"first_name": "a\x00b"}, "first_name"),
        ({"first_name": "a\nb"}, "first_name"),
        ({"timezone": "Mars/Olympus"}, "timezone"),
        ({"language": "english"}, "language"),
        ({"phone": "030 1234"}, "phone"),
        ({"role": "admin"}, "role"),
        ({"email_verified_at": "2026-01-01T00:00:00Z"}, "email_verified_at"),
        ({"id": "01a2-"}, "id"),
    ],
)
def test_a_bad_field_is_named_and_nothing_is_kept(
    api: ApiClient, database: Database, change: dict[str, Any], field: str
) -> None:
    body = assert_problem(api.post("/auth/register", form(**change)), 422, "invalid")
    assert field in body["errors"]
    assert set(body["errors"]) <= {field, "password_confirm"}
    assert database.count(User) == database.count(OutboxMessage) == 0


@pytest.mark.parametrize(
    "password",
    [
        "x7" + "ä" * 62,
        "\U0001f511" * 40 + "key to the coffer of old",
        "tab\tand space at the end ",
        "пароль из нескольких слов",
    ],
)
def test_every_byte_of_a_long_password_counts(api: ApiClient, worker: Worker, password: str) -> None:
    assert api.post("/auth/register", form(password=password)).status_code == 202
    (mail,) = worker.deliver()
    api.post("/auth/email/verify", {"token": mail.token})
    assert api.log_in(ADDRESS, password).status_code == 200
    for wrong in (password + "x", password[:-1], password.swapcase() + "!"):
        assert_problem(api.log_in(ADDRESS, wrong), 401, "invalid_credentials")


def test_composed_and_decomposed_forms_of_a_password_are_one(api: ApiClient) -> None:
    person = make_person(password="stra\u0308nge horse battery")
    assert api.log_in(person.email, "str\u00e4nge horse battery").status_code == 200


def test_a_link_works_once_and_get_changes_nothing(api: ApiClient, worker: Worker, database: Database) -> None:
    api.post("/auth/register", form())
    (mail,) = worker.deliver()
    page = api.http.get("/verify-email")
    assert page.status_code == 200
    assert "unsafe" not in page.headers["Content-Security-Policy"]
    assert api.http.get(f"/api/v1/auth/email/verify?token={mail.token}").status_code == 405
    assert database.count(OneTimeToken) == 1
    assert api.post("/auth/email/verify", {"token": mail.token}).status_code == 200
    assert_problem(api.post("/auth/email/verify", {"token": mail.token}), 422, "link_unusable")


@pytest.mark.parametrize("token", ["x", "' OR 1=1 --", "A" * 43, "ä"])
def test_a_made_up_token_is_refused(api: ApiClient, token: str) -> None:
    assert_problem(api.post("/auth/email/verify", {"token": token}), 422, "link_unusable")


def test_an_expired_link_is_refused_and_another_can_be_asked_for(
    api: ApiClient, worker: Worker, database: Database
) -> None:
    api.post("/auth/register", form())
    (mail,) = worker.deliver()
    database.execute("UPDATE one_time_tokens SET expires_at = now() - interval '1 second'")
    assert_problem(api.post("/auth/email/verify", {"token": mail.token}), 422, "link_unusable")
    assert api.post("/auth/email/resend", {"email": ADDRESS}).status_code == 202
    (again,) = worker.deliver()
    assert api.post("/auth/email/verify", {"token": again.token}).status_code == 200
    assert api.log_in(ADDRESS).status_code == 200


def test_asking_again_tells_nothing_and_mails_only_who_waits(api: ApiClient, worker: Worker) -> None:
    make_person(email="owner@example.org")
    answers = [api.post("/auth/email/resend", {"email": one}) for one in ("owner@example.org", "nobody@example.org")]
    assert answers[0].data == answers[1].data
    assert worker.deliver() == []


class TestSeveralRegistrationsOfOneAddress:
    """Mails of a stranger's registration look like one's own, so that a link alone must not decide."""

    STRANGER = "the stranger wanted to be first"
    OWNER = "the owner of the mailbox came too"

    @pytest.mark.parametrize("order", [(STRANGER, OWNER), (OWNER, STRANGER)])
    @pytest.mark.parametrize("followed", [0, 1, 2])
    def test_whichever_link_is_followed_the_password_decides(
        self, api: ApiClient, worker: Worker, order: tuple[str, str], followed: int
    ) -> None:
        for password in order:
            api.post("/auth/register", form(password=password, first_name=password[4:9]))
        api.post("/auth/email/resend", {"email": ADDRESS})
        mails = worker.deliver()
        assert [m.to for m in mails] == [ADDRESS] * 3
        link = {"token": mails[followed].token}
        assert_problem(api.post("/auth/email/verify", link), 422, "password_needed")
        assert_problem(api.post("/auth/email/verify", link | {"password": "guessed at"}), 422, "password_needed")
        assert api.post("/auth/email/verify", link | {"password": self.OWNER}).status_code == 200
        assert_problem(api.log_in(ADDRESS, self.STRANGER), 401, "invalid_credentials")
        assert api.log_in(ADDRESS, self.OWNER).status_code == 200
        assert body_of(api.get("/profile"))["first_name"] == "owner"
        for mail in mails:
            assert_problem(api.post("/auth/email/verify", {"token": mail.token}), 422, "link_unusable")

    def test_the_same_registration_twice_needs_no_password(self, api: ApiClient, worker: Worker) -> None:
        api.post("/auth/register", form())
        api.post("/auth/email/resend", {"email": ADDRESS})
        first, again = worker.deliver()
        assert api.post("/auth/email/verify", {"token": again.token}).status_code == 200
        assert api.log_in(ADDRESS).status_code == 200
        assert_problem(api.post("/auth/email/verify", {"token": first.token}), 422, "link_unusable")

    def test_the_mail_repeats_no_word_of_who_signed_up(self, api: ApiClient, worker: Worker) -> None:
        api.post("/auth/register", form(first_name="you won at http://evil.example"))
        (mail,) = worker.deliver()
        assert "evil" not in mail.mail.text + mail.mail.html


def test_an_answer_at_login_does_not_tell_whether_an_address_was_free(api: ApiClient) -> None:
    """A stranger registers the address with a password of their own, and tries it."""
    make_person(email="owner@example.org")
    bodies = []
    for address in ("owner@example.org", ADDRESS):
        api.post("/auth/register", form(email=address, password="of the stranger only"))
        body = assert_problem(api.log_in(address, "of the stranger only"), 401, "invalid_credentials")
        del body["request_id"]
        bodies.append(body)
    assert bodies[0] == bodies[1]


def test_the_token_is_nowhere_but_in_the_mail(api: ApiClient, worker: Worker, database: Database) -> None:
    api.post("/auth/register", form())
    (mail,) = worker.deliver()
    assert mail.token not in database.dump()
    assert mail.token not in str(worker.envelopes)
    assert f"#token={mail.token}" in mail.link
    assert "?" not in mail.link


def test_the_password_is_kept_as_a_hash_only(api: ApiClient, worker: Worker, database: Database) -> None:
    answer = api.post("/auth/register", form())
    worker.deliver()
    assert PASSWORD not in database.dump() + answer.get_data(as_text=True)
    assert "$2b$" not in answer.get_data(as_text=True)


def test_a_hash_of_lower_cost_is_made_anew_at_login(
    api: ApiClient, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = make_person()
    before = database.scalar("SELECT password_hash FROM users")
    monkeypatch.setattr(passwords, "_cost", lambda _: 3)
    assert api.log_in(person.email).status_code == 200
    after = database.scalar("SELECT password_hash FROM users")
    assert after != before
    monkeypatch.undo()
    assert api.log_in(person.email).status_code == 200
    assert database.scalar("SELECT password_hash FROM users") == after


def test_mail_goes_to_the_address_that_is_kept(api: ApiClient, worker: Worker) -> None:
    make_person(email="mike@example.org", verified=False)
    api.post("/auth/email/resend", {"email": "mıke@example.org"})
    assert worker.deliver() == []


def test_a_registration_that_is_not_committed_sends_nothing(
    api: ApiClient, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: UnitOfWork) -> None:
        raise RuntimeError("the plug was pulled")

    monkeypatch.setattr(UnitOfWork, "commit", broken)
    assert_problem(api.post("/auth/register", form()), 500, "internal_error")
    monkeypatch.undo()
    assert worker.envelopes == []
    assert worker.deliver() == []


def test_the_mailbox_holds_each_message_under_its_own_id(api: ApiClient, worker: Worker) -> None:
    api.post("/auth/register", form())
    (mail,) = worker.deliver()
    assert list(worker.storage.names(MAILBOX)) == [f"{MAILBOX}{mail.message_id.strip('<>').partition('@')[0]}.eml"]
