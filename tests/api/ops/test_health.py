"""Liveness, readiness and the mailbox page (security number 136)."""

import pytest

from app.ops.health import service
from tests.api.client import ApiClient


def test_alive(api: ApiClient) -> None:
    assert api.http.get("/healthz").json == {"status": "alive"}


def test_ready(api: ApiClient) -> None:
    answer = api.http.get("/readyz")
    assert answer.json == {
        "status": "ready",
        "checks": {"database": True, "migrations": True, "redis": True, "queue": True},
    }


@pytest.mark.parametrize("part", ["_database", "_migrations", "_redis", "_queue"])
def test_one_part_that_does_not_answer_makes_it_red(api: ApiClient, monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    def broken() -> bool:
        raise OSError("10.1.2.3 refused, canary")

    monkeypatch.setattr(service, part, broken)
    answer = api.http.get("/readyz")
    assert answer.status_code == 503
    assert (answer.json or {})["checks"][part.strip("_")] is False
    assert "canary" not in answer.get_data(as_text=True)
