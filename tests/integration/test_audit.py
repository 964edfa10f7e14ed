"""Audited changes, seals over the audit log, and who tampers with it (005-027, semantics 9)."""

import json
import threading
from collections.abc import Iterator
from datetime import timedelta
from uuid import UUID

import pytest
from flask import Flask
from sqlalchemy import Connection, create_engine, text

from app.audit import service
from app.audit.audited import AuditedRepository
from app.audit.models import AuditLog
from app.audit.service import Finding
from app.core import origin
from app.core.db import new_id
from app.core.extensions import celery
from app.jobs.names import SEAL_AUDIT
from app.people.models import User, UserTier
from app.unit_of_work import UnitOfWork
from dev.testing import Addresses
from tests.conftest import Database
from tests.factories.people import make_person


def everybody() -> UnitOfWork:
    return UnitOfWork(everybody=True)


def people(uow: UnitOfWork) -> AuditedRepository[User]:
    return AuditedRepository(uow.users, uow.audit, "person")


class TestAuditedRepository:
    LAST = "SELECT action, user_id, actor_id, entity_type, entity_id, changes, request_id FROM audit_logs ORDER BY id"

    def test_adding_tells_what_there_is_now(self, app: Flask, database: Database) -> None:
        with everybody() as uow:
            user = people(uow).add(User(email="anna@example.org", password_hash="$2b$04$secret", tier=UserTier.PREMIUM))
            uow.commit()
        action, about, _, _, entity, changes, _ = database.row(self.LAST)
        assert (action, about, entity) == ("person.created", user.id, user.id)
        assert changes["email"] == [None, "anna@example.org"]
        assert changes["tier"] == [None, "premium"]
        assert not {"password_hash", "mfa_secret", "id", "created_at", "updated_at", "first_name"} & set(changes)
        assert "secret" not in json.dumps(changes)

    def test_changing_tells_what_was_and_is_by_whom_and_in_which_request(self, app: Flask, database: Database) -> None:
        user, admin = make_person(), make_person()
        where = origin.Origin(request_id="request-4711", ip="192.0.2.7", user_agent="curl/8", actor_id=admin.id)
        with origin.working_for(where), everybody() as uow:
            changes = {"first_name": "Zoë", "last_name": None, "password_hash": "new", "tier": UserTier.PREMIUM}
            people(uow).update(uow.users.get(user.id), changes)
            uow.commit()
        row = database.row(self.LAST)
        assert row == (
            "person.updated",
            user.id,
            admin.id,
            "users",
            user.id,
            {"first_name": ["Anna", "Zoë"], "tier": ["free", "premium"]},
            "request-4711",
        )
        assert database.scalar("SELECT password_hash FROM users WHERE id = :id", id=user.id) == "new"

    def test_a_secret_alone_is_told_without_it(self, app: Flask, database: Database) -> None:
        user = make_person()
        with everybody() as uow:
            people(uow).update(uow.users.get(user.id), {"mfa_secret": b"secret"}, action="mfa_prepared", step=1)
            uow.commit()
        assert database.row("SELECT action, changes, metadata FROM audit_logs") == (
            "person.mfa_prepared",
            None,
            {"step": 1},
        )

    def test_nothing_changed_is_not_told(self, app: Flask, database: Database) -> None:
        user = make_person()
        with everybody() as uow:
            people(uow).update(uow.users.get(user.id), {"first_name": "Anna"})
            uow.commit()
        assert database.count(AuditLog) == 0

    def test_removing_tells_what_there_was(self, app: Flask, database: Database) -> None:
        user = make_person(email="anna@example.org")
        with everybody() as uow:
            people(uow).remove(uow.users.get(user.id))
            uow.commit()
        action, _, _, _, entity, changes, _ = database.row(self.LAST)
        assert (action, entity) == ("person.removed", user.id)
        assert changes["email"] == ["anna@example.org", None]

    def test_change_and_row_are_kept_together_or_not_at_all(self, app: Flask, database: Database) -> None:
        user = make_person()
        with everybody() as uow:
            people(uow).update(uow.users.get(user.id), {"first_name": "Zoë"})
        assert database.count(AuditLog) == 0
        assert database.scalar("SELECT first_name FROM users") == "Anna"


def test_who_is_not_known_yet_leaves_a_trace_too(committed: Flask, committed_rows: Database) -> None:
    """Such a transaction sees no rows, and not even the one that it writes."""
    user = make_person()
    with UnitOfWork() as uow:
        uow.audit.record("login.failed", user)
        uow.commit()
    assert committed_rows.row("SELECT action, user_id, actor_id FROM audit_logs") == ("login.failed", user.id, None)


