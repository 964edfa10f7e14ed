"""The database alone keeps people apart (security numbers 90, 93 to 98, 100, 103, 138, 141)."""

from collections.abc import Iterator
from uuid import UUID

import pytest
from flask import Flask
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.exc import DBAPIError, ProgrammingError
from sqlalchemy.orm import Session

from app import tables
from app.core import origin
from app.core.errors import CofferError, Invalid
from app.core.extensions import db
from app.people.models import User
from app.unit_of_work import UnitOfWork
from dev.testing import Addresses
from tests.conftest import Database
from tests.factories.everything import make_person_with_everything
from tests.factories.people import make_person

# Shared by all, or without anything personal.
NOBODYS = {"tenants", "outbox", "task_failures", "schedule_runs", "audit_checkpoints", "batch_runs", "batch_rejects"}
# A continuous aggregate of TimescaleDB reads it as its owner.
NOT_FORCED = {"activity_events"}
OWNED = sorted(set(tables.metadata.tables) - NOBODYS)


def owner_column(table: str) -> str:
    return "id" if table == "users" else "user_id"


@pytest.fixture
def people(committed: Flask) -> tuple[User, User]:
    return make_person_with_everything(), make_person_with_everything()


@pytest.fixture
def connection(committed: Flask) -> Iterator[Connection]:
    """A connection as the role of the API, on which nobody acts yet."""
    with db.engine.connect() as found:
        yield found


def act_for(connection: Connection, person: UUID) -> None:
    connection.execute(text("SELECT set_config('app.user_id', :id, true)"), {"id": str(person)})


class TestCatalogue:
    """Number 94: read from the live catalogue, so that a new table without a policy fails here."""

    @pytest.mark.parametrize("table", OWNED)
    def test_security_is_on_and_forced(self, committed_rows: Database, table: str) -> None:
        on, forced = committed_rows.row(
            "SELECT relrowsecurity, relforcerowsecurity FROM pg_class WHERE oid = to_regclass(:table)", table=table
        )
        assert on
        assert forced or table in NOT_FORCED

    @pytest.mark.parametrize("table", OWNED)
    def test_every_command_of_the_api_has_a_policy_for_old_and_new_rows(
        self, committed_rows: Database, table: str
    ) -> None:
        found = committed_rows.all(
            "SELECT cmd, qual IS NOT NULL, with_check IS NOT NULL FROM pg_policies"
            " WHERE tablename = :table AND 'coffer_app' = ANY (roles)",
            table=table,
        )
        held = {command: (old, new) for command, old, new in found}
        if table == "audit_logs":
            assert held == {"SELECT": (True, False), "INSERT": (False, True)}
        elif table == "categories":
            assert held == {
                "SELECT": (True, False),
                "INSERT": (False, True),
                "UPDATE": (True, True),
                "DELETE": (True, False),
            }
        else:
            assert held == {"ALL": (True, True)}

    def test_tables_without_policies_hold_nobodys_rows(self, committed_rows: Database) -> None:
        for table in NOBODYS & set(tables.metadata.tables):
            assert not {"user_id", "email"} & set(tables.metadata.tables[table].columns.keys())

    def test_views_ask_with_the_rights_and_rows_of_the_person(self, committed_rows: Database) -> None:
        views = committed_rows.all(
            "SELECT relname, coalesce(reloptions::text, '') FROM pg_class"
            " WHERE relkind = 'v' AND relnamespace = 'public'::regnamespace"
        )
        assert dict(views) == {"daily_activity": "{security_barrier=true}"}

    def test_functions_that_run_as_their_owner_are_known_and_pin_their_path(self, committed_rows: Database) -> None:
        found = committed_rows.all(
            "SELECT p.proname, coalesce(p.proconfig::text, '') FROM pg_proc p"
            " JOIN pg_namespace n ON n.oid = p.pronamespace WHERE p.prosecdef AND n.nspname IN ('public', 'parts')"
        )
        assert {name for name, _ in found} == {
            "coffer_check_category_owner",
            "coffer_check_category_tree",
            "coffer_drop_expired",
            "coffer_ensure_partitions",
            "coffer_oldest_stray",
            "coffer_refresh_daily_activity",
            "drop_before",
            "ensure",
            "refresh_daily_activity",
        }
        # Named last, or temporary objects of the caller would be found before everything else.
        assert all("search_path=pg_catalog, public, pg_temp" in config for _, config in found), found


