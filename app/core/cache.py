"""What is read often and changes rarely, kept in Redis. Redis away means slower, never wrong.

A value is stored with the stamp under which it was loaded: the epoch of the whole cache and the version of its subject.
A reader takes the stamp *before* it loads, and a stored value counts only while its stamp is the present one. Both are
random and not counted, so that what Redis forgets (FLUSHALL, a restart, eviction) never comes back as an old number.

A commit that changes the subject is enclosed by `outdating`. Before it, the subject gets a new version and the mark of
a writer, and while there is a mark nobody stores and nobody believes; after it, another new version, and the mark goes.
So a reader who loaded the old row stored it under a stamp that is over, whenever that was. The version from before the
commit is what holds when the writer dies in between: the mark runs out, and nothing was stored under that version.

A process that could not speak with Redis trusts it no longer: it loads everything itself, while a thread tries to begin
a new epoch. Only when that went through, after the last failure, it trusts again: this makes up for every invalidation
that failed. What remains: a process that reaches Redis may read the old value of another that does not, until that
other one reaches Redis again (or, if it dies before, until the value's time is over).
"""

import json
import random
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID

import redis
import structlog
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.core.metrics import CACHE_INVALIDATIONS, CACHE_READS

log = structlog.get_logger(__name__)

PATIENCE_SECONDS = 0.25
# Longer than any commit takes.
WRITER_LEASE = timedelta(minutes=1)
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that is cached."""

    kind: "Cached"
    subject: str


@dataclass(frozen=True, slots=True)
class Cached:
    """A kind of thing that is cached: its name, the number of its present shape, and how long it may be kept.

    Raise `shape` when the code expects another form: old and new code then keep values apart, and outdate both.
    """

    name: str
    shape: int
    kept_for: timedelta

    def of(self, person: UUID | None, what: str = "all") -> Entry:
        """The entry of this person; of nobody (None) when it is the same for all."""
        return Entry(self, f"{person or 'shared'}:{what}")


class _State(NamedTuple):
    """What one look at Redis found."""

    stamp: str
    writers: bool
    stored: str | None


class Cache:
    """Keeps values that are JSON.

    What is loaded must come from a transaction that `load` begins itself: one that began before may hold old rows.
    """

    def __init__(self, url: str, *, prefix: str = "coffer:cache") -> None:
        self._redis = redis.Redis.from_url(
            url,
            socket_timeout=PATIENCE_SECONDS,
            socket_connect_timeout=PATIENCE_SECONDS,
            retry=Retry(NoBackoff(), 0),
            decode_responses=True,
        )
        self._prefix = prefix
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._recovery: threading.Thread | None = None
        self._failures = 0
        self.trusted = True

    def get_or_load(self, entry: Entry, load: Callable[[], Any]) -> Any:
        """The value of this entry, from the cache or else loaded; always as JSON gives it back."""
        state = self._look(entry)
        if state is not None:
            held = _held(state)
            if held is not None:
                CACHE_READS.labels(entry.kind.name, "hit").inc()
                return held[0]
            CACHE_READS.labels(entry.kind.name, "miss").inc()
        loaded = json.dumps(load(), separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        if state is not None and not state.writers:
            self._store(entry, state.stamp, loaded)
        return json.loads(loaded)

    @contextmanager
    def outdating(self, entry: Entry) -> Iterator[None]:
        """Enclose a commit that changes what the entry shows."""
        writer = secrets.token_hex(8)
        self._try(lambda: self._begin_writing(entry, writer))
        try:
            yield
        finally:
            done = self._try(lambda: self._end_writing(entry, writer))
            CACHE_INVALIDATIONS.labels("done" if done else "postponed").inc()
            if not done:
                self._distrust()

    def close(self) -> None:
        """Give the connections back and stop trying to reach Redis."""
        self._stopped.set()
        self._redis.close()

    def _look(self, entry: Entry) -> _State | None:
        if not self.trusted:
            CACHE_READS.labels(entry.kind.name, "bypass").inc()
            return None
        version, writers = self._key("version", entry), self._key("writers", entry)
        try:
            with self._redis.pipeline(transaction=True) as pipe:
                pipe.set(self._epoch, _stamp(), nx=True)
                pipe.set(version, _stamp(), nx=True, ex=_longer_than(entry.kind))
                pipe.mget(self._epoch, version, self._value_key(entry))
                pipe.exists(writers)
                *_, (epoch, present, stored), marked = pipe.execute()
        except redis.RedisError:
            CACHE_READS.labels(entry.kind.name, "error").inc()
            self._distrust()
            return None
        return _State(f"{epoch}.{present}", bool(marked), stored)

    def _store(self, entry: Entry, stamp: str, loaded: str) -> None:
        self._try(lambda: self._redis.set(self._value_key(entry), f"{stamp}\n{loaded}", ex=entry.kind.kept_for))

    def _begin_writing(self, entry: Entry, writer: str) -> None:
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.set(self._key("version", entry), _stamp(), ex=_longer_than(entry.kind))
            pipe.sadd(self._key("writers", entry), writer)
            pipe.expire(self._key("writers", entry), WRITER_LEASE)
            pipe.execute()

    def _end_writing(self, entry: Entry, writer: str) -> None:
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.set(self._key("version", entry), _stamp(), ex=_longer_than(entry.kind))
            pipe.srem(self._key("writers", entry), writer)
            pipe.execute()

    def _try(self, command: Callable[[], object]) -> bool:
        """Do it if Redis is trusted; False, and no more trust, when it could not be done."""
        if not self.trusted:
            return False
        try:
            command()
        except redis.RedisError:
            self._distrust()
            return False
        return True

    def _distrust(self) -> None:
        """Load everything from the database until a new epoch has begun after this moment."""
        with self._lock:
            self._failures += 1
            if self.trusted:
                log.warning("cache_distrusted")
            self.trusted = False
            if self._recovery is None or not self._recovery.is_alive():
                self._recovery = threading.Thread(target=self._recover, name="cache-recovery", daemon=True)
                self._recovery.start()

    def _recover(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        while not self._stopped.wait(pause * random.uniform(0.75, 1.25)):  # noqa: S311  # spreads, guards nothing
            failures = self._failures
            try:
                self._redis.set(self._epoch, _stamp())
            except redis.RedisError:
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
                continue
            with self._lock:
                # An invalidation that failed meanwhile may have come after the epoch began.
                if failures == self._failures:
                    self.trusted = True
                    self._recovery = None
                    log.info("cache_trusted_again")
                    return

    @property
    def _epoch(self) -> str:
        return f"{self._prefix}:epoch"

    def _key(self, use: str, entry: Entry) -> str:
        return f"{self._prefix}:{use}:{entry.kind.name}:{entry.subject}"

    def _value_key(self, entry: Entry) -> str:
        return f"{self._key('value', entry)}:{entry.kind.shape}"


def _stamp() -> str:
    return secrets.token_hex(12)


def _longer_than(kind: Cached) -> timedelta:
    """A version outlives what is stored under it; when it does run out, a new one makes a miss."""
    return 2 * kind.kept_for + WRITER_LEASE


def _held(state: _State) -> tuple[Any] | None:
    """The stored value if its stamp is the present one; in a tuple, since null is a value."""
    if state.stored is None or state.writers:
        return None
    stamp, _, body = state.stored.partition("\n")
    if stamp != state.stamp:
        return None
    try:
        return (json.loads(body),)
    except ValueError:
        return None
