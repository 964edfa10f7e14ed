"""Moves of rows in batches: progress, resuming after any end, rollback, rejects (005-018, 005-028)."""

import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest
from flask import Flask

from app.core import clock
from app.core.config import ROOT
from app.jobs.batches import service
from app.jobs.batches.models import BatchStatus
from app.jobs.batches.service import Move, Progress, RowRejected, list_rejects, move_rows, roll_back
from app.people.models import User
from app.unit_of_work import UnitOfWork
from dev.testing import Addresses
from tests.conftest import Database, test_environment

NAME = "shout names"


def shout(uow: UnitOfWork, user: User) -> None:
    """Not harmless when it is done twice, so that a row that was moved twice shows."""
    if user.last_name == "bad":
        raise RowRejected("the name cannot be shouted")
    user.first_name = f"{user.first_name}!"


def whisper(uow: UnitOfWork, user: User) -> None:
    user.first_name = (user.first_name or "").removesuffix("!")


MOVE = Move(NAME, User, shout, whisper, size=4)


def everybody() -> UnitOfWork:
    return UnitOfWork(everybody=True)


def make_people(count: int, *, bad: tuple[int, ...] = ()) -> list[UUID]:
    people = [
        User(email=f"{number}@example.org", first_name=f"n{number}", last_name="bad" if number in bad else None)
        for number in range(count)
    ]
    with everybody() as uow:
        uow.users.add_all(people)
        uow.commit()
    return [one.id for one in people]


def names(database: Database) -> list[str]:
    found: list[str] = database.scalar("SELECT array_agg(first_name ORDER BY id) FROM users")
    return found


@pytest.fixture
def database(committed_rows: Database) -> Database:
    return committed_rows


@pytest.fixture(autouse=True)
def _committed(committed: Flask) -> None:
    """Several transactions, so on the pool."""


def test_all_rows_are_moved_once_and_each_batch_is_told_of(database: Database) -> None:
    make_people(10)
    seen: list[Progress] = []
    done = move_rows(everybody(), MOVE, watch=seen.append)
    assert done == Progress(BatchStatus.DONE, moved=10, rejected=0, total=10)
    assert [one.moved for one in seen] == [4, 8, 10]
    assert names(database) == [f"n{number}!" for number in range(10)]
    assert move_rows(everybody(), MOVE) == done
    assert names(database) == [f"n{number}!" for number in range(10)]


def test_no_rows_is_done(database: Database) -> None:
    assert move_rows(everybody(), MOVE) == Progress(BatchStatus.DONE, 0, 0, 0)


def test_rows_deleted_softly_are_moved_too(database: Database) -> None:
    first, _ = make_people(2)
    with everybody() as uow:
        uow.users.update(uow.users.get(first), {"deleted_at": clock.now()})
        uow.commit()
    assert move_rows(everybody(), MOVE).moved == 2
    assert names(database) == ["n0!", "n1!"]


def test_rejects_stay_as_they_are_and_have_a_reason(database: Database) -> None:
    ids = make_people(10, bad=(2, 9))
    done = move_rows(everybody(), MOVE)
    assert (done.moved, done.rejected) == (8, 2)
    assert list_rejects(everybody(), name=NAME) == dict.fromkeys((ids[2], ids[9]), "the name cannot be shouted")
    assert names(database) == [f"n{number}" + ("" if number in {2, 9} else "!") for number in range(10)]


def test_what_the_database_refuses_is_a_reject_too(database: Database) -> None:
    ids = make_people(6)

    def collide(uow: UnitOfWork, user: User) -> None:
        user.email = {ids[1]: "0@example.org", ids[2]: "UPPER@example.org", ids[3]: "x" * 300}.get(user.id, user.email)
        user.first_name = "moved"

    done = move_rows(everybody(), Move("collide", User, collide, whisper, size=6))
    assert (done.moved, done.rejected) == (3, 3)
    assert list_rejects(everybody(), name="collide") == {
        ids[1]: "address_taken",
        ids[2]: "invalid",
        ids[3]: "a value does not fit its column",
    }
    assert names(database).count("moved") == 3


def test_an_error_in_the_middle_is_raised_and_the_move_goes_on_from_there(database: Database) -> None:
    ids = make_people(10)
    broken = {ids[6]}

    def fragile(uow: UnitOfWork, user: User) -> None:
        if user.id in broken:
            raise ZeroDivisionError
        shout(uow, user)

    move = Move(NAME, User, fragile, whisper, size=4)
    with pytest.raises(ZeroDivisionError):
        move_rows(everybody(), move)
    assert names(database) == [f"n{number}" + ("!" if number < 4 else "") for number in range(10)]
    broken.clear()
    assert move_rows(everybody(), move) == Progress(BatchStatus.DONE, 10, 0, 10)
    assert names(database) == [f"n{number}!" for number in range(10)]