class TestNobodyActs:
    """Number 95."""

    @pytest.mark.parametrize("table", OWNED)
    def test_nobody_sees_no_rows_and_no_error(
        self, people: tuple[User, User], connection: Connection, table: str
    ) -> None:
        shown = "WHERE user_id IS NOT NULL" if table == "categories" else ""
        assert connection.scalar(text(f"SELECT count(*) FROM {table} {shown}")) == 0

    def test_nor_after_a_transaction_in_which_somebody_did(
        self, people: tuple[User, User], connection: Connection
    ) -> None:
        act_for(connection, people[0].id)
        assert connection.scalar(text("SELECT count(*) FROM users")) == 1
        connection.commit()
        # The setting is '' and not NULL now.
        assert connection.scalar(text("SELECT current_setting('app.user_id', true)")) == ""
        assert connection.scalar(text("SELECT count(*) FROM users")) == 0


class TestWithoutTheApplicationsFilters:
    """Number 100: plain statements, as if every WHERE of Coffer's were gone."""

    @pytest.mark.parametrize("table", OWNED)
    def test_one_person_sees_their_rows_only(
        self, people: tuple[User, User], connection: Connection, table: str
    ) -> None:
        mine, _ = people
        act_for(connection, mine.id)
        owners = connection.scalars(text(f"SELECT DISTINCT {owner_column(table)} FROM {table}")).all()
        assert owners == [mine.id], "the factory makes a row in every table, and only one's own is seen"

    @pytest.mark.parametrize("table", sorted(set(OWNED) - {"audit_logs"}))
    def test_one_person_changes_and_deletes_their_rows_only(
        self, people: tuple[User, User], connection: Connection, committed_rows: Database, table: str
    ) -> None:
        mine, other = people
        column = owner_column(table)
        before = committed_rows.scalar(f"SELECT count(*) FROM {table} WHERE {column} = :id", id=other.id)
        act_for(connection, mine.id)
        if table != "activity_events":
            connection.execute(text(f"UPDATE {table} SET updated_at = 'epoch'"))
        connection.execute(text("SET CONSTRAINTS ALL DEFERRED"))
        for statement in (f"DELETE FROM {table} WHERE {column} = :other", f"DELETE FROM {table}"):
            with connection.begin_nested() as savepoint:
                try:
                    connection.execute(text(statement), {"other": other.id})
                except (DBAPIError, CofferError):
                    savepoint.rollback()  # held by what refers to it
        connection.commit()
        seen = committed_rows.all(f"SELECT updated_at > '2020-01-01' FROM {table} WHERE {column} = :id", id=other.id)
        assert seen == [(True,)] * before
        assert before > 0

    def test_nobody_writes_in_somebody_elses_name(self, people: tuple[User, User], connection: Connection) -> None:
        mine, other = people
        act_for(connection, mine.id)
        for statement in (
            "INSERT INTO jobs (id, user_id, kind) VALUES (gen_random_uuid(), :other, 'export')",
            "UPDATE jobs SET user_id = :other",
            "INSERT INTO categories (id, name, is_system) VALUES (gen_random_uuid(), 'System', true)",
        ):
            with pytest.raises(ProgrammingError, match="row-level security"), connection.begin_nested():
                connection.execute(text(statement), {"other": other.id})

    def test_system_categories_are_read_by_all_and_changed_by_nobody(
        self, people: tuple[User, User], connection: Connection, committed_rows: Database
    ) -> None:
        committed_rows.execute(
            "INSERT INTO categories (id, name, is_system) VALUES (gen_random_uuid(), 'Groceries', true)"
        )
        act_for(connection, people[0].id)
        assert connection.scalar(text("SELECT count(*) FROM categories WHERE is_system")) == 1
        assert connection.execute(text("UPDATE categories SET name = 'x' WHERE is_system")).rowcount == 0
        assert connection.execute(text("DELETE FROM categories WHERE is_system")).rowcount == 0


