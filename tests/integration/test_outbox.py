"""Which messages the relay publishes, and how a message ends (F1, F2, F9)."""

from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from flask import Flask
from kombu.exceptions import OperationalError

from app.jobs import service
from app.jobs.names import SEND_WELCOME
from app.jobs.publisher import Envelope
from app.unit_of_work import UnitOfWork
from tests.conftest import Database

# Times are counted in seconds from now, in the database's clock.
NOW = "now() + interval '1 second' * "

NEVER_PUBLISHED = {"available_at": -6}
UNHEARD_OF = {"available_at": -70, "published_at": -61}
LEFT_BY_A_DEAD_WORKER = {"available_at": -30, "published_at": -29, "leased_until": -1}


def make_message(database: Database, **times: int) -> UUID:
    with UnitOfWork() as uow:
        message = uow.outbox.send(SEND_WELCOME, user_id=uuid4())
        uow.commit()
    for name, seconds in times.items():
        database.execute(f"UPDATE outbox SET {name} = {NOW} :seconds WHERE id = :id", seconds=seconds, id=message.id)
    return message.id


def relay() -> list[UUID]:
    published: list[Envelope] = []
    relayed = service.relay_messages(UnitOfWork(), published.append)
    assert relayed == len(published)
    return [envelope.id for envelope in published]


@pytest.fixture
def message_id(app: Flask, database: Database) -> UUID:
    return make_message(database)


@pytest.mark.parametrize("times", [NEVER_PUBLISHED, UNHEARD_OF, LEFT_BY_A_DEAD_WORKER])
def test_what_the_broker_does_not_know_of_is_published_once(database: Database, times: dict[str, int]) -> None:
    message_id = make_message(database, **times)
    assert relay() == [message_id]
    assert database.scalar("SELECT published_at = now() FROM outbox")
    if "leased_until" not in times:
        assert relay() == []


@pytest.mark.parametrize(
    "times",
    [
        pytest.param({"available_at": -4}, id="just written: its own process publishes it"),
        pytest.param({"available_at": 60}, id="put off"),
        pytest.param({"available_at": -70, "published_at": -59}, id="published, and still to be heard of"),
        pytest.param({"available_at": -70, "published_at": -65, "leased_until": 1}, id="at work"),
    ],
)
def test_what_is_not_due_or_at_work_is_left_alone(database: Database, times: dict[str, int]) -> None:
    make_message(database, **times)
    assert relay() == []


@pytest.mark.parametrize("status", ["done", "failed"])
@pytest.mark.parametrize("times", [NEVER_PUBLISHED, UNHEARD_OF, LEFT_BY_A_DEAD_WORKER])
def test_what_has_ended_is_never_published_again(database: Database, times: dict[str, int], status: str) -> None:
    make_message(database, **times)
    database.execute(f"UPDATE outbox SET status = '{status}', finished_at = now()")
    assert relay() == []


def test_the_oldest_come_first_and_a_batch_is_bounded(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "RELAY_BATCH", 2)
    newest, oldest, middle = (make_message(database, available_at=seconds) for seconds in (-10, -30, -20))
    assert relay() == [oldest, middle]
    assert relay() == [newest]


def test_a_broker_that_refuses_leaves_all_unmarked(database: Database) -> None:
    """Also those that it took before: to publish again is harmless, to forget is not."""
    first, second = (make_message(database, available_at=seconds) for seconds in (-20, -10))

    def publish(envelope: Envelope) -> None:
        if envelope.id == second:
            raise OperationalError

    with pytest.raises(OperationalError):
        service.relay_messages(UnitOfWork(), publish)
    assert database.scalar("SELECT count(published_at) FROM outbox") == 0
    assert relay() == [first, second]


def test_a_claimed_message_is_leased_and_nobody_elses(database: Database, message_id: UUID) -> None:
    assert service.claim_message(UnitOfWork(), message_id=message_id) == 1
    assert service.claim_message(UnitOfWork(), message_id=message_id) is None
    assert database.row("SELECT status, attempts, leased_until - now() FROM outbox") == ("waiting", 1, service.LEASE)


