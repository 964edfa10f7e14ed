"""Upkeep of the tables that are kept by time, as native partitions (timescale.md, section 7)."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import pytest
from alembic import command
from alembic.config import Config
from flask import Flask
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import ProgrammingError

from app.core import origin
from app.core.config import ROOT
from app.core.extensions import celery, db
from app.jobs.names import KEEP_PARTITIONS
from app.ops.partitions import service
from app.people.models import User
from app.unit_of_work import UnitOfWork
from dev.testing import Addresses
from tests.factories.people import make_person

PARTITIONS = (
    "SELECT c.relname FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid WHERE inhparent = to_regclass(:parent)"
    " ORDER BY 1"
)
DAYS = "SELECT feature, day, events FROM daily_activity ORDER BY 1, 2"
RECOUNT = """
SELECT feature, local_day, sum(amount)::bigint FROM activity_events WHERE user_id = :id GROUP BY 1, 2 ORDER BY 1, 2
"""


@pytest.fixture
def superuser(committed: Flask, addresses: Addresses, database_name: str) -> Iterator[Connection]:
    engine = create_engine(f"{addresses.superuser.rpartition('/')[0]}/{database_name}", isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        yield connection
        # Months that a test made or dropped are as they were: the next test has the same database.
        for parent in ("audit_logs", "activity_events"):
            connection.execute(text("SET session_replication_role = replica"))
            connection.execute(text(f"TRUNCATE {parent} CASCADE"))
            for name in partitions(connection, parent):
                month = name.removeprefix(f"{parent}_")
                if month != "default" and not first_month() <= month <= last_month():
                    connection.execute(text(f"DROP TABLE parts.{name}"))
        connection.execute(text("DELETE FROM parts.daily_activity_rollup"))
        connection.execute(text("SET session_replication_role = DEFAULT"))
        service.keep_partitions(UnitOfWork(everybody=True))
        connection.execute(text("SELECT parts.ensure('audit_logs', (now() - interval '1 month')::date, now()::date)"))
        connection.execute(
            text("SELECT parts.ensure('activity_events', (now() - interval '1 month')::date, now()::date)")
        )
    engine.dispose()


def first_month() -> str:
    return f"{datetime.now(UTC).replace(day=1) - timedelta(days=1):%Y%m}"


def last_month() -> str:
    return f"{datetime.now(UTC).replace(day=1) + timedelta(days=366):%Y%m}"


def keep() -> dict[str, int]:
    return service.keep_partitions(UnitOfWork(everybody=True))


def partitions(connection: Connection, parent: str) -> list[str]:
    return list(connection.scalars(text(PARTITIONS), {"parent": parent}))


def drop_month(connection: Connection, parent: str, month: str) -> None:
    connection.execute(text(f"DROP TABLE parts.{parent}_{month}"))


def write_audit(connection: Connection, at: str) -> UUID:
    """An audit row whose id is of that time."""
    statement = (
        "INSERT INTO audit_logs (id, action, request_id) SELECT (left(uuid7_floor(CAST(:at AS timestamptz))::text, 24)"
        " || right(gen_random_uuid()::text, 12))::uuid, 'x', 'request-1' RETURNING id"
    )
    return UUID(str(connection.scalar(text(statement), {"at": at})))


def write_events(connection: Connection, person: User, *, days_ago: float, count: int = 1) -> None:
    for number in range(count):
        connection.execute(
            text(
                "INSERT INTO activity_events (id, user_id, feature, local_day, amount) SELECT"
                " (left(uuid7_floor(at)::text, 24) || right(gen_random_uuid()::text, 12))::uuid, :person, :feature,"
                " (at AT TIME ZONE 'Europe/Berlin')::date, :amount"
                " FROM (SELECT now() - make_interval(secs => :seconds)) AS t (at)"
            ),
            {
                "person": person.id,
                "feature": f"feature {number % 2}",
                "amount": number + 1,
                "seconds": days_ago * 86_400,
            },
        )


def where(connection: Connection, table: str, row_id: UUID) -> str:
    statement = f"SELECT relname FROM pg_class WHERE oid = (SELECT tableoid FROM {table} WHERE id = :id)"
    return str(connection.scalar(text(statement), {"id": row_id}))


class TestMonths:
    def test_they_are_made_a_year_ahead_and_only_once(self, superuser: Connection) -> None:
        drop_month(superuser, "audit_logs", last_month())
        drop_month(superuser, "activity_events", last_month())
        assert keep()["audit_logs made"] == 1
        assert f"audit_logs_{last_month()}" in partitions(superuser, "audit_logs")
        assert f"activity_events_{last_month()}" in partitions(superuser, "activity_events")
        assert [count for name, count in keep().items() if name.endswith("made")] == [0, 0]

    def test_rows_without_a_month_move_into_theirs_and_stay_append_only(self, superuser: Connection) -> None:
        """A beat that stood still for longer than the months reached: rows landed in the default partition."""
        missing = [f"{datetime.now(UTC).replace(day=1) + timedelta(days=days):%Y%m}" for days in (0, 40)]
        for month in missing:
            drop_month(superuser, "audit_logs", month)
        now = write_audit(superuser, datetime.now(UTC).isoformat())
        later = write_audit(superuser, (datetime.now(UTC).replace(day=3) + timedelta(days=40)).isoformat())
        assert where(superuser, "audit_logs", now) == "audit_logs_default"
        assert keep()["audit_logs made"] == 2
        assert where(superuser, "audit_logs", now) == f"audit_logs_{missing[0]}"
        assert where(superuser, "audit_logs", later) == f"audit_logs_{missing[1]}"
        with UnitOfWork(everybody=True) as uow:
            assert uow.partitions.oldest_stray("audit_logs") is None
        with pytest.raises(ProgrammingError, match="keeps what was written"):
            superuser.execute(text("DELETE FROM audit_logs"))

    def test_rows_of_long_ago_get_their_month_too(self, superuser: Connection) -> None:
        """As after a restore, or when the job was off for half a year; the months between come with it."""
        row_id = write_audit(superuser, (datetime.now(UTC) - timedelta(days=200)).isoformat())
        made = keep()["audit_logs made"]
        assert 5 <= made <= 7
        assert where(superuser, "audit_logs", row_id) != "audit_logs_default"
        assert keep()["audit_logs made"] == 0

    def test_what_is_past_its_time_goes_and_nothing_else(self, superuser: Connection) -> None:
        ages = {"audit_logs": (7 * 365 + 60, 7 * 365 - 60), "activity_events": (25 * 31 + 60, 25 * 30 - 60)}
        months = {}
        for parent, days in ages.items():
            for age in days:
                day = (datetime.now(UTC) - timedelta(days=age)).date()
                superuser.execute(text(f"SELECT parts.ensure('{parent}', '{day}', '{day}')"))
            months[parent] = [f"{parent}_{datetime.now(UTC) - timedelta(days=age):%Y%m}" for age in days]
        done = keep()
        assert (done["audit_logs dropped"], done["activity_events dropped"]) == (1, 1)
        for parent, (old, younger) in months.items():
            left = partitions(superuser, parent)
            assert old not in left
            assert younger in left
            assert f"{parent}_default" in left

    def test_the_models_still_fit(self, superuser: Connection, committed: Flask) -> None:
        keep()
        config = Config(str(ROOT / "migrations" / "alembic.ini"))
        config.set_main_option("script_location", str(ROOT / "migrations"))
        with committed.app_context():
            command.check(config)

    def test_two_at_once_and_two_in_a_row_do_no_harm(self, superuser: Connection, committed: Flask) -> None:
        drop_month(superuser, "audit_logs", last_month())

        def run() -> dict[str, int]:
            with committed.app_context():
                return keep()

        with ThreadPoolExecutor(4) as pool:
            done = list(pool.map(lambda _: run(), range(4)))
        assert sum(one.get("audit_logs made", 0) for one in done) == 1
        assert f"audit_logs_{last_month()}" in partitions(superuser, "audit_logs")

    def test_who_reads_the_table_for_long_is_not_waited_for(self, superuser: Connection, addresses: Addresses) -> None:
        """A lock that is not to be had within two seconds leaves the step to the next run; the others are taken."""
        drop_month(superuser, "audit_logs", last_month())
        with superuser.engine.connect().execution_options(isolation_level="READ COMMITTED") as reader, reader.begin():
            reader.execute(text("LOCK TABLE audit_logs IN ACCESS SHARE MODE"))
            reader.execute(text("LOCK TABLE parts.audit_logs_default IN ACCESS EXCLUSIVE MODE"))
            done = keep()
        assert "audit_logs made" not in done
        assert "activity_events made" in done
        assert keep()["audit_logs made"] == 1

    def test_the_task_does_it(self, superuser: Connection) -> None:
        drop_month(superuser, "audit_logs", last_month())
        celery.tasks[KEEP_PARTITIONS.name].apply(throw=True)
        assert f"audit_logs_{last_month()}" in partitions(superuser, "audit_logs")


class TestRollup:
    @pytest.fixture
    def person(self, superuser: Connection) -> User:
        return make_person()

    @staticmethod
    def shown(person: User, timezone: str = "UTC") -> list[tuple[str, date, int]]:
        with UnitOfWork(acting_for=person.id) as uow:
            uow._session.execute(text(f"SET LOCAL timezone = '{timezone}'"))
            return [tuple(row) for row in uow._session.execute(text(DAYS))]

    @staticmethod
    def recount(connection: Connection, person: User) -> list[tuple[str, date, int]]:
        return [tuple(row) for row in connection.execute(text(RECOUNT), {"id": person.id})]

    @pytest.mark.parametrize("timezone", ["UTC", "Pacific/Auckland", "America/Los_Angeles"])
    def test_it_equals_a_recount_wherever_the_session_is(
        self, superuser: Connection, person: User, timezone: str
    ) -> None:
        for days in (0, 0.4, 1, 1.6, 2, 3, 5, 20):
            write_events(superuser, person, days_ago=days, count=3)
        superuser.execute(text(f"SET timezone = '{timezone}'"))
        keep()
        assert self.shown(person, timezone) == self.recount(superuser, person)
        write_events(superuser, person, days_ago=0, count=2)
        assert self.shown(person, timezone) == self.recount(superuser, person), "today is as fresh as the events"
        superuser.execute(text("RESET timezone"))

    def test_it_is_the_same_when_it_is_counted_twice(self, superuser: Connection, person: User) -> None:
        write_events(superuser, person, days_ago=2.5, count=4)
        keep()
        once = self.shown(person)
        keep()
        assert self.shown(person) == once == self.recount(superuser, person)

    def test_nights_that_were_missed_are_made_up_for(self, superuser: Connection, person: User) -> None:
        write_events(superuser, person, days_ago=30, count=2)
        keep()
        for days in (20, 12, 6):
            write_events(superuser, person, days_ago=days, count=2)
        keep()
        assert self.shown(person) == self.recount(superuser, person)

    def test_it_outlives_its_events(self, superuser: Connection, person: User) -> None:
        old = (datetime.now(UTC).replace(day=1) - timedelta(days=70)).date()
        superuser.execute(text(f"SELECT parts.ensure('activity_events', '{old}', '{old}')"))
        write_events(superuser, person, days_ago=(datetime.now(UTC).date() - old).days - 5, count=3)
        keep()
        before = self.shown(person)
        assert before == self.recount(superuser, person)
        moment = datetime.now(UTC).replace(day=1) - timedelta(days=31)
        assert superuser.scalar(text("SELECT parts.drop_before('activity_events', :at)"), {"at": moment}) >= 1
        assert self.recount(superuser, person) == []
        assert self.shown(person) == before
        keep()
        assert self.shown(person) == before


class TestWhoSeesWhat:
    """Security numbers 94 to 97, for the tables that are kept by time."""

    @pytest.fixture
    def two(self, superuser: Connection) -> tuple[User, User]:
        anna, ben = make_person(), make_person()
        for person in (anna, ben):
            write_events(superuser, person, days_ago=0)
            write_events(superuser, person, days_ago=5)
            with UnitOfWork() as uow:
                uow.audit.record("login.succeeded", person)
                uow.commit()
        keep()
        return anna, ben

    @pytest.mark.parametrize("table", ["audit_logs", "activity_events", "daily_activity"])
    def test_a_person_sees_their_own_rows(self, two: tuple[User, User], table: str) -> None:
        for person in two:
            with UnitOfWork(acting_for=person.id) as uow:
                owners = set(uow._session.scalars(text(f"SELECT user_id FROM {table}")))
            assert owners == {person.id}
        with UnitOfWork(everybody=True) as uow:
            assert set(uow._session.scalars(text(f"SELECT user_id FROM {table}"))) >= {one.id for one in two}
        with UnitOfWork() as uow:
            assert origin.current().actor_id is None
            assert uow._session.scalar(text(f"SELECT count(*) FROM {table}")) == 0

    @pytest.mark.parametrize(
        "statement",
        [
            "SELECT * FROM parts.audit_logs_default",
            "SELECT * FROM parts.daily_activity_rollup",
            "SELECT * FROM parts.daily_activity_everybody",
            "DELETE FROM parts.audit_logs_default",
            "SELECT parts.drop_before('audit_logs', now() + interval '1 day')",
            "SELECT parts.ensure('audit_logs', '2000-01-01', '2001-01-01')",
            "ALTER TABLE audit_logs DETACH PARTITION parts.audit_logs_default",
        ],
    )
    def test_the_role_of_the_api_cannot_go_round(self, two: tuple[User, User], statement: str) -> None:
        with (
            db.engine.connect() as connection,
            pytest.raises(ProgrammingError, match=r"permission denied for schema parts|must be owner"),
        ):
            connection.execute(text(statement))

    @pytest.mark.parametrize(
        "function",
        [
            "coffer_ensure_partitions('users')",
            "coffer_drop_expired('users')",
            "coffer_oldest_stray('x; DROP TABLE users')",
        ],
    )
    def test_upkeep_is_for_those_tables_alone(self, two: tuple[User, User], function: str) -> None:
        with db.engine.connect() as connection, pytest.raises(ProgrammingError, match="is not kept by time"):
            connection.execute(text(f"SELECT {function}"))

    def test_nobody_can_drop_what_is_not_past_its_time(self, two: tuple[User, User]) -> None:
        """The function takes no date: the audit log outlives an attacker with the rights of the API."""
        with db.engine.connect() as connection:
            assert connection.scalar(text("SELECT coffer_drop_expired('audit_logs')")) == 0
            connection.rollback()
        with UnitOfWork(everybody=True) as uow:
            assert uow.audit.count_after(None) >= 2

    def test_the_source_of_the_rollup_is_not_forced(self, superuser: Connection) -> None:
        row = superuser.execute(
            text("SELECT relrowsecurity, relforcerowsecurity FROM pg_class WHERE oid = 'activity_events'::regclass")
        ).one()
        assert tuple(row) == (True, False)
