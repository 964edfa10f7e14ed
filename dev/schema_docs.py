"""Draws docs/database_schema.md from the models: the diagram, what each table is for, its indexes and references."""

import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from sqlalchemy import Column, ForeignKeyConstraint, Index, Table, UniqueConstraint
from sqlalchemy.dialects import postgresql
from sqlalchemy.sql.schema import SchemaItem

from app import tables
from app.core.config import ROOT
from app.core.db import Base

PAGE = ROOT / "docs" / "database_schema.md"
BEGIN, END = "<!-- made from the models by `make docs` -->", "<!-- end of what is made -->"
# What every table has is said once.
USUAL = {"id", "created_at", "updated_at"}
DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]  # the library has no annotation there


def made() -> str:
    """Everything on the page that follows from the models."""
    return "\n\n".join([_diagram(), *_features()])


def _all_tables() -> list[Table]:
    return sorted(tables.metadata.tables.values(), key=lambda table: table.name)


def _diagram() -> str:
    lines = ["```mermaid", "erDiagram"]
    for table in _all_tables():
        lines += [f"    {table.name} {{", *(f"        {one}" for one in _columns(table)), "    }"]
    for table in _all_tables():
        lines += [f"    {one}" for one in _relations(table)]
    return "\n".join([*lines, "```"])


def _columns(table: Table) -> Iterator[str]:
    foreign = {column.name for reference in table.foreign_key_constraints for column in reference.columns}
    for column in table.columns:
        if column.name not in USUAL:
            keys = [*(["FK"] if column.name in foreign else []), *(["UK"] if column.unique else [])]
            note = ' "null"' if column.nullable else ""
            yield f"{_kind(column)} {column.name}{' ' if keys else ''}{','.join(keys)}{note}"


def _kind(column: Column[object]) -> str:
    """The type as one word, which is all that Mermaid takes."""
    shown = column.type.compile(DIALECT).lower()
    for long, short in (("timestamp with time zone", "timestamptz"), ("character varying", "varchar")):
        shown = shown.replace(long, short)
    return re.sub(r"[^a-z0-9]+", "_", shown.replace("[]", "_array")).strip("_")


def _relations(table: Table) -> Iterator[str]:
    found = sorted(table.foreign_key_constraints, key=lambda one: [column.name for column in one.columns])
    for reference in found:
        # The person is part of many references; the other column is what the reference is about.
        names = [column.name for column in reference.columns]
        about = next((name for name in names if name != "user_id"), "user_id")
        one = "|o" if any(column.nullable for column in reference.columns) else "||"
        many = "o|" if any(column.unique for column in reference.columns) else "o{"
        yield f'{reference.referred_table.name} {one}--{many} {table.name} : "{about}"'


def _features() -> Iterator[str]:
    models = sorted(_models(), key=lambda model: (_feature(model), model.__tablename__))
    for feature, some in groupby(models, key=_feature):
        yield "\n\n".join([f"### {feature}", *(_table(model) for model in some)])


def _models() -> list[type[Base]]:
    return [mapper.class_ for mapper in Base.registry.mappers]


def _feature(model: type[Base]) -> str:
    return "/".join(model.__module__.split(".")[1:-1])


def _table(model: type[Base]) -> str:
    table = tables.metadata.tables[model.__tablename__]
    lines = [f"**`{table.name}`** {_first_sentences(model)}", ""]
    lines += [f"- {one}" for one in _rules(table)]
    return "\n".join(lines).rstrip()


def _first_sentences(model: type[Base]) -> str:
    return " ".join((model.__doc__ or "").strip().split("\n\n")[0].split())


def _rules(table: Table) -> Iterator[str]:
    for reference in sorted(table.foreign_key_constraints, key=_name):
        yield _reference(reference)
    for constraint in sorted((one for one in table.constraints if isinstance(one, UniqueConstraint)), key=_name):
        yield f"unique `{constraint.name}` ({', '.join(column.name for column in constraint.columns)})"
    for index in sorted(table.indexes, key=_name):
        yield _index(index)


def _name(item: SchemaItem) -> str:
    return str(getattr(item, "name", ""))


def _reference(reference: ForeignKeyConstraint) -> str:
    columns = ", ".join(column.name for column in reference.columns)
    ending = f", on delete {reference.ondelete.lower()}" if reference.ondelete else ""
    return f"({columns}) refers to `{reference.referred_table.name}`{ending}"


def _index(index: Index) -> str:
    options = index.dialect_options["postgresql"]
    columns = ", ".join(str(one.compile(dialect=DIALECT)).replace(f"{index.table}.", "") for one in index.expressions)  # type: ignore[union-attr]
    using = f" using {options['using']}" if options["using"] else ""
    where = f" where {options['where']}" if options["where"] is not None else ""
    return f"{'unique ' if index.unique else ''}index `{index.name}`{using} ({columns}){where}"


def current(page: str) -> str:
    """The page with what is made from the models as they are now."""
    pattern = re.compile(re.escape(BEGIN) + ".*?" + re.escape(END), re.DOTALL)
    return pattern.sub(lambda _: f"{BEGIN}\n\n{made()}\n\n{END}", page)


def main(page: Path = PAGE) -> None:
    """Write the page anew."""
    page.write_text(current(page.read_text()))


if __name__ == "__main__":
    main()