def test_a_lease_that_has_run_out_lets_the_next_worker_in(database: Database, message_id: UUID) -> None:
    service.claim_message(UnitOfWork(), message_id=message_id)
    database.execute(f"UPDATE outbox SET leased_until = {NOW} -1")
    assert service.claim_message(UnitOfWork(), message_id=message_id) == 2


@pytest.mark.parametrize("change", ["status = 'done'", "status = 'failed'", f"available_at = {NOW} 60"])
def test_what_is_ended_or_put_off_cannot_be_claimed(database: Database, message_id: UUID, change: str) -> None:
    database.execute(f"UPDATE outbox SET {change}")
    assert service.claim_message(UnitOfWork(), message_id=message_id) is None


def test_an_unknown_message_cannot_be_claimed(app: Flask) -> None:
    assert service.claim_message(UnitOfWork(), message_id=uuid4()) is None


@pytest.mark.parametrize(
    "end",
    [
        service.finish_message,
        service.extend_lease,
        lambda uow, **message: service.give_up_message(uow, **message, error="x"),
        lambda uow, **message: service.retry_message(uow, **message, error="x"),
    ],
    ids=["finish", "extend", "give up", "retry"],
)
@pytest.mark.parametrize("over", ["attempts = 2", "status = 'done'", "status = 'failed'"])
def test_who_has_lost_a_message_changes_nothing(
    database: Database, message_id: UUID, over: str, end: Callable[..., Any]
) -> None:
    """A worker that was thought dead comes back when another has the message, or has ended it."""
    service.claim_message(UnitOfWork(), message_id=message_id)
    database.execute(f"UPDATE outbox SET {over}, leased_until = {NOW} -1")
    before = database.dump()
    end(UnitOfWork(), message_id=message_id, attempt=1)
    assert database.dump() == before


def test_a_retry_is_put_off_and_forgotten_by_the_broker(database: Database, message_id: UUID) -> None:
    service.claim_message(UnitOfWork(), message_id=message_id)
    assert service.retry_message(UnitOfWork(), message_id=message_id, attempt=1, error="busy")
    row = database.row("SELECT status, attempts, published_at, leased_until, finished_at, last_error FROM outbox")
    assert row == ("waiting", 1, None, None, None, "busy")
    assert 3.75 <= database.scalar("SELECT extract(epoch FROM available_at - now()) FROM outbox") <= 6.25


def test_the_last_try_is_the_last(database: Database, message_id: UUID) -> None:
    database.execute("UPDATE outbox SET attempts = :spent", spent=service.MOST_ATTEMPTS - 1)
    assert service.claim_message(UnitOfWork(), message_id=message_id) == service.MOST_ATTEMPTS
    assert not service.retry_message(
        UnitOfWork(), message_id=message_id, attempt=service.MOST_ATTEMPTS, error="still busy"
    )
    row = database.row("SELECT status, leased_until, finished_at = now(), last_error FROM outbox")
    assert row == ("failed", None, True, "still busy")


def test_a_message_that_every_worker_dies_of_is_given_up(database: Database, message_id: UUID) -> None:
    database.execute(f"UPDATE outbox SET attempts = :spent, leased_until = {NOW} -1", spent=service.MOST_ATTEMPTS)
    assert service.claim_message(UnitOfWork(), message_id=message_id) is None
    assert database.row("SELECT status, leased_until, last_error FROM outbox") == (
        "failed",
        None,
        "every worker that took it died",
    )


def test_old_messages_are_purged_when_done_and_kept_when_failed(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "PURGE_BATCH", 2)
    days = 24 * 3600
    ages = {"done": [-8, -8, -8, -6, 0], "failed": [-8, -400], "waiting": [-8]}
    for status, ended in ages.items():
        for age in ended:
            column = "available_at" if status == "waiting" else "finished_at"
            message_id = make_message(database, **{column: age * days})
            database.execute(f"UPDATE outbox SET status = '{status}' WHERE id = :id", id=message_id)
    assert service.purge_messages(UnitOfWork()) == 3
    left = {status: database.scalar(f"SELECT count(*) FROM outbox WHERE status = '{status}'") for status in ages}
    assert left == {"done": 2, "failed": 2, "waiting": 1}