class TestTemporaryObjects:
    """The API may make temporary objects, for bulk inserts; they must not stand in the way of anything."""

    # A type of the caller's own, whose check would run as whoever uses it.
    TRAP = """
        CREATE TEMP TABLE caught (who pg_catalog.text);
        CREATE FUNCTION pg_temp.evil(v pg_catalog.{kind}) RETURNS pg_catalog.bool LANGUAGE plpgsql AS $$ BEGIN
            IF current_user <> session_user THEN INSERT INTO pg_temp.caught VALUES (current_user); END IF;
            RETURN true;
        END $$;
        CREATE DOMAIN pg_temp.{kind} AS pg_catalog.{kind} CHECK (pg_temp.evil(value));
    """

    @pytest.mark.parametrize("kind", ["text", "uuid", "date", "bool", "int4"])
    @pytest.mark.parametrize(
        "statement",
        [
            "UPDATE transactions SET updated_at = updated_at",
            "UPDATE budgets SET updated_at = updated_at",
            "UPDATE categories SET updated_at = updated_at",
            "SELECT coffer_oldest_stray('audit_logs')",
            "SELECT coffer_ensure_partitions('audit_logs')",
        ],
    )
    def test_no_function_that_runs_as_its_owner_meets_them(
        self, people: tuple[User, User], environment: dict[str, str], kind: str, statement: str
    ) -> None:
        engine = create_engine(environment["DATABASE_URL"])
        with engine.connect() as connection:
            connection.execute(text(self.TRAP.format(kind=kind)))
            connection.execute(text("GRANT ALL ON pg_temp.caught TO PUBLIC"))
            act_for(connection, people[0].id)
            with connection.begin_nested() as savepoint:
                try:
                    connection.execute(text(statement))
                except DBAPIError:
                    savepoint.rollback()
            assert connection.scalars(text("SELECT who FROM pg_temp.caught")).all() == []
            connection.rollback()
        engine.dispose()

    def test_a_temporary_table_does_not_hide_a_real_one(self, connection: Connection) -> None:
        connection.execute(text("CREATE TEMP TABLE users (id int)"))
        assert connection.scalar(text("SELECT to_regclass('users')::oid = 'public.users'::regclass::oid")) is True
        connection.rollback()


