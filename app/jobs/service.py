"""What happens to an outbox message: claimed by one worker, then done, put off or given up."""

import random
from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

from app.jobs.publisher import Envelope
from app.unit_of_work import UnitOfWork

LEASE = timedelta(seconds=20)
# A worker that hears of a message claims it at once; silence for so long means that the broker lost it.
UNHEARD_AFTER = timedelta(seconds=60)
# The process that wrote a message publishes it itself; only then does the relay step in.
OVERDUE_AFTER = timedelta(seconds=5)
MOST_ATTEMPTS = 12
FIRST_DELAY_SECONDS = 5.0
LONGEST_DELAY_SECONDS = 3600.0
RELAY_BATCH = 200
KEPT_FOR = timedelta(days=7)
PURGE_BATCH = 5_000


def claim_message(uow: UnitOfWork, *, message_id: UUID) -> int | None:
    """Take the message; the number of this attempt, or None when there is nothing to do."""
    with uow:
        attempt = uow.outbox.claim(message_id, lease=LEASE)
        poisonous = attempt is not None and attempt > MOST_ATTEMPTS
        if attempt is not None and poisonous:
            uow.outbox.fail(message_id, attempt=attempt, error="every worker that took it died")
        uow.commit()
    return None if poisonous else attempt


def extend_lease(uow: UnitOfWork, *, message_id: UUID, attempt: int) -> bool:
    """Say that the worker lives."""
    with uow:
        kept = uow.outbox.extend_lease(message_id, attempt=attempt, lease=LEASE)
        uow.commit()
    return kept


def finish_message(uow: UnitOfWork, *, message_id: UUID, attempt: int) -> None:
    """The work is done."""
    with uow:
        uow.outbox.finish(message_id, attempt=attempt)
        uow.commit()


def give_up_message(uow: UnitOfWork, *, message_id: UUID, attempt: int, error: str) -> None:
    """No further try will help."""
    with uow:
        uow.outbox.fail(message_id, attempt=attempt, error=error)
        uow.commit()


def retry_message(uow: UnitOfWork, *, message_id: UUID, attempt: int, error: str) -> bool:
    """Try again later, twice as late each time; False when the tries are used up."""
    with uow:
        again = attempt < MOST_ATTEMPTS
        if again:
            delay = timedelta(seconds=backoff_seconds(attempt))
            uow.outbox.postpone(message_id, attempt=attempt, delay=delay, error=error)
        else:
            uow.outbox.fail(message_id, attempt=attempt, error=error)
        uow.commit()
    return again


def backoff_seconds(attempt: int) -> float:
    """The pause after this attempt: doubled each time, bounded, with jitter of a quarter up or down."""
    pause = min(FIRST_DELAY_SECONDS * 2.0 ** (attempt - 1), LONGEST_DELAY_SECONDS)
    return pause * random.uniform(0.75, 1.25)  # noqa: S311  # spreads retries, guards nothing


def relay_messages(uow: UnitOfWork, publish: Callable[[Envelope], None]) -> int:
    """Publish what the broker does not know of; returns how many.

    The rows stay locked meanwhile, so that two relays share the work. What is published and then not marked,
    because the process died in between, is published again: the claim makes that harmless.
    """
    with uow:
        messages = uow.outbox.lock_unpublished(
            limit=RELAY_BATCH, overdue_after=OVERDUE_AFTER, unheard_after=UNHEARD_AFTER
        )
        for message in messages:
            publish(Envelope.of(message))
        uow.outbox.mark_published([message.id for message in messages])
        uow.commit()
    return len(messages)


def purge_messages(uow: UnitOfWork) -> int:
    """Delete what was done a week ago, in batches; returns how many."""
    deleted = 0
    while True:
        with uow:
            batch = uow.outbox.purge(older_than=KEPT_FOR, limit=PURGE_BATCH)
            uow.commit()
        deleted += batch
        if batch < PURGE_BATCH:
            return deleted
