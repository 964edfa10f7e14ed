"""What the unit of work and its repositories promise, asked of the one in memory and of PostgreSQL alike."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from app.core import clock
from app.core.errors import Conflict, Invalid, NotFound
from app.core.pages import CursorInvalid, Cursors
from app.core.query import Query, UnknownField
from app.people.errors import AddressTaken, PersonNotFound
from app.people.models import User, UserStatus, UserTier
from tests.contract.kept import Begin, add, person, session_of

CURSORS = Cursors(b"key of the contract")
PEOPLE: Query[User] = Query(
    User, {"email": User.email, "first_name": User.first_name, "tier": User.tier, "status": User.status}
)


def names(found: object) -> list[str | None]:
    return [one.first_name for one in found]  # type: ignore[attr-defined]


class TestRows:
    def test_what_was_added_is_found_with_its_defaults(self, begin: Begin) -> None:
        (anna,) = add(begin, person("anna"))
        with begin() as uow:
            found = uow.users.get(anna.id)
        assert found.id == anna.id
        assert (found.email, found.status, found.tier) == ("anna@example.org", UserStatus.ACTIVE, UserTier.FREE)
        assert (found.timezone, found.language, found.last_name, found.deleted_at) == ("UTC", "en", None, None)
        assert abs(found.created_at - datetime.now(UTC)) < timedelta(minutes=1)
        assert found.created_at.tzinfo is not None

    def test_the_row_that_was_added_has_its_times_at_once(self, begin: Begin) -> None:
        with begin() as uow:
            anna = uow.users.add(person("anna"))
            assert anna.id is not None
            assert anna.created_at is not None

    def test_an_unknown_id_is_none_or_not_found(self, begin: Begin) -> None:
        with begin() as uow:
            assert uow.users.find(uuid4()) is None
            for ask in (uow.users.get, uow.users.get_for_update):
                with pytest.raises(PersonNotFound) as missing:
                    ask(uuid4())
                assert isinstance(missing.value, NotFound)

    def test_one_transaction_has_one_object_for_a_row(self, begin: Begin) -> None:
        (anna,) = add(begin, person("anna"))
        with begin() as uow:
            assert uow.users.get(anna.id) is uow.users.get_for_update(anna.id)
            assert uow.users.find_by_email("anna@example.org") is uow.users.get(anna.id)

    @pytest.mark.parametrize("how", ["update", "attribute"])
    def test_a_change_is_kept_by_the_commit(self, begin: Begin, how: str) -> None:
        (anna,) = add(begin, person("anna"))
        with begin() as uow:
            found = uow.users.get(anna.id)
            if how == "update":
                assert uow.users.update(found, {"first_name": "Zoë", "tier": UserTier.PREMIUM}) is found
            else:
                found.first_name, found.tier = "Zoë", UserTier.PREMIUM
            uow.commit()
        with begin() as uow:
            found = uow.users.get(anna.id)
            assert (found.first_name, found.tier) == ("Zoë", UserTier.PREMIUM)

    def test_a_change_is_seen_by_the_queries_that_follow(self, begin: Begin) -> None:
        (anna,) = add(begin, person("anna"))
        with begin() as uow:
            uow.users.get(anna.id).first_name = "Zoë"
            assert uow.users.count(PEOPLE.where("first_name", "eq", "Zoë")) == 1

    def test_what_was_removed_is_gone(self, begin: Begin) -> None:
        (anna,) = add(begin, person("anna"))
        with begin() as uow:
            uow.users.remove(uow.users.get(anna.id))
            assert uow.users.find(anna.id) is None
            uow.commit()
        with begin() as uow:
            assert uow.users.find(anna.id, include_deleted=True) is None

    def test_rows_stay_readable_after_the_end(self, begin: Begin) -> None:
        (anna,) = add(begin, person("anna"))
        with begin() as uow:
            found = uow.users.get(anna.id)
        assert (found.email, found.created_at) == (anna.email, anna.created_at)


class TestRules:
    def test_a_unique_constraint_is_the_refusal_of_the_feature(self, begin: Begin) -> None:
        add(begin, person("anna"), person("ben"))
        with begin() as uow, pytest.raises(AddressTaken):
            uow.users.add(person("anna"))
        with begin() as uow, pytest.raises(AddressTaken):
            uow.users.update(uow.users.get_by_email("ben@example.org"), {"email": "anna@example.org"})
        with begin() as uow:
            assert uow.users.count(PEOPLE) == 2

    def test_one_that_no_feature_names_is_a_conflict(self, begin: Begin) -> None:
        (anna,) = add(begin, person("anna"))
        with begin() as uow:
            uow.sessions.add(session_of(anna, b"1" * 32))
            with pytest.raises(Conflict):
                uow.sessions.add(session_of(anna, b"1" * 32))

    def test_what_must_not_be_empty_is_invalid(self, begin: Begin) -> None:
        with begin() as uow, pytest.raises(Invalid):
            uow.users.add(User(first_name="nobody"))

    def test_add_if_new_returns_none_for_a_known_address(self, begin: Begin) -> None:
        add(begin, person("anna"))
        with begin() as uow:
            assert uow.users.add_if_new(person("anna")) is None
            added = uow.users.add_if_new(person("ben"))
            assert added is not None
            assert added.status is UserStatus.ACTIVE
            uow.commit()
        with begin() as uow:
            assert uow.users.count(PEOPLE) == 2


class TestSoftDeletion:
    @pytest.fixture
    def gone(self, begin: Begin) -> User:
        _, gone = add(begin, person("anna"), person("gone"))
        with begin() as uow:
            uow.users.update(uow.users.get(gone.id), {"deleted_at": clock.now()})
            uow.commit()
        return gone

    def test_it_is_left_out_unless_asked_for(self, begin: Begin, gone: User) -> None:
        with begin() as uow:
            assert uow.users.find(gone.id) is None
            assert uow.users.find_by_email(gone.email) is None
            with pytest.raises(PersonNotFound):
                uow.users.get_for_update(gone.id)
            assert names(uow.users.list_all(PEOPLE)) == ["anna"]
            assert uow.users.get(gone.id, include_deleted=True).first_name == "gone"
            assert uow.users.count(PEOPLE.include_deleted()) == 2

    def test_its_unique_values_stay_taken(self, begin: Begin, gone: User) -> None:
        with begin() as uow, pytest.raises(AddressTaken):
            uow.users.add(person("gone"))

    def test_it_can_come_back(self, begin: Begin, gone: User) -> None:
        with begin() as uow:
            uow.users.update(uow.users.get_for_update(gone.id, include_deleted=True), {"deleted_at": None})
            uow.commit()
        with begin() as uow:
            assert uow.users.find(gone.id) is not None


class TestLists:
    @pytest.fixture(autouse=True)
    def people(self, begin: Begin) -> None:
        tiers = [UserTier.FREE, UserTier.PREMIUM]
        add(begin, *(person(f"p{number}", tier=tiers[number % 2]) for number in range(7)))
        add(begin, User(email="nameless@example.org"))

    @pytest.mark.parametrize(
        ("filters", "expected"),
        [
            ([], ["p0", "p1", "p2", "p3", "p4", "p5", "p6", None]),
            ([("first_name", "eq", "p3")], ["p3"]),
            ([("first_name", "ne", "p3")], ["p0", "p1", "p2", "p4", "p5", "p6"]),
            ([("first_name", "lt", "p2")], ["p0", "p1"]),
            ([("first_name", "le", "p2")], ["p0", "p1", "p2"]),
            ([("first_name", "gt", "p4")], ["p5", "p6"]),
            ([("first_name", "ge", "p4")], ["p4", "p5", "p6"]),
            ([("first_name", "in", ["p1", "p6", "nobody"])], ["p1", "p6"]),
            ([("tier", "eq", UserTier.PREMIUM), ("first_name", "gt", "p1")], ["p3", "p5"]),
            ([("tier", "in", [])], []),
        ],
    )
    def test_filters(self, begin: Begin, filters: list[tuple[str, str, object]], expected: list[str | None]) -> None:
        query = PEOPLE.sort("first_name")
        for filter_ in filters:
            query = query.where(*filter_)  # type: ignore[arg-type]
        with begin() as uow:
            assert names(uow.users.list_all(query)) == expected
            assert uow.users.count(query) == len(expected)

    def test_conditions_of_a_repository(self, begin: Begin) -> None:
        nameless = PEOPLE.also(User.first_name.is_(None))
        either = PEOPLE.sort("first_name").either(User.first_name == "p1", User.email == "p2@example.org", trail="x")
        with begin() as uow:
            assert [one.email for one in uow.users.list_all(nameless)] == ["nameless@example.org"]
            assert names(uow.users.list_all(either)) == ["p1", "p2"]

    @pytest.mark.parametrize(
        ("order", "first"),
        [
            ("first_name", ["p0", "p1", "p2"]),
            ("-first_name", [None, "p6", "p5"]),
            ("id", ["p0", "p1", "p2"]),
            ("-id", [None, "p6", "p5"]),
            ("tier", ["p0", "p2", "p4"]),
            ("-tier", ["p5", "p3", "p1"]),
        ],
    )
    def test_orders_are_total(self, begin: Begin, order: str, first: list[str | None]) -> None:
        with begin() as uow:
            assert names(uow.users.list_all(PEOPLE.sort(order), limit=3)) == first

    @pytest.mark.parametrize("order", ["email", "-email", "id", "-id"])
    def test_pages_by_cursor_have_every_row_once(self, begin: Begin, order: str) -> None:
        query = PEOPLE.sort(order)
        seen, cursor, pages = [], None, 0
        with begin() as uow:
            while True:
                page = uow.users.list_page(query, CURSORS, limit=3, cursor=cursor)
                seen += [one.email for one in page.items]
                cursor, pages = page.next_cursor, pages + 1
                if not page.has_more:
                    break
            assert seen == [one.email for one in uow.users.list_all(query)]
        assert pages == 3

    def test_a_cursor_is_good_for_its_list_alone(self, begin: Begin) -> None:
        with begin() as uow:
            cursor = uow.users.list_page(PEOPLE.sort("email"), CURSORS, limit=2).next_cursor
            for other in (PEOPLE, PEOPLE.sort("-email"), PEOPLE.sort("email").where("tier", "eq", UserTier.FREE)):
                with pytest.raises(CursorInvalid):
                    uow.users.list_page(other, CURSORS, cursor=cursor)

    def test_pages_by_number(self, begin: Begin) -> None:
        query = PEOPLE.sort("email").where("tier", "eq", UserTier.FREE)
        with begin() as uow:
            second = uow.users.list_numbered(query, page=2, per_page=2)
            beyond = uow.users.list_numbered(query, page=9, per_page=2)
        assert (names(second.items), second.page, second.total) == (["p2", "p4"], 2, 5)
        assert (list(beyond.items), beyond.total) == ([], 5)

    def test_an_unknown_field_is_refused(self, begin: Begin) -> None:
        with begin() as uow, pytest.raises(UnknownField):
            uow.users.query().where("password_hash", "eq", "x")


class TestTransactions:
    def test_leaving_without_a_commit_keeps_nothing(self, begin: Begin) -> None:
        (anna,) = add(begin, person("anna"))
        with begin() as uow:
            uow.users.add(person("ben"))
            uow.users.update(uow.users.get(anna.id), {"first_name": "Zoë"})
        with begin() as uow:
            assert names(uow.users.list_all(PEOPLE)) == ["anna"]

    def test_nor_does_an_error(self, begin: Begin) -> None:
        with pytest.raises(ZeroDivisionError), begin() as uow:  # noqa: PT012
            uow.users.add(person("ben"))
            raise ZeroDivisionError
        with begin() as uow:
            assert uow.users.count(PEOPLE) == 0

    def test_what_comes_after_the_commit_is_another_matter(self, begin: Begin) -> None:
        with begin() as uow:
            uow.users.add(person("anna"))
            uow.commit()
            uow.users.add(person("ben"))
        with begin() as uow:
            assert names(uow.users.list_all(PEOPLE)) == ["anna"]

    def test_a_savepoint_undoes_only_itself(self, begin: Begin) -> None:
        with begin() as uow:
            anna = uow.users.add(person("anna"))
            with pytest.raises(ZeroDivisionError), uow.savepoint():  # noqa: PT012
                uow.users.add(person("ben"))
                uow.users.update(anna, {"first_name": "Zoë"})
                raise ZeroDivisionError
            assert anna.first_name == "anna"
            with uow.savepoint():
                uow.users.add(person("cleo"))
            uow.commit()
        with begin() as uow:
            assert names(uow.users.list_all(PEOPLE.sort("email"))) == ["anna", "cleo"]

    def test_savepoints_nest(self, begin: Begin) -> None:
        with begin() as uow:
            with uow.savepoint():
                uow.users.add(person("outer"))
                with pytest.raises(AddressTaken), uow.savepoint():
                    uow.users.add(person("outer"))
                uow.users.add(person("after"))
            uow.commit()
        with begin() as uow:
            assert names(uow.users.list_all(PEOPLE.sort("email"))) == ["after", "outer"]

    def test_one_unit_of_work_can_begin_again(self, begin: Begin) -> None:
        uow = begin()
        with uow:
            uow.users.add(person("lost"))
        with uow:
            uow.users.add(person("kept"))
            uow.commit()
        with uow:
            assert names(uow.users.list_all(PEOPLE)) == ["kept"]

    def test_what_waits_for_the_commit_happens_once_and_in_order(self, begin: Begin) -> None:
        events = Events()
        with begin() as uow:
            uow.after_commit(lambda: events.add("after 1"))
            uow.around_commit(events.around())
            uow.after_commit(lambda: events.add("after 2"))
            assert events.seen == []
            uow.commit()
            assert events.seen == ["before", "kept", "after 1", "after 2"]
            uow.commit()
        assert len(events.seen) == 4

    def test_without_a_commit_nothing_happens_then_or_later(self, begin: Begin) -> None:
        events = Events()
        uow = begin()
        with uow:
            uow.after_commit(lambda: events.add("after"))
            uow.around_commit(events.around())
        with uow:
            uow.commit()
        assert events.seen == []

    def test_a_commit_that_fails_is_left_and_runs_nothing(self, begin: Begin) -> None:
        events = Events()
        add(begin, person("anna"))
        with begin() as uow:
            ben = uow.users.add(person("ben"))
            uow.after_commit(lambda: events.add("after"))
            uow.around_commit(events.around())
            ben.email = "anna@example.org"
            with pytest.raises(AddressTaken):
                uow.commit()
        assert events.seen == ["before", "left"]


@dataclass
class Events:
    seen: list[str] = field(default_factory=list)

    def add(self, event: str) -> None:
        self.seen.append(event)

    @contextmanager
    def around(self) -> Iterator[None]:
        self.add("before")
        try:
            yield
        except BaseException:
            self.add("left")
            raise
        self.add("kept")