class TestReferences:
    """Number 90: foreign keys are not checked through row security, so they carry the owner."""

    def test_a_row_cannot_point_at_somebody_elses(self, people: tuple[User, User], committed: Flask) -> None:
        mine, other = people
        theirs = "(SELECT id FROM {} WHERE user_id = :other)"
        attempts = [
            f"UPDATE transactions SET account_id = {theirs.format('accounts')} WHERE user_id = :mine",
            f"UPDATE transactions SET category_id = {theirs.format('categories')} WHERE user_id = :mine",
            f"UPDATE budgets SET category_id = {theirs.format('categories')} WHERE user_id = :mine",
            f"UPDATE transactions SET import_id = {theirs.format('imports')} WHERE user_id = :mine",
            f"UPDATE categories SET parent_id = {theirs.format('categories')} WHERE user_id = :mine",
            f"UPDATE categories SET merged_into = {theirs.format('categories')} WHERE user_id = :mine",
            f"UPDATE imports SET account_id = {theirs.format('accounts')} WHERE user_id = :mine",
            f"UPDATE budget_alerts SET budget_id = {theirs.format('budgets')} WHERE user_id = :mine",
            f"UPDATE sessions SET device_id = {theirs.format('devices')} WHERE user_id = :mine",
            f"UPDATE refresh_tokens SET session_id = {theirs.format('sessions')} WHERE user_id = :mine",
        ]
        for attempt in attempts:
            # Everybody's rows are in sight, so that nothing but the key can refuse.
            with UnitOfWork(everybody=True) as uow, pytest.raises(CofferError):
                uow._session.execute(text(attempt), {"mine": mine.id, "other": other.id})

    def test_nor_when_the_person_acts_who_cannot_see_it(self, people: tuple[User, User], committed: Flask) -> None:
        mine, other = people
        with UnitOfWork(everybody=True) as uow:
            ids = uow._session.execute(
                text(
                    "SELECT (SELECT id FROM categories WHERE user_id = :other),"
                    " (SELECT id FROM imports WHERE user_id = :other)"
                ),
                {"other": other.id},
            ).one()
        for statement in (
            "UPDATE categories SET parent_id = :category",
            "UPDATE categories SET merged_into = :category",
            "UPDATE transactions SET category_id = :category",
            "UPDATE transactions SET import_id = :file",
        ):
            with UnitOfWork(acting_for=mine.id) as uow, pytest.raises(CofferError):
                uow._session.execute(text(statement), {"category": ids[0], "file": ids[1]})

    @pytest.mark.parametrize(
        "statement", ["UPDATE accounts SET opening_balance = 'NaN'", "UPDATE budgets SET amount = 'NaN'"]
    )
    def test_what_is_no_number_is_no_amount(self, people: tuple[User, User], committed: Flask, statement: str) -> None:
        with UnitOfWork(everybody=True) as uow, pytest.raises(Invalid):
            uow._session.execute(text(statement))

    def test_an_audit_row_is_written_in_ones_own_name(self, people: tuple[User, User], connection: Connection) -> None:
        act_for(connection, people[0].id)
        forged = (
            "INSERT INTO audit_logs (id, action, request_id, actor_id, user_id)"
            " VALUES (gen_random_uuid(), 'login.succeeded', 'forged-request', :other, :other)"
        )
        with pytest.raises(ProgrammingError, match="row-level security"):
            connection.execute(text(forged), {"other": people[1].id})


class TestOnePooledConnection:
    """Number 96: what a connection was used for is never seen by its next borrower."""

    @pytest.fixture
    def narrow(self, environment: dict[str, str], committed: Flask) -> Iterator[Engine]:
        engine = create_engine(environment["DATABASE_URL"], pool_size=1, max_overflow=0)
        yield engine
        engine.dispose()

    def test_two_people_take_turns(self, narrow: Engine, people: tuple[User, User]) -> None:
        def seen_by(person: User | None, spoil: str | None = None) -> list[UUID]:
            with UnitOfWork(acting_for=person.id if person else None, open_session=lambda: Session(narrow)) as uow:
                found = list(uow._session.scalars(text("SELECT id FROM users")))
                if spoil == "rollback":
                    uow._session.rollback()
                elif spoil == "error":
                    with pytest.raises(DBAPIError):
                        uow._session.execute(text("SELECT 1 / 0"))
                elif spoil == "timeout":
                    uow._session.execute(text("SET LOCAL statement_timeout = 20"))
                    with pytest.raises(DBAPIError):
                        uow._session.execute(text("SELECT pg_sleep(1)"))
                elif spoil == "commit":
                    uow.commit()
                    # A second transaction of the same block is the same person's.
                    assert list(uow._session.scalars(text("SELECT id FROM users"))) == found
                return found

        one, two = people
        for spoil in (None, "rollback", "error", "timeout", "commit"):
            assert seen_by(one, spoil) == [one.id]
            assert seen_by(None) == []
            assert seen_by(two, spoil) == [two.id]


