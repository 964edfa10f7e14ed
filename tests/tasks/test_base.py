"""What every task does with its message: once, with bounded retries, under a lease that is kept (F3 to F7)."""

import io
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from functools import cached_property
from typing import Any
from uuid import UUID, uuid4

import pytest
import redis
import structlog
from celery.exceptions import SoftTimeLimitExceeded
from flask import Flask
from sqlalchemy import insert
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.auth.registration import mail as registration_mail
from app.core import origin
from app.core.extensions import celery, db, open_session, settings
from app.core.mail import MailDelayed, MailUndeliverable
from app.jobs import service
from app.jobs.models import OutboxMessage
from app.jobs.names import MAIL_QUEUE, PURGE_OUTBOX, RELAY_OUTBOX, SEND_WELCOME
from app.jobs.publisher import Envelope
from app.unit_of_work import UnitOfWork
from tasks import base
from tests.api.client import ApiClient
from tests.conftest import Database, Worker, run_task
from tests.factories.people import make_person

PATIENCE_SECONDS = 10


class Work:
    """A message, and a stand-in for the work of its task that does what the test wants."""

    def __init__(self) -> None:
        self.calls: list[dict[str, UUID]] = []
        self.does: Callable[[UUID], object] = lambda _: None
        self._disappointed: AssertionError | None = None

    def __call__(self, _: UnitOfWork, **ids: UUID) -> None:
        self.calls.append(ids)
        try:
            self.does(ids["outbox_id"])
        except AssertionError as error:
            self._disappointed = error
            raise

    @cached_property
    def envelope(self) -> Envelope:
        with UnitOfWork() as uow:
            message = uow.outbox.send(SEND_WELCOME, user_id=uuid4())
            uow.commit()
        return Envelope.of(message)

    def fails_with(self, *errors: Exception | None) -> None:
        """With these, one after the other; the last one stays."""

        def fail(_: UUID) -> None:
            error = errors[min(len(self.calls), len(errors)) - 1]
            if error is not None:
                raise error

        self.does = fail

    def deliver(self) -> None:
        """Run the task. What the work found wrong is the test's concern, though the task tries it again."""
        run_task(self.envelope)
        if self._disappointed is not None:
            raise self._disappointed


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    done = Work()
    monkeypatch.setattr(registration_mail, "send_welcome", done)
    return done


