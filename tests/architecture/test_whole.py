"""Rules that hold over the whole of Coffer."""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from flask import Flask
from flask.views import MethodView

import tasks
from app.core.config import ROOT, variables
from app.core.errors import HTTP_CODES, CofferError
from app.core.extensions import celery
from app.jobs import names
from app.jobs.names import TaskName
from tasks.schedule import TIMETABLE

# Not part of the API: what Flask and flask-smorest serve themselves, and the page of the docs.
UNGUARDED = {"static", "api-docs.openapi_json", "api-page.page", "api-page.asset"}


def error_classes(base: type[CofferError] = CofferError) -> Iterator[type[CofferError]]:
    yield base
    for child in base.__subclasses__():
        yield from error_classes(child)


def operations(app: Flask) -> Iterator[tuple[str, Any]]:
    for rule in app.url_map.iter_rules():
        view = app.view_functions[rule.endpoint]
        view_class = getattr(view, "view_class", None)
        if view_class is not None and issubclass(view_class, MethodView):
            for method in view_class.methods or ():
                yield f"{method} {rule.rule}", getattr(view_class, method.lower())
        elif rule.endpoint not in UNGUARDED:
            yield rule.rule, view


def test_every_route_says_who_may_call_it(app: Flask) -> None:
    silent = [name for name, view in operations(app) if "requires" not in getattr(view, "_apidoc", {})]
    assert silent == []


def test_every_task_is_named_answered_and_waited_for() -> None:
    named = {one.name: one for one in vars(names).values() if isinstance(one, TaskName)}
    answered = {name for name in celery.tasks if not name.startswith("celery.")}
    assert answered == set(named), tasks.__name__
    listened = re.search(r"^worker:.*--queues (\S+)", (ROOT / "Procfile").read_text(), re.MULTILINE)
    assert listened
    assert {one.queue for one in named.values()} <= set(listened[1].split(","))
    assert {str(entry["task"]) for entry in TIMETABLE.values()} <= set(named)


def test_error_codes_are_unique() -> None:
    codes = Counter(one.code for one in set(error_classes()))
    assert [code for code, count in codes.items() if count > 1] == []


def test_error_codes_are_documented() -> None:
    page = (ROOT / "docs" / "errors.md").read_text()
    documented = re.findall(r"^\| `(\w+)` \| (\d{3}) \|", page, re.MULTILINE)
    known = {(one.code, str(one.status)) for one in error_classes()}
    known |= {(code, str(status)) for status, (code, _, _) in HTTP_CODES.items()}
    assert set(documented) == known
    assert len(documented) == len(known)


def test_the_example_environment_names_every_setting() -> None:
    example = (ROOT / ".env.example").read_text()
    assert re.findall(r"^#? ?([A-Z_]+)=", example, re.MULTILINE) == [one.name for one in variables()]


def test_the_readme_describes_every_setting() -> None:
    table = re.findall(r"^\| `([A-Z_]+)` \| (.+) \| (.+) \|$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert table == [(one.name, one.meaning, one.default_text) for one in variables()]


def test_only_the_settings_look_at_the_environment() -> None:
    looking = [
        str(path.relative_to(ROOT))
        for folder in ("app", "tasks")
        for path in (ROOT / folder).rglob("*.py")
        if re.search(r"\bos\.(environ|getenv)\b", path.read_text())
    ]
    assert looking == ["app/core/config.py"]
