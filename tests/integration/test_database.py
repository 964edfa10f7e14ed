"""Errors of the database in our words, unlucky transactions, queries over an allow-list, soft deletion, the pool."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from flask import Flask
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from app import create_app
from app.core.config import load_settings
from app.core.errors import CofferError, Conflict, Invalid
from app.core.extensions import db, parts
from app.core.pages import CursorInvalid
from app.core.query import Query, UnknownField
from app.core.uow import retried
from app.people.errors import AddressTaken
from app.people.models import User
from app.unit_of_work import UnitOfWork
from tests.api.client import assert_problem
from tests.factories.people import make_person

QUERY = Query(User, {"email": User.email, "created": User.created_at, "tier": User.tier})


class TestErrors:
    """Mapped by the name of the constraint, else by the kind of refusal."""

    @pytest.mark.parametrize(
        ("statement", "error"),
        [
            ("UPDATE users SET email = 'other@example.org' WHERE email = 'anna@example.org'", AddressTaken),
            ("UPDATE users SET email = 'UPPER@example.org' WHERE email = 'anna@example.org'", Invalid),
            ("UPDATE users SET email = NULL", Invalid),
            ("INSERT INTO jobs (id, user_id, kind) VALUES (gen_random_uuid(), gen_random_uuid(), 'x')", Conflict),
        ],
    )
    def test_a_broken_constraint_is_a_refusal_of_ours(
        self, app: Flask, statement: str, error: type[CofferError]
    ) -> None:
        make_person(email="anna@example.org")
        make_person(email="other@example.org")
        with UnitOfWork(everybody=True) as uow, pytest.raises(error) as refused:
            uow._session.execute(text(statement))
        assert type(refused.value) is error
        assert "other@example.org" not in str(refused.value)

    def test_a_refusal_inside_a_savepoint_leaves_the_rest(self, app: Flask) -> None:
        make_person(email="anna@example.org")
        with UnitOfWork(everybody=True) as uow:
            kept = uow.users.add(User(email="kept@example.org"))
            with pytest.raises(AddressTaken), uow.savepoint():
                uow.users.add(User(email="anna@example.org"))
            uow.commit()
        with UnitOfWork(everybody=True) as uow:
            assert uow.users.find(kept.id) is not None


def test_two_transactions_that_block_each_other_both_succeed(committed: Flask) -> None:
    """A real deadlock: each holds what the other wants. One is undone by PostgreSQL, and done again."""
    one, two = make_person(first_name="0"), make_person(first_name="0")
    both_hold = threading.Barrier(2)
    attempts: list[str] = []

    def change(first: User, second: User) -> None:
        def work() -> None:
            attempts.append("try")
            with UnitOfWork(everybody=True) as uow:
                for person in (first, second):
                    locked = uow.users.get_for_update(person.id)
                    uow.users.update(locked, {"first_name": str(int(locked.first_name or 0) + 1)})
                    if len(attempts) <= 2 and person is first:
                        both_hold.wait(5)
                uow.commit()

        with committed.app_context():
            retried(work)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(change, (one, two), (two, one), timeout=20))
    assert len(attempts) == 3
    with UnitOfWork(everybody=True) as uow:
        assert {uow.users.get(person.id).first_name for person in (one, two)} == {"2"}


def test_bad_luck_is_borne_a_few_times_only(app: Flask) -> None:
    tries: list[int] = []

    class Unlucky(Exception):
        sqlstate = "40P01"

    def work() -> None:
        tries.append(1)
        raise OperationalError("", {}, Unlucky())

    with pytest.raises(OperationalError):
        retried(work, tries=3)
    assert len(tries) == 3


class TestQuery:
    """Only fields that the list names; never SQL of the caller's."""

    @pytest.mark.parametrize("field", ["password_hash", "email; DROP TABLE users", "users.email", "", "EMAIL", "1"])
    def test_an_unknown_field_is_a_clear_error(self, field: str) -> None:
        with pytest.raises(UnknownField):
            QUERY.where(field, "eq", 1)
        for order in (field, f"-{field}"):
            with pytest.raises(UnknownField):
                QUERY.sort(order)

    def test_so_is_an_unknown_comparison_and_an_unknown_join(self) -> None:
        with pytest.raises(UnknownField):
            QUERY.where("email", "like", "%")  # type: ignore[arg-type]
        with pytest.raises(UnknownField):
            QUERY.join("sessions")

    def test_values_are_values(self, app: Flask) -> None:
        make_person()
        with UnitOfWork(everybody=True) as uow:
            assert QUERY.where("email", "eq", "' OR 1=1 --").rows(uow._session) == []

    @pytest.mark.parametrize("order", ["email", "-email", "created", "-created", "id", "-id"])
    def test_pages_give_the_rows_of_the_whole_list_once_and_in_order(self, app: Flask, order: str) -> None:
        for number in range(23):
            make_person(email=f"{number:02}@example.org")
        with UnitOfWork(everybody=True) as uow:
            query = QUERY.sort(order)
            whole = [one.id for one in query.rows(uow._session)]
            turned, cursor = [], None
            while True:
                page = query.page(uow._session, parts().cursors, limit=5, cursor=cursor)
                turned += [one.id for one in page.items]
                cursor = page.next_cursor
                assert page.has_more == (cursor is not None)
                if cursor is None:
                    break
        assert turned == whole
        assert len(turned) == 23

    def test_a_row_that_comes_in_between_moves_no_other(self, app: Flask) -> None:
        for number in range(0, 20, 2):
            make_person(email=f"{number:02}@example.org")
        with UnitOfWork(everybody=True) as uow:
            query = QUERY.sort("email")
            first = query.page(uow._session, parts().cursors, limit=5)
            uow.users.add(User(email="01@example.org"))
            second = query.page(uow._session, parts().cursors, limit=5, cursor=first.next_cursor)
        assert [one.email[:2] for one in second.items] == ["10", "12", "14", "16", "18"]

    def test_a_cursor_is_refused_where_filters_or_order_differ(self, app: Flask) -> None:
        for _ in range(3):
            make_person()
        with UnitOfWork(everybody=True) as uow:
            cursor = QUERY.sort("email").page(uow._session, parts().cursors, limit=1).next_cursor
            for other in (QUERY.sort("-email"), QUERY.sort("email").where("email", "ne", "x")):
                with pytest.raises(CursorInvalid):
                    other.page(uow._session, parts().cursors, limit=1, cursor=cursor)

    def test_numbered_pages_have_a_total(self, app: Flask) -> None:
        for _ in range(7):
            make_person()
        with UnitOfWork(everybody=True) as uow:
            page = QUERY.numbered_page(uow._session, page=3, per_page=3)
        assert (len(page.items), page.total) == (1, 7)