SLOW = """
import time
from app import create_app
from app.jobs.batches.service import Move, move_rows
from app.people.models import User
from app.unit_of_work import UnitOfWork

def shout(uow, user):
    time.sleep(0.02)
    user.first_name = f"{user.first_name}!"

with create_app().app_context():
    move_rows(UnitOfWork(everybody=True), Move("shout names", User, shout, shout, size=4),
              watch=lambda progress: print(progress.moved, flush=True))
"""


def test_killed_in_the_middle_it_goes_on_from_there(
    database: Database, addresses: Addresses, database_name: str
) -> None:
    """SIGKILL inside a batch: the batch is undone, nothing is moved twice, nothing is left out."""
    make_people(40)
    process = subprocess.Popen(  # noqa: S603  # our own script
        [sys.executable, "-c", SLOW],
        cwd=ROOT,
        env=test_environment(addresses, database_name),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert [process.stdout.readline() for _ in range(2)] == ["4\n", "8\n"]
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=20)
    moved = sum(name.endswith("!") for name in names(database))
    assert 8 <= moved < 40
    assert moved % 4 == 0
    assert move_rows(everybody(), MOVE) == Progress(BatchStatus.DONE, 40, 0, 40)
    assert names(database) == [f"n{number}!" for number in range(40)]


def test_two_at_once_share_the_work(database: Database, committed: Flask) -> None:
    make_people(40)
    begin = threading.Barrier(2)

    def run() -> Progress:
        with committed.app_context():
            begin.wait(10)
            return move_rows(everybody(), MOVE)

    with ThreadPoolExecutor(2) as pool:
        done = [one.result(30) for one in [pool.submit(run), pool.submit(run)]]
    assert {one.moved for one in done} == {40}
    assert names(database) == [f"n{number}!" for number in range(40)]


class TestRollBack:
    def test_every_moved_row_goes_back_and_rejects_are_let_be(self, database: Database) -> None:
        make_people(10, bad=(3,))
        move_rows(everybody(), MOVE)
        seen: list[Progress] = []
        done = roll_back(everybody(), MOVE, watch=seen.append)
        assert done == Progress(BatchStatus.ROLLED_BACK, 0, 1, 10)
        assert [one.moved for one in seen] == [5, 1, 0]
        assert names(database) == [f"n{number}" for number in range(10)]
        assert roll_back(everybody(), MOVE) == done

    def test_from_the_middle_of_a_move(self, database: Database) -> None:
        ids = make_people(10)

        def stop(uow: UnitOfWork, user: User) -> None:
            if user.id == ids[8]:
                raise ZeroDivisionError
            shout(uow, user)

        with pytest.raises(ZeroDivisionError):
            move_rows(everybody(), Move(NAME, User, stop, whisper, size=4))
        assert roll_back(everybody(), MOVE).status is BatchStatus.ROLLED_BACK
        assert names(database) == [f"n{number}" for number in range(10)]

    def test_it_resumes_as_well(self, database: Database) -> None:
        ids = make_people(10)
        move_rows(everybody(), MOVE)
        broken = {ids[3]}

        def fragile(uow: UnitOfWork, user: User) -> None:
            if user.id in broken:
                raise ZeroDivisionError
            whisper(uow, user)

        with pytest.raises(ZeroDivisionError):
            roll_back(everybody(), Move(NAME, User, shout, fragile, size=4))
        assert names(database) == [f"n{number}" + ("!" if number < 6 else "") for number in range(10)]
        broken.clear()
        assert move_rows(everybody(), MOVE).status is BatchStatus.ROLLING_BACK, "a rollback is ended first"
        assert roll_back(everybody(), MOVE).moved == 0
        assert names(database) == [f"n{number}" for number in range(10)]

    def test_what_was_rolled_back_can_be_moved_again(self, database: Database) -> None:
        make_people(5, bad=(1,))
        move_rows(everybody(), MOVE)
        roll_back(everybody(), MOVE)
        database.execute("UPDATE users SET last_name = NULL")
        assert move_rows(everybody(), MOVE) == Progress(BatchStatus.DONE, 5, 0, 5)
        assert list_rejects(everybody(), name=NAME) == {}

    def test_what_never_began_is_nothing_to_do(self, database: Database) -> None:
        assert roll_back(everybody(), MOVE).status is BatchStatus.ROLLED_BACK
        assert service.list_rejects(everybody(), name=NAME) == {}