LogLines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def log_lines(app: Flask) -> Iterator[LogLines]:
    """What was logged, as production writes it: one JSON object a line."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    root = logging.getLogger()
    (usual,) = (
        one.formatter for one in root.handlers if isinstance(one.formatter, structlog.stdlib.ProcessorFormatter)
    )
    *processors, _ = usual.processors
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(processors=[*processors, structlog.processors.JSONRenderer()])
    )
    root.addHandler(handler)
    yield lambda: [json.loads(line) for line in written.getvalue().splitlines()]
    root.removeHandler(handler)


@pytest.mark.usefixtures("app")
class TestOnce:
    """However often the broker delivers."""

    def test_a_message_delivered_twice_is_worked_on_once(self, database: Database, work: Work) -> None:
        for _ in range(2):
            work.deliver()
        assert len(work.calls) == 1
        row = database.row("SELECT status, attempts, leased_until, finished_at = now(), last_error FROM outbox")
        assert row == ("done", 1, None, True, None)

    def test_the_work_gets_ids_and_nothing_else(self, work: Work) -> None:
        work.deliver()
        assert work.calls == [{"user_id": UUID(work.envelope.arguments["user_id"]), "outbox_id": work.envelope.id}]

    def test_a_message_that_was_never_kept_is_passed_over(self, work: Work) -> None:
        run_task(replace(work.envelope, id=uuid4()))
        assert work.calls == []

    def test_a_message_at_work_elsewhere_is_passed_over(self, work: Work) -> None:
        service.claim_message(UnitOfWork(), message_id=work.envelope.id)
        work.deliver()
        assert work.calls == []


@pytest.mark.usefixtures("app")
class TestErrors:
    """What fails is tried again, for a while, and says why without saying of whom."""

    @pytest.mark.parametrize(
        ("error", "kept"),
        [
            (MailDelayed("the mail server answered 451"), "MailDelayed: the mail server answered 451"),
            (OperationalError("SELECT 1", {}, Exception("anna@example.org")), "OperationalError"),
            (SoftTimeLimitExceeded(), "SoftTimeLimitExceeded"),
            (ConnectionResetError("anna@example.org"), "ConnectionResetError"),
        ],
    )
    def test_a_passing_error_puts_it_off(self, database: Database, work: Work, error: Exception, kept: str) -> None:
        work.fails_with(error)
        work.deliver()
        row = database.row("SELECT status, attempts, last_error, available_at > now() FROM outbox")
        assert row == ("waiting", 1, kept, True)
        work.deliver()
        assert len(work.calls) == 1, "it was put off, and worked on at once"

    def test_what_helps_later_ends_well(self, database: Database, work: Work) -> None:
        work.fails_with(MailDelayed("later"), None)
        work.deliver()
        database.execute("UPDATE outbox SET available_at = now()")
        work.deliver()
        assert database.row("SELECT status, attempts FROM outbox") == ("done", 2)

    def test_a_final_error_ends_it_at_once(self, database: Database, work: Work) -> None:
        work.fails_with(MailUndeliverable("the mail server answered 550"))
        work.deliver()
        row = database.row("SELECT status, attempts, last_error, finished_at = now() FROM outbox")
        assert row == ("failed", 1, "MailUndeliverable: the mail server answered 550", True)

    def test_tries_are_bounded(self, database: Database, work: Work) -> None:
        """F7."""
        work.fails_with(MailDelayed("later"))
        for _ in range(service.MOST_ATTEMPTS + 3):
            work.deliver()
            database.execute("UPDATE outbox SET available_at = now()")
        assert len(work.calls) == service.MOST_ATTEMPTS
        assert database.row("SELECT status, last_error FROM outbox") == ("failed", "MailDelayed: later")

    def test_an_expected_error_is_a_warning_of_its_kind_only(self, work: Work, log_lines: LogLines) -> None:
        work.fails_with(ConnectionResetError("anna@example.org"))
        work.deliver()
        (line,) = log_lines()
        assert (line["event"], line["level"], line["error"]) == ("task_postponed", "warning", "ConnectionResetError")
        assert "anna@example.org" not in str(line)

    def test_an_unexpected_error_is_logged_and_tried_again(self, work: Work, log_lines: LogLines) -> None:
        """With the place where it happened, and without the row that the database quotes in its refusal."""
        row = {"task": "Canary\n\n(Canary)", "queue": "anna@example.org"}

        def write_half_a_row(_: UUID) -> None:
            with open_session() as session:
                session.execute(insert(OutboxMessage).values(row))

        work.does = write_half_a_row
        work.deliver()
        failed, postponed = log_lines()
        assert (failed["event"], failed["level"]) == ("task_failed", "error")
        assert "in write_half_a_row" in failed["exception"]
        assert 'null value in column "arguments"' in failed["exception"]
        assert (postponed["event"], postponed["level"]) == ("task_postponed", "warning")
        assert "Canary" not in str([failed, postponed])
        assert "anna@example.org" not in str([failed, postponed])

    @pytest.mark.parametrize("attempt", range(1, service.MOST_ATTEMPTS + 1))
    def test_pauses_double_up_to_a_bound_and_are_spread(self, attempt: int) -> None:
        pause = min(5 * 2 ** (attempt - 1), 3600)
        drawn = {service.backoff_seconds(attempt) for _ in range(50)}
        assert pause * 0.75 <= min(drawn) < max(drawn) <= pause * 1.25
        assert max(drawn) - min(drawn) > pause * 0.1


class TestLease:
    """Kept while the work goes on, and given up when another has the message."""

    LEASE = timedelta(seconds=0.8)

    @pytest.fixture
    def rows(self, committed: Flask, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
        monkeypatch.setattr(service, "LEASE", self.LEASE)
        monkeypatch.setattr(base, "HEARTBEAT_SECONDS", 0.05)
        with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            yield Database(connection)

    def test_it_outlasts_itself_while_the_work_goes_on(self, rows: Database, work: Work) -> None:
        """F5: nobody else can claim a message whose work takes longer than the lease."""
        claims_of_others: list[int | None] = []

        def take_long(message_id: UUID) -> None:
            end = time.monotonic() + 2 * self.LEASE.total_seconds()
            while time.monotonic() < end:
                claims_of_others.append(service.claim_message(UnitOfWork(), message_id=message_id))
                time.sleep(0.05)

        work.does = take_long
        work.deliver()
        assert set(claims_of_others) == {None}
        assert rows.row("SELECT status, attempts FROM outbox") == ("done", 1)
        wait_until(lambda: not heartbeats(), "the heart beats on after the work")

    def test_it_runs_out_when_the_heart_stops(self, rows: Database, work: Work) -> None:
        assert service.claim_message(UnitOfWork(), message_id=work.envelope.id) == 1
        wait_until(
            lambda: service.claim_message(UnitOfWork(), message_id=work.envelope.id) == 2,
            "a message whose worker is dead could not be claimed",
        )

    def test_who_has_lost_it_neither_keeps_nor_ends_it(self, rows: Database, work: Work) -> None:
        """As after a long pause of the whole machine: the attempt of the other worker counts."""

        def be_overtaken(_: UUID) -> None:
            rows.execute("UPDATE outbox SET attempts = 2, leased_until = '2000-01-01'")
            wait_until(lambda: not heartbeats(), "the heart beats on for a lease that was lost")

        work.does = be_overtaken
        work.deliver()
        assert rows.scalar("SELECT status = 'waiting' AND attempts = 2 AND leased_until = '2000-01-01' FROM outbox")

    @pytest.mark.parametrize("away", [OperationalError("UPDATE", {}, Exception()), PoolTimeout()])
    def test_a_database_that_is_away_for_a_moment_does_not_stop_it(
        self, rows: Database, work: Work, monkeypatch: pytest.MonkeyPatch, away: Exception
    ) -> None:
        beats: list[None] = []

        def extend(*_: object, **__: object) -> bool:
            beats.append(None)
            if len(beats) <= 2:
                raise away
            return True

        monkeypatch.setattr(service, "extend_lease", extend)
        work.does = lambda _: wait_until(lambda: len(beats) > 3, "the heart stopped")
        work.deliver()
        assert rows.scalar("SELECT status FROM outbox") == "done"


def heartbeats() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "lease-heartbeat"]


def wait_until(happened: Callable[[], bool], otherwise: str) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not happened():
        assert time.monotonic() < end, otherwise
        time.sleep(0.02)


class TestRequestId:
    """From the request through the outbox and the broker to what the task logs and writes."""

    def test_a_task_works_for_the_request_that_asked(self, api: ApiClient, worker: Worker, work: Work) -> None:
        person = make_person(verified=False)
        api.post("/auth/email/resend", {"email": person.email})
        (mail,) = worker.deliver()
        seen: list[dict[str, Any]] = []
        work.does = lambda _: seen.extend(
            [structlog.contextvars.get_contextvars(), {"request_id": origin.current().request_id}]
        )
        api.post("/auth/email/verify", {"token": mail.token}, headers={"X-Request-ID": "my-request-1"})
        worker.deliver()
        assert seen == [{"request_id": "my-request-1"}] * 2
        assert structlog.contextvars.get_contextvars() == {}

    @pytest.mark.usefixtures("app")
    @pytest.mark.parametrize("forged", ["12345678\nlevel=critical", "", "short", "a" * 65])
    def test_an_id_that_is_not_well_formed_is_replaced(self, work: Work, forged: str) -> None:
        """Number 115: whoever can write to the broker cannot forge lines of the log."""
        seen: list[str] = []
        work.does = lambda _: seen.append(origin.current().request_id)
        run_task(replace(work.envelope, request_id=forged))
        assert len(seen[0]) == 32


@pytest.mark.usefixtures("app")
class TestTimetable:
    """The tasks that beat asks for."""

    @pytest.fixture
    def broker(self) -> Iterator[redis.Redis]:
        with redis.Redis.from_url(settings().queue.redis_url, decode_responses=True) as client:
            client.flushdb()
            yield client
            client.flushdb()

    def test_the_relay_tells_the_broker_of_ids_only(self, database: Database, work: Work, broker: redis.Redis) -> None:
        """Number 35: the queue holds nothing that is worth stealing."""
        expected = work.envelope
        database.execute("UPDATE outbox SET available_at = now() - interval '1 minute'")
        celery.tasks[RELAY_OUTBOX.name].apply(throw=True)
        (raw,) = broker.lrange(MAIL_QUEUE, 0, -1)
        headers = json.loads(raw)["headers"]
        assert (headers["id"], headers["task"], headers["request_id"]) == (
            str(expected.id),
            expected.task,
            expected.request_id,
        )
        assert headers["kwargsrepr"] == str(expected.arguments)
        assert database.scalar("SELECT published_at = now() FROM outbox")

    def test_the_nightly_purge_deletes_what_was_done_long_ago(self, database: Database, work: Work) -> None:
        work.deliver()
        database.execute("UPDATE outbox SET finished_at = now() - interval '8 days'")
        celery.tasks[PURGE_OUTBOX.name].apply(throw=True)
        assert database.scalar("SELECT count(*) FROM outbox") == 0