class TestRoles:
    """Numbers 93 and 141."""

    @pytest.fixture
    def as_role(self, addresses: Addresses, database_name: str, committed: Flask) -> Iterator[Connection]:
        engine = create_engine(f"{addresses.superuser.rpartition('/')[0]}/{database_name}")
        with engine.connect() as found:
            yield found
        engine.dispose()

    def refused(self, connection: Connection, role: str, statement: str) -> bool:
        with connection.begin_nested() as savepoint:
            connection.execute(text(f"SET LOCAL ROLE {role}"))
            try:
                connection.execute(text(statement))
            except ProgrammingError as error:
                return "permission denied" in str(error) or "must be owner" in str(error)
            finally:
                savepoint.rollback()
        return False

    @pytest.mark.parametrize(
        "statement",
        [
            "CREATE TABLE mine (id int)",
            "ALTER TABLE users ADD COLUMN x int",
            "DROP TABLE users",
            "TRUNCATE users",
            "TRUNCATE audit_logs",
            "UPDATE audit_logs SET action = 'x'",
            "DELETE FROM audit_logs",
            "UPDATE audit_checkpoints SET rows = 0",
            "ALTER TABLE users DISABLE ROW LEVEL SECURITY",
            "CREATE POLICY mine ON users USING (true)",
            "SELECT * FROM parts.audit_logs_default",
            "SELECT * FROM parts.daily_activity_rollup",
            "UPDATE alembic_version SET version_num = 'x'",
            "CREATE ROLE mine",
        ],
    )
    def test_the_api_cannot(self, as_role: Connection, statement: str) -> None:
        assert self.refused(as_role, "coffer_app", statement)

    def test_the_api_connects_as_a_role_without_privileges(self, connection: Connection) -> None:
        rights = connection.execute(
            text("SELECT rolsuper, rolbypassrls, rolcreaterole, rolcreatedb FROM pg_roles WHERE rolname = current_user")
        ).one()
        assert tuple(rights) == (False, False, False, False)
        assert (
            connection.scalar(text("SELECT count(*) FROM pg_class WHERE pg_get_userbyid(relowner) = current_user")) == 0
        )

    @pytest.mark.parametrize(
        "statement",
        [
            "SELECT password_hash FROM users",
            "SELECT * FROM users",
            "SELECT token_hash FROM sessions",
            "SELECT key_hash FROM api_keys",
            "SELECT payload FROM one_time_tokens",
            "UPDATE users SET role = 'admin'",
            "INSERT INTO outbox (id) VALUES (gen_random_uuid())",
        ],
    )
    def test_reports_see_no_credentials_and_write_nothing(self, as_role: Connection, statement: str) -> None:
        assert self.refused(as_role, "coffer_readonly", statement)

    @pytest.mark.parametrize("role", ["coffer_readonly", "coffer_admin", "coffer_backup"])
    def test_reports_administration_and_backups_see_everybody(
        self, people: tuple[User, User], as_role: Connection, role: str
    ) -> None:
        as_role.execute(text(f"SET LOCAL ROLE {role}"))
        assert as_role.scalar(text("SELECT count(id) FROM users")) == 2

    @pytest.mark.parametrize("statement", ["DROP TABLE users", "UPDATE audit_logs SET action = 'x'", "TRUNCATE users"])
    def test_administration_changes_rows_and_not_the_schema_or_the_past(
        self, as_role: Connection, statement: str
    ) -> None:
        assert self.refused(as_role, "coffer_admin", statement)

    @pytest.mark.parametrize("statement", ["DELETE FROM users", "INSERT INTO outbox (id) VALUES (gen_random_uuid())"])
    def test_backups_only_read(self, as_role: Connection, statement: str) -> None:
        assert self.refused(as_role, "coffer_backup", statement)


def test_a_unit_of_work_sees_whoever_acts(committed: Flask) -> None:
    one, two = make_person(), make_person()
    with UnitOfWork() as uow:
        assert uow.users.find(one.id) is None
    with origin.working_for(origin.Origin(request_id="test-request", actor_id=one.id)), UnitOfWork() as uow:
        assert uow.users.find(one.id) is not None
        assert uow.users.find(two.id) is None
    with UnitOfWork(everybody=True) as uow:
        assert uow.users.find(two.id) is not None