def write_rows(count: int, *, minutes_ago: float = 10) -> list[UUID]:
    """Audit rows whose ids are of that age, as the service writes them."""
    with everybody() as uow:
        begin = uow.audit.id_at(timedelta(minutes=minutes_ago)).int
        ids = [UUID(int=begin + (number << 80)) for number in range(count)]
        for row_id in ids:
            uow.audit.add(
                AuditLog(
                    id=row_id,
                    action="login.succeeded",
                    request_id="request-1",
                    user_id=new_id(),
                    ip="2001:db8::1",
                    changes={"b": [1, 2.50], "a": [None, "ä"]},
                    details={"n": 1},
                )
            )
        uow.commit()
    return ids


def seal() -> int:
    return service.seal(everybody())


def findings() -> list[Finding]:
    return service.verify(everybody()).findings


class TestSeals:
    @pytest.fixture(autouse=True)
    def small_batches(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(service, "BATCH", 3)

    @pytest.fixture
    def superuser(self, committed: Flask, addresses: Addresses, database_name: str) -> Iterator[Connection]:
        """Somebody to whom no right and no trigger is an obstacle."""
        url = f"{addresses.superuser.rpartition('/')[0]}/{database_name}"
        engine = create_engine(url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text("SET session_replication_role = replica"))
            yield connection
        engine.dispose()

    def test_all_is_sealed_once_and_found_in_order(self, committed: Flask, committed_rows: Database) -> None:
        write_rows(7)
        assert [seal(), seal()] == [7, 0]
        found = service.verify(everybody())
        assert (found.checkpoints, found.rows, found.dropped, found.unsealed, found.findings) == (3, 7, 0, 0, [])
        assert committed_rows.scalar("SELECT array_agg(rows ORDER BY last_audit_id) FROM audit_checkpoints") == [
            3,
            3,
            1,
        ]

    def test_an_empty_log_is_in_order(self, committed: Flask) -> None:
        assert seal() == 0
        assert findings() == []

    def test_what_is_younger_than_a_minute_waits(self, committed: Flask) -> None:
        write_rows(2)
        write_rows(2, minutes_ago=0.5)
        assert seal() == 2
        assert service.verify(everybody()).unsealed == 2

    def test_a_writer_that_commits_late_is_waited_for(self, committed: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
        """Its row is older than a minute when it is committed: sealed before it, it would look slipped in."""
        monkeypatch.setattr(service, "PATIENCE_SECONDS", 0.2)
        written, may_commit = threading.Event(), threading.Event()

        def slow_writer() -> None:
            with committed.app_context(), everybody() as uow:
                begin = uow.audit.id_at(timedelta(minutes=5))
                uow.audit.add(AuditLog(id=begin, action="import.finished", request_id="request-2"))
                written.set()
                assert may_commit.wait(10)
                uow.commit()

        writer = threading.Thread(target=slow_writer)
        writer.start()
        assert written.wait(10)
        write_rows(2, minutes_ago=4)
        assert seal() == 0
        may_commit.set()
        writer.join(10)
        assert seal() == 3
        assert findings() == []

    def test_of_two_at_once_one_seals(self, committed: Flask) -> None:
        write_rows(2)
        with everybody() as uow:
            assert uow.audit_checkpoints.lock()
            assert seal() == 0
        assert seal() == 2

    @pytest.mark.parametrize(
        "change",
        [
            "action = 'login.failed'",
            "user_id = NULL",
            "actor_id = gen_random_uuid()",
            "impersonator_id = gen_random_uuid()",
            "entity_type = 'users'",
            "entity_id = gen_random_uuid()",
            'changes = \'{"a": [null, "ä"], "b": [1, 2.51]}\'',
            "changes = NULL",
            "metadata = '{\"n\": 2}'",
            "ip = '2001:db8::2'",
            "user_agent = 'other'",
            "request_id = 'request-9'",
            "created_at = created_at + interval '1 microsecond'",
            "updated_at = updated_at - interval '1 microsecond'",
        ],
    )
    def test_a_changed_row_is_named(self, superuser: Connection, change: str) -> None:
        ids = write_rows(7)
        seal()
        superuser.execute(text(f"UPDATE audit_logs SET {change.replace(':', chr(92) + ':')} WHERE id = '{ids[4]}'"))
        assert findings() == [Finding("row changed", ids[4])]

    def test_the_same_content_written_otherwise_is_no_change(self, superuser: Connection) -> None:
        """How PostgreSQL keeps JSON does not depend on the order in which it came, nor a time on the session's zone."""
        ids = write_rows(2)
        seal()
        superuser.execute(
            text(f'UPDATE audit_logs SET changes = \'{{"b"\\:[1,2.5],"a"\\:[null,"ä"]}}\' WHERE id = \'{ids[0]}\'')
        )
        superuser.execute(text("ALTER ROLE coffer_api SET timezone = 'Asia/Kathmandu'"))
        assert findings() == []
        superuser.execute(text("ALTER ROLE coffer_api RESET timezone"))

    @pytest.mark.parametrize("number", [0, 2, 4, 6])
    def test_a_removed_row_is_named(self, superuser: Connection, number: int) -> None:
        ids = write_rows(7)
        seal()
        superuser.execute(text(f"DELETE FROM audit_logs WHERE id = '{ids[number]}'"))
        assert findings() == [Finding("row removed", ids[number])]

    def test_all_rows_removed_are_named(self, superuser: Connection) -> None:
        ids = write_rows(7)
        seal()
        superuser.execute(text("DELETE FROM audit_logs"))
        assert findings() == [Finding("row removed", one) for one in ids]

    def test_a_row_slipped_in_is_named(self, superuser: Connection) -> None:
        ids = write_rows(7)
        seal()
        slipped = UUID(int=ids[3].int + 1)
        superuser.execute(
            text(f"INSERT INTO audit_logs (id, action, request_id) VALUES ('{slipped}', 'x', 'request-1')")
        )
        assert findings() == [Finding("row added", slipped)]

    def test_a_checkpoint_removed_changed_or_made_anew_is_named(self, superuser: Connection) -> None:
        write_rows(7)
        seal()
        first, second, third = superuser.scalars(text("SELECT id FROM audit_checkpoints ORDER BY last_audit_id"))
        superuser.execute(text(f"UPDATE audit_checkpoints SET rows = 4 WHERE id = '{second}'"))
        assert findings() == [Finding("checkpoint changed", second)]
        superuser.execute(text(f"UPDATE audit_checkpoints SET rows = 3 WHERE id = '{second}'"))
        superuser.execute(text(f"DELETE FROM audit_checkpoints WHERE id = '{first}'"))
        assert findings()[0] == Finding("checkpoint missing", second)
        assert {one.kind for one in findings()[1:]} == {"row added"}
        superuser.execute(text(f"UPDATE audit_checkpoints SET hash = sha256('x') WHERE id = '{third}'"))
        assert Finding("checkpoint changed", third) in findings()

    def test_who_changes_a_row_and_its_seal_breaks_the_chain(self, superuser: Connection) -> None:
        ids = write_rows(7)
        seal()
        superuser.execute(text(f"UPDATE audit_logs SET action = 'x' WHERE id = '{ids[0]}'"))
        with everybody() as uow:
            (row, *_) = uow.audit.list_sealable(after=None, up_to=ids[0])
            (checkpoint, *_) = uow.audit_checkpoints.list_after(None, limit=1)
        seals = checkpoint.seals[:16] + service.row_hash(row, 1) + checkpoint.seals[48:]
        superuser.execute(
            text("UPDATE audit_checkpoints SET seals = :seals, hash = :hash WHERE id = :id"),
            {"seals": seals, "hash": service._chained(checkpoint.previous_hash, seals), "id": checkpoint.id},
        )
        assert [one.kind for one in findings()] == ["checkpoint missing"]

    def test_rows_past_their_time_may_be_gone(self, superuser: Connection) -> None:
        """Their month is dropped after seven years."""
        write_rows(3, minutes_ago=60 * 24 * (7 * 365 + 40))
        write_rows(1)
        seal()
        superuser.execute(text("DELETE FROM audit_logs WHERE id < uuid7_floor(now() - interval '7 years')"))
        found = service.verify(everybody())
        assert (found.dropped, found.findings) == (3, [])

    def test_the_api_can_neither_change_nor_remove_a_seal(self, committed: Flask, committed_rows: Database) -> None:
        rights = "SELECT string_agg(p, ' ') FROM unnest(ARRAY['SELECT','INSERT','UPDATE','DELETE','TRUNCATE']) p"
        held = committed_rows.scalar(f"{rights} WHERE has_table_privilege('coffer_api', 'audit_checkpoints', p)")
        assert held == "SELECT INSERT"

    def test_the_task_seals(self, committed: Flask) -> None:
        write_rows(2)
        celery.tasks[SEAL_AUDIT.name].apply(throw=True)
        assert service.verify(everybody()).rows == 2

    def test_the_command_says_which(self, superuser: Connection, committed: Flask) -> None:
        ids = write_rows(2)
        seal()
        runner = committed.test_cli_runner()
        fine = runner.invoke(args=["audit", "verify"])
        assert (fine.exit_code, fine.output) == (
            0,
            "2 sealed rows under 1 checkpoints, 0 past their time and dropped, 0 not sealed yet; findings: 0.\n",
        )
        superuser.execute(text(f"UPDATE audit_logs SET action = 'x' WHERE id = '{ids[1]}'"))
        told = runner.invoke(args=["audit", "verify"])
        assert (told.exit_code, told.output.splitlines()[0]) == (1, f"row changed: {ids[1]}")
        as_json = runner.invoke(args=["audit", "verify", "--json"])
        assert as_json.exit_code == 1
        assert json.loads(as_json.output) == {
            "ok": False,
            "checkpoints": 1,
            "rows": 2,
            "dropped": 0,
            "unsealed": 0,
            "findings": [{"kind": "row changed", "id": str(ids[1])}],
        }
