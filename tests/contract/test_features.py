"""The questions of features that unit tests of their services need, asked of memory and PostgreSQL alike."""

from uuid import uuid4

import pytest

from app.auth.registration.models import TokenPurpose
from app.core.db import new_id
from app.jobs.names import SEND_WELCOME
from app.people import service
from app.people.models import User, UserStatus
from tests.contract.kept import SOON, Begin, Kept, add, person, session_of


@pytest.fixture
def anna(begin: Begin) -> User:
    return add(begin, person("anna"))[0]


def test_a_message_is_published_with_the_commit_alone(kept: Kept, anna: User) -> None:
    with kept.begin() as uow:
        uow.outbox.send(SEND_WELCOME, user_id=anna.id)
    assert kept.published() == []
    with kept.begin() as uow:
        sent = uow.outbox.send(SEND_WELCOME, user_id=anna.id)
        assert kept.published() == []
        uow.commit()
    (envelope,) = kept.published()
    assert (envelope.id, envelope.task, envelope.arguments) == (
        sent.id,
        SEND_WELCOME.name,
        {"user_id": str(anna.id)},
    )


def test_a_message_is_claimed_by_one_and_finished_by_that_one(kept: Kept, anna: User) -> None:
    with kept.begin() as uow:
        message = uow.outbox.send(SEND_WELCOME, user_id=anna.id)
        uow.commit()
    with kept.begin() as uow:
        assert uow.outbox.claim(message.id, lease=SOON) == 1
        assert uow.outbox.claim(message.id, lease=SOON) is None
        assert not uow.outbox.finish(message.id, attempt=2)
        assert uow.outbox.finish(message.id, attempt=1)
        assert not uow.outbox.finish(message.id, attempt=1)


def test_a_token_is_spent_once_and_in_time(begin: Begin, anna: User) -> None:
    purpose, ids = TokenPurpose.VERIFY_EMAIL, [new_id(), new_id()]
    with begin() as uow:
        for token_id, name, lifetime in zip(ids, (b"good", b"late"), (SOON, -SOON), strict=True):
            uow.one_time_tokens.issue(
                token_id=token_id,
                user_id=anna.id,
                purpose=purpose,
                token_hash=name * 8,
                payload={"name": name.decode()},
                lifetime=lifetime,
            )
        uow.commit()
    with begin() as uow:
        assert uow.one_time_tokens.find_owner_id(b"late" * 8, purpose) == anna.id
        assert uow.one_time_tokens.list_payloads(anna.id) == [{"name": "late"}, {"name": "good"}]
        usable = [uow.one_time_tokens.find_usable(token_id) is not None for token_id in ids]
        assert usable == [True, False]
        assert uow.one_time_tokens.spend(b"late" * 8, purpose) is None
        assert uow.one_time_tokens.spend(b"good" * 8, TokenPurpose.RESET_PASSWORD) is None
        spent = uow.one_time_tokens.spend(b"good" * 8, purpose)
        assert spent is not None
        assert uow.one_time_tokens.spend(b"good" * 8, purpose) is None
        uow.one_time_tokens.void(anna.id, purpose)
        assert uow.one_time_tokens.list_payloads(anna.id) == []


def test_a_session_lives_until_it_ends_or_its_person_may_not_come_in(begin: Begin, anna: User) -> None:
    with begin() as uow:
        here, there, over = (
            uow.sessions.add(session_of(anna, name * 32, lasts=lasts))
            for name, lasts in ((b"h", SOON), (b"t", SOON), (b"o", -SOON))
        )
        uow.commit()
    with begin() as uow:
        live = uow.sessions.find_live(here.id, anna.id)
        assert live is not None
        assert (live.user_id, live.seen_long_ago) == (anna.id, False)
        assert uow.sessions.find_live(here.id, uuid4()) is None
        assert uow.sessions.find_live(over.id, anna.id) is None
        assert uow.sessions.end(here.id, reason="logout")
        assert not uow.sessions.end(here.id, reason="logout")
        assert uow.sessions.find_live(here.id, anna.id) is None
        uow.users.update(uow.users.get(anna.id), {"status": UserStatus.LOCKED})
        assert uow.sessions.find_live(there.id, anna.id) is None
        assert uow.sessions.end_all(anna.id, reason="locked") == 2


def test_a_service_runs_on_either(begin: Begin, anna: User) -> None:
    """`update_profile` as it is: the change, and its audit row."""
    changed = service.update_profile(
        begin(), user_id=anna.id, changes={"first_name": "Zoë", "timezone": "UTC"}, check_version=lambda _: None
    )
    assert changed.first_name == "Zoë"
    with begin() as uow:
        (row,) = uow.audit.list_all(uow.audit.query())
    assert (row.action, row.entity_id, row.changes) == (
        "profile.updated",
        anna.id,
        {"first_name": ["anna", "Zoë"]},
    )
