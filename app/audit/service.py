"""Seals audit rows into a chain of checkpoints, and finds what was done to sealed rows.

A checkpoint holds the hash of each of its rows, and hashes those together with the checkpoint before. Who changes,
removes or slips in a row, shows; who could also write the checkpoints anew from there on, would not: copies of them
outside of the database are for that.
"""

import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal
from uuid import UUID

from app.audit.models import AuditCheckpoint
from app.audit.repository import SealableRow
from app.core.db import new_id
from app.unit_of_work import UnitOfWork

# An id tells when a row was made and not when it was committed, and the clocks of the machines differ a little.
WAIT = timedelta(minutes=1)
BATCH = 5_000
PATIENCE_SECONDS = 5.0
GENESIS = bytes(32)
FORM = 1
# Rows older than this are dropped with their month (migration 0022 says so to the database).
KEPT_FOR = timedelta(days=7 * 365)

Kind = Literal["row changed", "row removed", "row added", "checkpoint changed", "checkpoint missing"]
_SEAL_BYTES = 16 + 32


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that was done to the log after it was sealed, and to which row or checkpoint."""

    kind: Kind
    id: UUID


@dataclass(slots=True)
class Verification:
    """What a look at the whole log found."""

    checkpoints: int = 0
    rows: int = 0
    dropped: int = 0
    unsealed: int = 0
    findings: list[Finding] = field(default_factory=list)


def seal(uow: UnitOfWork) -> int:
    """Seal what is old enough; returns how many rows. Of two at once, one does it."""
    sealed = 0
    while True:
        with uow:
            batch = _seal_batch(uow)
            uow.commit()
        sealed += batch
        if batch < BATCH:
            return sealed


def _seal_batch(uow: UnitOfWork) -> int:
    """Seal the next rows, unless a transaction that may still add one among them does not end."""
    if not uow.audit_checkpoints.lock():
        return 0
    before = uow.audit.id_at(WAIT)
    if not _writers_have_ended(uow):
        return 0
    last = uow.audit_checkpoints.find_last()
    rows = uow.audit.list_sealable(after=last.last_audit_id if last else None, up_to=before, limit=BATCH)
    if rows:
        seals = b"".join(row.id.bytes + row_hash(row, FORM) for row in rows)
        previous = last.hash if last else GENESIS
        uow.audit_checkpoints.add(
            AuditCheckpoint(
                id=new_id(),
                last_audit_id=rows[-1].id,
                rows=len(rows),
                previous_hash=previous,
                hash=_chained(previous, seals),
                seals=seals,
                form=FORM,
            )
        )
    return len(rows)


def _writers_have_ended(uow: UnitOfWork) -> bool:
    """Wait for those who have written and not committed: their rows may have ids among those to be sealed."""
    waited_for = uow.audit.writers()
    end = time.monotonic() + PATIENCE_SECONDS
    while waited_for & uow.audit.writers():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def row_hash(row: SealableRow, form: int) -> bytes:
    """SHA-256 over every column in a form that does not depend on who reads it."""
    columns = [_canonical(value) for value in row]
    return hashlib.sha256(json.dumps([form, *columns], ensure_ascii=False, separators=(",", ":")).encode()).digest()


def _canonical(value: object) -> str | None:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    return None if value is None else str(value)


def _chained(previous: bytes, seals: bytes) -> bytes:
    return hashlib.sha256(previous + seals).digest()


def verify(uow: UnitOfWork) -> Verification:
    """Compare every sealed row with its seal, and every checkpoint with the one before."""
    found = Verification()
    with uow:
        too_old = uow.audit.id_at(KEPT_FOR)
        after, previous = None, GENESIS
        for checkpoint in _checkpoints(uow):
            found.checkpoints += 1
            if checkpoint.previous_hash != previous:
                found.findings.append(Finding("checkpoint missing", checkpoint.id))
            if not _is_whole(checkpoint):
                found.findings.append(Finding("checkpoint changed", checkpoint.id))
            _compare(uow, checkpoint, after, too_old, found)
            after, previous = checkpoint.last_audit_id, checkpoint.hash
        found.unsealed = uow.audit.count_after(after)
    return found


def _checkpoints(uow: UnitOfWork) -> Iterator[AuditCheckpoint]:
    after = None
    while some := uow.audit_checkpoints.list_after(after, limit=20):
        yield from some
        after = some[-1].last_audit_id


def _is_whole(checkpoint: AuditCheckpoint) -> bool:
    """Whether the parts of a checkpoint fit each other."""
    ends_right = checkpoint.seals[-_SEAL_BYTES:][:16] == checkpoint.last_audit_id.bytes
    counted = checkpoint.rows * _SEAL_BYTES == len(checkpoint.seals)
    return ends_right and counted and checkpoint.hash == _chained(checkpoint.previous_hash, checkpoint.seals)


def _compare(
    uow: UnitOfWork, checkpoint: AuditCheckpoint, after: UUID | None, too_old: UUID, found: Verification
) -> None:
    """Find the rows of one checkpoint that are not as they were sealed."""
    sealed = {
        UUID(bytes=checkpoint.seals[at : at + 16]): checkpoint.seals[at + 16 : at + _SEAL_BYTES]
        for at in range(0, len(checkpoint.seals), _SEAL_BYTES)
    }
    rows = uow.audit.list_sealable(after=after, up_to=checkpoint.last_audit_id)
    for row in rows:
        held = sealed.pop(row.id, None)
        if held is None:
            found.findings.append(Finding("row added", row.id))
        elif held != row_hash(row, checkpoint.form):
            found.findings.append(Finding("row changed", row.id))
    found.rows += len(rows)
    missing = [row_id for row_id in sealed if row_id >= too_old]
    found.dropped += len(sealed) - len(missing)
    found.findings += [Finding("row removed", row_id) for row_id in sorted(missing)]
