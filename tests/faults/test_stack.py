"""The whole stack, with parts of it broken (F1, F3, F4, F8, F9, F12, F27; security number 31)."""

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import psutil
import pytest

from app.jobs.names import MAIL_QUEUE
from tests.factories.people import PASSWORD
from tests.faults.stack import Stack

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def started() -> Iterator[Stack]:
    with TemporaryDirectory(prefix="coffer-stack-") as folder, Stack(Path(folder)) as stack:
        yield stack


@pytest.fixture
def stack(started: Stack) -> Iterator[Stack]:
    """The running stack; whatever a test broke is whole again afterwards."""
    yield started
    started.smtp.release()
    started.redis.start()
    for program in started.programs.values():
        program.start()
    started.wait_until_ready()
    started.wait_until_all_is_done()


def test_a_person_signs_up_and_stays_signed_in(stack: Stack) -> None:
    address = stack.register(**{"X-Request-ID": "my-journey-1"})
    mail = stack.wait_for_mail(address)
    grant = stack.log_in(address)
    assert stack.profile(grant).json()["email"] == address
    renewed = stack.post("/auth/refresh", {"refresh_token": grant["refresh_token"]}).json()
    assert stack.profile(renewed).status_code == 200
    welcome = stack.wait_for(lambda: stack.mails(address)[1:], "the welcome did not arrive")[0]
    assert welcome.message["Subject"] == "Welcome to Coffer"

    stack.wait_for(lambda: '"request_id": "my-journey-1"' in stack.worker.said(), "the worker does not log for whom")
    for program in stack.programs.values():
        for secret in (address, PASSWORD, mail.token, grant["access_token"], renewed["refresh_token"]):
            assert secret not in program.said(), f"{program.name} logs what is nobody's business"


def test_redis_may_be_away_during_a_registration(stack: Stack) -> None:
    """F8, F12: the answer does not wait for it, and the mail is sent once it is back."""
    stack.redis.stop()
    started = time.monotonic()
    address = stack.register()
    assert time.monotonic() - started < 2
    assert stack.http.get("/readyz").status_code == 503
    stack.redis.start()
    stack.wait_for_mail(address)
    stack.wait_until_all_is_done()
    stack.wait_for(lambda: queue_is_empty(stack), "messages are left in the queue")
    assert len(stack.mails(address)) == 1


def test_redis_may_be_frozen_while_the_api_dies(stack: Stack) -> None:
    """F1, F11: what the process could not tell the broker any more is in the outbox."""
    frozen = psutil.Process(stack.redis.process.pid)
    frozen.suspend()
    try:
        started = time.monotonic()
        address = stack.register()
        assert time.monotonic() - started < 2
        stack.web.kill()
    finally:
        frozen.resume()
    stack.web.start()
    stack.wait_for_mail(address)
    stack.wait_until_all_is_done()
    assert len(stack.mails(address)) == 1


def test_a_process_of_the_pool_may_be_killed_while_it_sends(stack: Stack) -> None:
    """F3."""
    with held_mail(stack) as address:
        child = stack.worker.child_connected_to(stack.smtp.port)
        assert child is not None
        os.kill(child, signal.SIGKILL)
        stack.wait_for(lambda: not psutil.pid_exists(child), "the process did not end")
    arrives_under_one_id(stack, address)


def test_a_worker_may_be_killed_while_it_sends(stack: Stack) -> None:
    """F4."""
    with held_mail(stack) as address:
        stack.worker.kill()
    stack.worker.start()
    arrives_under_one_id(stack, address)


def test_redis_may_lose_everything(stack: Stack) -> None:
    """F9: the queue is empty, and the message is in the outbox still."""
    stack.worker.stop()
    with stack.broker() as broker:
        address = stack.register()
        stack.wait_for(lambda: broker.llen(MAIL_QUEUE) == 1, "the message was not published")
        broker.flushall()
    stack.worker.start()
    stack.wait_for_mail(address)
    stack.wait_until_all_is_done()
    assert len(stack.mails(address)) == 1


def test_what_was_revoked_stays_revoked(stack: Stack) -> None:
    """Number 31: neither Redis nor a process keeps what decides about it (Keycloak's CVE-2026-9802)."""
    address = stack.register()
    ended, kept = stack.log_in(address), stack.log_in(address)
    left = stack.post("/auth/logout", headers={"Authorization": f"Bearer {ended['access_token']}"})
    assert left.status_code == 204
    assert_dead(stack, ended)
    with stack.broker() as broker:
        broker.flushall()
    assert_dead(stack, ended)
    stack.web.stop()
    stack.web.start()
    stack.wait_until_ready()
    assert_dead(stack, ended)
    assert stack.profile(kept).status_code == 200


def test_a_deployment_loses_no_request(stack: Stack) -> None:
    """F27: those at work and those that wait for a thread are answered before the old processes end.

    What gunicorn has not accepted yet is cut off, so a load balancer must stop sending before.
    """
    address = stack.register()
    stack.log_in(address)
    login = {"email": address, "password": PASSWORD}
    at_work = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND usename = 'coffer_api'"
    with ThreadPoolExecutor(8) as clients, stack.database() as look, stack.database() as busy:
        with busy.transaction():
            busy.execute("LOCK TABLE users")
            answers = [clients.submit(httpx.post, stack.url("/auth/login"), json=login, timeout=30) for _ in range(8)]
            stack.wait_for(lambda: look.execute(at_work).fetchone() == (4,), "the requests did not reach the database")
            stack.wait_for(lambda: clients_of(stack) == 8, "the other requests did not arrive")
            stack.web.ask_to_stop()
            stack.wait_for(lambda: "Handling signal: term" in stack.web.said(), "the web server did not hear")
        statuses = [answer.result(30).status_code for answer in answers]
        goodbyes = [answer.result().headers.get("Connection") for answer in answers]
    assert statuses == [200] * 8
    assert goodbyes.count("close") >= 4, "nothing was answered after the signal"
    assert stack.web.wait() == 0


@contextmanager
def held_mail(stack: Stack) -> Iterator[str]:
    """A registration whose mail has reached the mail server, which does not answer before the end of the block."""
    stack.smtp.hold()
    address = stack.register()
    stack.wait_for_mail(address)
    yield address
    stack.smtp.release()


def arrives_under_one_id(stack: Stack, address: str) -> None:
    stack.wait_until_all_is_done()
    assert len(stack.mails(address)) == 2, "the first was cut off, so there is one repeat"
    assert len({mail.message_id for mail in stack.mails(address)}) == 1
    assert stack.profile(stack.log_in(address)).status_code == 200


def assert_dead(stack: Stack, grant: dict[str, str]) -> None:
    assert stack.profile(grant).status_code == 401
    assert stack.post("/auth/refresh", {"refresh_token": grant["refresh_token"]}).status_code == 401


def queue_is_empty(stack: Stack) -> bool:
    with stack.broker() as broker:
        return (broker.llen(MAIL_QUEUE), broker.hlen("unacked")) == (0, 0)


def clients_of(stack: Stack) -> int:
    """How many connections the web server has accepted."""
    (worker,) = psutil.Process(stack.web.pid).children()
    return sum(1 for one in worker.net_connections("tcp4") if one.laddr.port == stack.port and len(one.raddr))
