"""What many do at the same moment, each on a connection of their own (security numbers 10 and 28)."""

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from app.auth.registration.errors import AdministratorExists
from app.auth.registration.service import create_person
from app.jobs import service
from app.jobs.models import OutboxMessage
from app.jobs.names import SEND_WELCOME
from app.jobs.publisher import Envelope
from app.unit_of_work import UnitOfWork
from tests.api.client import ApiClient, body_of
from tests.conftest import Database, Worker
from tests.factories.people import PASSWORD, make_person

Answer = TypeVar("Answer")

PATIENCE_SECONDS = 20
ADDRESS = "new@example.org"


@pytest.fixture
def database(committed_rows: Database) -> Database:
    return committed_rows


def at_once(app: Flask, *work: Callable[[], Answer]) -> list[Answer]:
    """What each answers when all begin together, each in a thread with an application context of its own."""
    start = threading.Barrier(len(work))

    def run(one: Callable[[], Answer]) -> Answer:
        with app.app_context():
            start.wait(PATIENCE_SECONDS)
            return one()

    with ThreadPoolExecutor(len(work)) as pool:
        return list(pool.map(run, work, timeout=PATIENCE_SECONDS))


def post(app: Flask, path: str, body: dict[str, object]) -> Callable[[], TestResponse]:
    return lambda: ApiClient(app.test_client()).post(path, body)


def statuses(answers: list[TestResponse]) -> Counter[int]:
    return Counter(answer.status_code for answer in answers)


def register(app: Flask, **changes: object) -> Callable[[], TestResponse]:
    form = {"email": ADDRESS, "password": PASSWORD, "password_confirm": PASSWORD, "accept_terms": True}
    return post(app, "/auth/register", form | changes)


def waiting_message() -> OutboxMessage:
    """A message that was written long enough ago for a relay to step in."""
    with UnitOfWork() as uow:
        message = uow.outbox.send(SEND_WELCOME, user_id=make_person().id)
        message.available_at -= 2 * service.OVERDUE_AFTER
        uow.commit()
    return message


def test_one_refresh_token_used_by_many_gives_one_pair_and_one_family(committed: Flask, database: Database) -> None:
    """Number 28: within the grace all get the same pair; Keycloak's CVE-2026-1035 gave two families."""
    api = ApiClient(committed.test_client())
    api.log_in(make_person().email)
    answers = at_once(committed, *[api.refresh] * 20)
    assert statuses(answers) == {200: 20}
    assert len({answer.data for answer in answers}) == 1
    assert database.row("SELECT count(*), count(used_at), count(successor_id) FROM refresh_tokens") == (2, 1, 1)
    assert database.row("SELECT count(*), count(revoked_at) FROM sessions") == (1, 0)
    api.grant = body_of(answers[0])
    assert api.get("/profile").status_code == 200


def test_one_link_used_by_many_is_used_once(committed: Flask, database: Database) -> None:
    register(committed)()
    (mail,) = Worker(committed).deliver()
    answers = at_once(committed, *[post(committed, "/auth/email/verify", {"token": mail.token})] * 20)
    assert statuses(answers) == {200: 1, 422: 19}
    assert database.scalar("SELECT count(*) FROM audit_logs WHERE action = 'email.verified'") == 1
    assert [one.subject for one in Worker(committed).deliver()] == ["Welcome to Coffer"]


def test_of_several_links_of_one_person_one_counts(committed: Flask, database: Database) -> None:
    """Each voids the others, so they must not wait for each other in a circle."""
    for _ in range(5):
        database.execute("DELETE FROM users")
        for number in range(4):
            password = f"{PASSWORD} {number}"
            register(committed, password=password, password_confirm=password)()
        mails = Worker(committed).deliver()
        chosen = f"{PASSWORD} 2"
        links = [post(committed, "/auth/email/verify", {"token": mail.token, "password": chosen}) for mail in mails]
        assert statuses(at_once(committed, *links)) == {200: 1, 422: 3}


def test_many_registrations_of_one_address_make_one_account(committed: Flask, database: Database) -> None:
    """Number 10."""
    answers = at_once(committed, *[register(committed)] * 10)
    assert statuses(answers) == {202: 10}
    assert len({answer.data for answer in answers}) == 1
    assert database.scalar("SELECT count(*) FROM users") == 1
    mails = Worker(committed).deliver()
    assert {mail.to for mail in mails} == {ADDRESS}
    confirmation: dict[str, object] = {"token": mails[-1].token, "password": PASSWORD}
    assert post(committed, "/auth/email/verify", confirmation)().status_code == 200


def test_of_two_first_administrators_one_is_made(committed: Flask, database: Database) -> None:
    def make(email: str) -> Callable[[], bool]:
        def made() -> bool:
            try:
                create_person(UnitOfWork(everybody=True), email=email, password=PASSWORD, admin=True)
            except AdministratorExists:
                return False
            return True

        return made

    people = [make(f"{number}@example.org") for number in range(5)]
    assert sorted(at_once(committed, *people)) == [False] * 4 + [True]
    assert database.scalar("SELECT count(*) FROM users WHERE role = 'admin'") == 1


def test_of_two_changes_to_one_version_one_is_refused(committed: Flask, database: Database) -> None:
    api = ApiClient(committed.test_client())
    api.log_in(make_person().email)
    version = {"If-Match": api.get("/profile").headers["ETag"]}
    bearer = {"Authorization": f"Bearer {api.grant['access_token']}"}

    def change(name: str) -> Callable[[], TestResponse]:
        other = ApiClient(committed.test_client())
        return lambda: other.patch("/profile", {"first_name": name}, headers=version | bearer)

    answers = at_once(committed, change("Left"), change("Right"))
    assert statuses(answers) == {200: 1, 412: 1}
    (winner,) = (answer.get_json()["first_name"] for answer in answers if answer.status_code == 200)
    assert database.scalar("SELECT first_name FROM users") == winner


def test_of_many_workers_one_gets_a_message(committed: Flask) -> None:
    message = waiting_message()
    claims = at_once(committed, *[lambda: service.claim_message(UnitOfWork(), message_id=message.id)] * 20)
    assert Counter(claims) == {None: 19, 1: 1}


def test_two_relays_at_once_share_the_messages(committed: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither waits for the other: the second has done its part while the first is still at it."""
    monkeypatch.setattr(service, "RELAY_BATCH", 3)
    messages = [waiting_message() for _ in range(6)]
    published: list[Envelope] = []
    second_is_done = threading.Event()
    first_is_busy = threading.Event()

    def first() -> int:
        def publish(envelope: Envelope) -> None:
            first_is_busy.set()
            assert second_is_done.wait(PATIENCE_SECONDS), "the second relay waited for the first one's rows"
            published.append(envelope)

        return service.relay_messages(UnitOfWork(), publish)

    def second() -> int:
        assert first_is_busy.wait(PATIENCE_SECONDS)
        relayed = service.relay_messages(UnitOfWork(), published.append)
        second_is_done.set()
        return relayed

    assert at_once(committed, first, second) == [3, 3]
    assert Counter(one.id for one in published) == dict.fromkeys((one.id for one in messages), 1)
    assert service.relay_messages(UnitOfWork(), published.append) == 0
