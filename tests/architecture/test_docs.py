"""The pages about the database say what is so."""

import re

from flask import Flask

from app import tables
from app.core.config import ROOT
from app.core.extensions import KEY
from dev import schema_docs
from tests.conftest import Database

SCHEMA = schema_docs.PAGE
REPOSITORIES = ROOT / "docs" / "repositories.md"


def test_the_page_of_the_schema_is_current() -> None:
    assert SCHEMA.read_text() == schema_docs.current(SCHEMA.read_text()), "run `make docs`"


def test_every_table_and_only_those_are_in_the_diagram() -> None:
    page = SCHEMA.read_text()
    diagram = page[page.index("```mermaid") : page.index("```\n", page.index("```mermaid"))]
    drawn = re.findall(r"^    (\w+) \{$", diagram, re.MULTILINE)
    assert drawn == sorted(tables.metadata.tables)
    assert all(re.search(rf"^\*\*`{name}`\*\* \w", page, re.MULTILINE) for name in drawn), "one line each"
    # Mermaid takes an attribute as two words, keys and a quoted note, and a relation with a quoted label.
    for line in diagram.splitlines()[2:]:
        assert re.fullmatch(
            r'    \w+ \{|    \}|        [a-z]\w* [a-z]\w*( (FK|UK|FK,UK))?( "null")?'
            r'|    \w+ (\|\||\|o)--o[{|] \w+ : "\w+"',
            line,
        ), line


def test_the_page_names_the_functions_that_run_as_their_owner(database: Database) -> None:
    functions = database.scalar(
        "SELECT array_agg(proname) FROM pg_proc WHERE prosecdef AND pronamespace = 'public'::regnamespace"
        " AND proname ~ '^coffer_(ensure|drop|refresh|oldest)'"
    )
    assert sorted(functions) == sorted(
        set(re.findall(r"`(coffer_(?:ensure|drop|refresh|oldest)\w+)\(", SCHEMA.read_text()))
    )


def test_the_examples_run(app: Flask) -> None:
    """One after the other, as somebody reads them."""
    assert KEY in app.extensions
    text = REPOSITORIES.read_text()
    names: dict[str, object] = {}
    blocks = list(re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
    assert len(blocks) >= 9
    for block in blocks:
        # Blank lines before it, so that an error shows the line of the page.
        before = "\n" * (text.count("\n", 0, block.start()) + 1)
        exec(compile(before + block[1], str(REPOSITORIES), "exec"), names)  # noqa: S102  # our own page
