"""The cache over a real Redis: what it saves, and that it never shows what a commit has ended (005-017, number 101)."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import redis
from flask import Flask
from prometheus_client import REGISTRY

from app.core import cache as caches
from app.core.cache import Cache, Cached, Entry
from app.core.errors import CofferError, Conflict
from app.core.extensions import cached, parts
from app.people.models import User
from app.unit_of_work import UnitOfWork
from dev.embedded import Redis
from dev.testing import Addresses
from tests.factories.people import make_person

NAMES = Cached("names", shape=1, kept_for=timedelta(minutes=5))
ENTRY = NAMES.of(None)
PATIENCE_SECONDS = 10


class Source:
    """Something slow to ask: it counts how often it was."""

    def __init__(self, value: Any = "first") -> None:
        self.value = value
        self.loads = 0

    def load(self) -> Any:
        self.loads += 1
        return self.value


@pytest.fixture
def make_cache(addresses: Addresses) -> Iterator[Callable[[], Cache]]:
    """Caches of several processes over one Redis, with keys of this test alone."""
    prefix, made = f"test:{uuid4()}", list[Cache]()

    def make() -> Cache:
        made.append(Cache(addresses.redis_url(), prefix=prefix))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def cache(make_cache: Callable[[], Cache]) -> Cache:
    return make_cache()


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[Redis]:
    """A Redis of this test alone, which it may stop, freeze and empty."""
    with Redis(tmp_path / "redis", durable=False) as server:
        yield server


@pytest.fixture
def outage(own_redis: Redis) -> Iterator[Cache]:
    one = Cache(own_redis.url)
    yield one
    one.close()


def read(cache: Cache, source: Source, entry: Entry = ENTRY) -> Any:
    return cache.get_or_load(entry, source.load)


def outdate(cache: Cache, entry: Entry = ENTRY) -> None:
    with cache.outdating(entry):
        pass


def wait_until(happened: Callable[[], bool], otherwise: str) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not happened():
        assert time.monotonic() < end, otherwise
        time.sleep(0.01)


class TestSaving:
    def test_many_reads_are_one_load(self, cache: Cache) -> None:
        source = Source({"name": "Ä", "amounts": [1, "2.50", None]})
        assert [read(cache, source) for _ in range(50)] == [source.value] * 50
        assert source.loads == 1

    def test_all_processes_share_it(self, make_cache: Callable[[], Cache]) -> None:
        source = Source()
        for _ in range(5):
            read(make_cache(), source)
        assert source.loads == 1

    @pytest.mark.parametrize("value", [None, False, 0, "", [], {}])
    def test_what_looks_like_nothing_is_kept_too(self, cache: Cache, value: Any) -> None:
        source = Source(value)
        assert [read(cache, source), read(cache, source)] == [value, value]
        assert source.loads == 1

    def test_the_first_answer_looks_like_the_later_ones(self, cache: Cache) -> None:
        source = Source({1: ("a", "b")})
        assert read(cache, source) == read(cache, source) == {"1": ["a", "b"]}

    @pytest.mark.parametrize("value", [{1, 2}, float("nan"), object()])
    def test_only_json_is_taken(self, cache: Cache, value: Any) -> None:
        with pytest.raises((TypeError, ValueError)):
            read(cache, Source(value))

    def test_each_person_kind_and_question_has_an_entry_of_its_own(self, cache: Cache) -> None:
        """Number 101: the person is part of the key, and so is that it is nobody's."""
        anna, ben = uuid4(), uuid4()
        other = Cached("others", shape=1, kept_for=timedelta(minutes=1))
        entries = [NAMES.of(anna), NAMES.of(ben), NAMES.of(None), NAMES.of(anna, "short"), other.of(anna)]
        sources = [Source(str(entry)) for entry in entries]
        for _ in range(2):
            assert [read(cache, one, entry) for one, entry in zip(sources, entries, strict=True)] == [
                one.value for one in sources
            ]
        assert [one.loads for one in sources] == [1] * 5

    def test_another_shape_is_another_value_and_outdated_by_old_and_new_code(self, cache: Cache) -> None:
        new_shape = Cached("names", shape=2, kept_for=timedelta(minutes=5)).of(None)
        old, new = Source("old shape"), Source("new shape")
        assert [read(cache, old), read(cache, new, new_shape)] == ["old shape", "new shape"]
        outdate(cache)
        read(cache, new, new_shape)
        outdate(cache, new_shape)
        read(cache, old)
        assert (old.loads, new.loads) == (2, 2)

    def test_it_is_kept_for_its_time(self, cache: Cache) -> None:
        short = Cached("short", shape=1, kept_for=timedelta(seconds=1)).of(None)
        source = Source()
        read(cache, source, short)
        read(cache, source, short)
        assert source.loads == 1
        time.sleep(1.1)
        read(cache, source, short)
        assert source.loads == 2

    def test_hits_misses_and_invalidations_are_counted(self, cache: Cache) -> None:
        kind = Cached(f"counted-{uuid4()}", shape=1, kept_for=timedelta(minutes=1))

        def count(outcome: str) -> float:
            labels = {"kind": kind.name, "outcome": outcome}
            return REGISTRY.get_sample_value("coffer_cache_reads_total", labels) or 0

        for _ in range(3):
            read(cache, Source(), kind.of(None))
        assert (count("miss"), count("hit")) == (1, 2)


