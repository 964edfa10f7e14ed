"""Where rows are kept: in memory, and on PostgreSQL."""

from collections.abc import Callable

import pytest

from app.core.extensions import KEY
from app.jobs import publisher
from app.unit_of_work import UnitOfWork
from tests.contract.kept import Kept
from tests.memory import MemoryUnitOfWork, Store


@pytest.fixture(params=["memory", "postgresql"])
def kept(request: pytest.FixtureRequest) -> Kept:
    if request.param == "memory":
        store = Store()
        return Kept(lambda: MemoryUnitOfWork(store), lambda: store.published)
    app = request.getfixturevalue("app")
    assert KEY in app.extensions
    return Kept(lambda: UnitOfWork(everybody=True), lambda: app.extensions[publisher.KEY].envelopes)


@pytest.fixture
def begin(kept: Kept) -> Callable[[], UnitOfWork]:
    return kept.begin
