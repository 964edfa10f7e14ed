"""Counts the statements that a piece of work sends to the database."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import event

from app.core.extensions import KEY


class Statements:
    """The statements of a block, without those that only say who acts or set savepoints."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def __len__(self) -> int:
        return len(self.texts)

    def note(self, statement: str) -> None:
        if not statement.startswith(("SELECT set_config", "SAVEPOINT", "RELEASE", "ROLLBACK")):
            self.texts.append(statement)


class Counter:
    """`with counter() as statements:` and then `len(statements)`."""

    def __init__(self, bind: Any) -> None:
        self._bind = bind

    @contextmanager
    def __call__(self) -> Iterator[Statements]:
        statements = Statements()

        def note(_: Any, __: Any, statement: str, *___: Any) -> None:
            statements.note(statement)

        event.listen(self._bind, "before_cursor_execute", note)
        try:
            yield statements
        finally:
            event.remove(self._bind, "before_cursor_execute", note)


@pytest.fixture
def counter(app: Flask) -> Counter:
    return Counter(app.extensions[KEY].sessions.kw["bind"])