class TestNeverOld:
    def test_after_the_commit_everybody_sees_the_new_value(self, make_cache: Callable[[], Cache]) -> None:
        here, there, source = make_cache(), make_cache(), Source("old")
        assert read(here, source) == "old"
        with there.outdating(ENTRY):
            source.value = "new"
        assert [read(here, source), read(there, source)] == ["new", "new"]

    def test_while_a_writer_commits_nobody_stores(self, make_cache: Callable[[], Cache]) -> None:
        here, there, source = make_cache(), make_cache(), Source("old")
        with there.outdating(ENTRY):
            assert [read(here, source), read(here, source)] == ["old", "old"]
            assert source.loads == 2
            source.value = "new"
        assert read(here, source) == "new"

    def test_a_reader_that_loaded_before_the_commit_cannot_store_after_it(
        self, make_cache: Callable[[], Cache]
    ) -> None:
        """The race of all caches: load the old row, sleep, let a writer come and go, store."""
        here, there = make_cache(), make_cache()
        loaded, may_store = threading.Event(), threading.Event()

        def slowly() -> str:
            loaded.set()
            assert may_store.wait(PATIENCE_SECONDS)
            return "old"

        with ThreadPoolExecutor(1) as pool:
            reader = pool.submit(here.get_or_load, ENTRY, slowly)
            assert loaded.wait(PATIENCE_SECONDS)
            outdate(there)
            may_store.set()
            assert reader.result(PATIENCE_SECONDS) == "old"
        assert read(there, Source("new")) == "new"

    def test_of_two_writers_the_first_to_end_leaves_the_mark_of_the_other(
        self, make_cache: Callable[[], Cache]
    ) -> None:
        here, there, source = make_cache(), make_cache(), Source("old")
        with here.outdating(ENTRY):
            outdate(there)
            read(there, source)
            read(there, source)
            assert source.loads == 2
        read(there, source)
        read(there, source)
        assert source.loads == 3

    def test_a_writer_that_dies_in_the_commit_leaves_nothing_old(
        self, make_cache: Callable[[], Cache], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Killed after the commit and before it could say so: what others stored before is over all the same."""
        monkeypatch.setattr(caches, "WRITER_LEASE", timedelta(seconds=1))
        here, there, source = make_cache(), make_cache(), Source("old")
        read(here, source)
        there._begin_writing(ENTRY, "a process that was killed")
        source.value = "new"
        assert read(here, source) == "new"
        time.sleep(1.1)
        assert [read(here, source), read(here, source)] == ["new", "new"]
        assert source.loads == 3

    def test_readers_and_writers_at_once_never_see_the_past(self, make_cache: Callable[[], Cache]) -> None:
        """Whoever begins to read after a commit sees at least what that commit wrote."""
        value, committed = [0], [0]
        stop = threading.Event()

        def write(one: Cache) -> None:
            for number in range(1, 150):
                with one.outdating(ENTRY):
                    value[0] = number
                committed[0] = number
            stop.set()

        def keep_reading(one: Cache) -> list[tuple[int, int]]:
            wrong = []
            while not stop.is_set():
                least = committed[0]
                seen = one.get_or_load(ENTRY, lambda: value[0])
                if seen < least:
                    wrong.append((least, seen))
            return wrong

        with ThreadPoolExecutor(5) as pool:
            readers = [pool.submit(keep_reading, make_cache()) for _ in range(4)]
            pool.submit(write, make_cache()).result(60)
            assert [reader.result(PATIENCE_SECONDS) for reader in readers] == [[], [], [], []]


class TestUnitOfWork:
    """Invalidated with the commit, and not before."""

    @pytest.fixture
    def person(self, committed: Flask) -> User:
        return make_person(first_name="Old")

    @staticmethod
    def name_of(person: User) -> Any:
        def load() -> str | None:
            with UnitOfWork(everybody=True) as uow:
                return uow.users.get(person.id).first_name

        return cached(NAMES.of(person.id), load)

    @staticmethod
    def rename(person_id: UUID, name: str, *, commit: bool) -> None:
        with UnitOfWork(everybody=True) as uow:
            uow.users.update(uow.users.get(person_id), {"first_name": name})
            uow.outdate(NAMES.of(person_id))
            if commit:
                uow.commit()

    def test_a_commit_shows_at_once(self, person: User) -> None:
        assert self.name_of(person) == "Old"
        self.rename(person.id, "New", commit=True)
        assert self.name_of(person) == "New"

    def test_a_rollback_outdates_nothing(self, person: User, monkeypatch: pytest.MonkeyPatch) -> None:
        assert self.name_of(person) == "Old"
        self.rename(person.id, "New", commit=False)
        monkeypatch.setattr("app.core.repository.Repository.get", None)
        assert self.name_of(person) == "Old", "it was loaded again"

    def test_a_commit_that_fails_leaves_no_mark(self, person: User, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail() -> None:
            raise Conflict

        with UnitOfWork(everybody=True) as uow:
            uow.outdate(NAMES.of(person.id))
            monkeypatch.setattr(uow._session, "commit", fail)
            with pytest.raises(CofferError):
                uow.commit()
        self.name_of(person)
        source = Source("Old")
        assert parts().cache.get_or_load(NAMES.of(person.id), source.load) == "Old"
        assert source.loads == 0


class TestRedisAway:
    """Slower, never wrong."""

    def test_stopped(self, own_redis: Redis, outage: Cache) -> None:
        source = Source("old")
        read(outage, source)
        own_redis.stop()
        started = time.monotonic()
        assert [read(outage, source) for _ in range(20)] == ["old"] * 20
        assert time.monotonic() - started < 1
        with outage.outdating(ENTRY):
            source.value = "new"
        assert read(outage, source) == "new"
        own_redis.start()
        wait_until(lambda: outage.trusted, "the cache was not trusted again")
        loads = source.loads
        assert [read(outage, source), read(outage, source)] == ["new", "new"]
        assert source.loads == loads + 1

    def test_frozen(self, own_redis: Redis, outage: Cache) -> None:
        """It takes connections and answers nothing; then it comes back with all that it had, the old value too."""
        healthy, source = Cache(own_redis.url), Source("old")
        read(outage, source)
        own_redis.process.send_signal(signal.SIGSTOP)
        started = time.monotonic()
        with outage.outdating(ENTRY):
            source.value = "new"
        assert [read(outage, source) for _ in range(20)] == ["new"] * 20
        assert time.monotonic() - started < 1
        own_redis.process.send_signal(signal.SIGCONT)
        wait_until(lambda: outage.trusted, "the cache was not trusted again")
        assert [read(outage, source), read(healthy, source)] == ["new", "new"]
        healthy.close()

    def test_emptied_in_the_middle(self, own_redis: Redis, outage: Cache) -> None:
        """FLUSHALL between load and store, and in the middle of a commit: counters would begin anew, stamps do not."""
        source = Source("old")
        with redis.Redis.from_url(own_redis.url) as plain:

            def load() -> str:
                plain.flushall()
                outdate(outage)
                return "old"

            assert outage.get_or_load(ENTRY, load) == "old"
            source.value = "new"
            assert read(outage, source) == "new"
            with outage.outdating(ENTRY):
                plain.flushall()
                read(outage, source)
                source.value = "newer"
            assert read(outage, source) == "newer"

    def test_full(self, own_redis: Redis, outage: Cache) -> None:
        """It reads and refuses to write: an invalidation cannot be kept, so nothing is believed."""
        source = Source("old")
        read(outage, source)
        with redis.Redis.from_url(own_redis.url) as plain:
            plain.config_set("maxmemory", "1")
            with outage.outdating(ENTRY):
                source.value = "new"
            assert read(outage, source) == "new"
            assert not outage.trusted
            plain.config_set("maxmemory", "0")
        wait_until(lambda: outage.trusted, "the cache was not trusted again")
        assert read(outage, source) == "new"

    def test_a_damaged_value_is_loaded_again(self, own_redis: Redis, outage: Cache) -> None:
        source = Source()
        read(outage, source)
        with redis.Redis.from_url(own_redis.url, decode_responses=True) as plain:
            (key,) = plain.scan_iter("coffer:cache:value:*")
            stamp = str(plain.get(key)).partition("\n")[0]
            plain.set(key, f"{stamp}\n{{half a")
        assert read(outage, source) == "first"
        assert source.loads == 2

    def test_an_invalidation_that_failed_is_made_up_for_in_the_background(
        self, own_redis: Redis, outage: Cache, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The writer's process lost its line to Redis; another has not and reads the old value for a while."""
        healthy, source = Cache(own_redis.url), Source("old")
        read(healthy, source)

        def refuse(*_: Any, **__: Any) -> None:
            raise redis.ConnectionError

        with monkeypatch.context() as line:
            line.setattr(outage._redis, "pipeline", refuse)
            line.setattr(outage._redis, "set", refuse)
            with outage.outdating(ENTRY):
                source.value = "new"
            assert read(healthy, source) == "old", "the window that the module tells of"
        wait_until(lambda: outage.trusted, "the invalidation was forgotten")
        assert read(healthy, source) == "new"
        healthy.close()