def test_rows_deleted_softly_are_left_out_unless_asked_for(app: Flask) -> None:
    person = make_person()
    with UnitOfWork(everybody=True) as uow:
        uow.users.update(uow.users.get_for_update(person.id), {"deleted_at": datetime.now(UTC)})
        uow.commit()
    with UnitOfWork(everybody=True) as uow:
        assert uow.users.find(person.id) is None
        assert uow.users.find_by_email(person.email) is None
        assert QUERY.rows(uow._session) == []
        assert QUERY.include_deleted().count(uow._session) == 1
        assert uow.users.find(person.id, include_deleted=True) is not None


def test_what_as_dict_shows_has_no_secret(app: Flask) -> None:
    shown = make_person(first_name="Anna").as_dict()
    assert shown["first_name"] == "Anna"
    assert shown["role"] == "user"
    assert not {"password_hash", "mfa_secret"} & set(shown)


def test_a_pool_that_is_used_up_answers_503_soon(environment: dict[str, str]) -> None:
    """F17: the wait for a connection is bounded."""
    settings = load_settings(environment)
    narrow = replace(settings.database, pool_size=1, max_overflow=0, pool_timeout=1)
    app = create_app(replace(settings, database=narrow))
    with app.app_context():
        with db.engine.connect():
            began = time.monotonic()
            answer = app.test_client().post("/api/v1/auth/login", json={"email": "a@example.org", "password": "x"})
            assert time.monotonic() - began < 5
        assert_problem(answer, 503, "unavailable")
        db.engine.dispose()


def test_a_statement_that_takes_too_long_is_ended(environment: dict[str, str]) -> None:
    settings = load_settings(environment | {"DATABASE_STATEMENT_TIMEOUT": "100"})
    app = create_app(settings)
    with app.app_context():
        with UnitOfWork() as uow, pytest.raises(OperationalError, match="statement timeout"):
            uow._session.execute(text("SELECT pg_sleep(5)"))
        db.engine.dispose()
