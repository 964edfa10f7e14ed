"""What every table has: the model base, named constraints, ids, times; and how the engine is set up."""

import enum
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

import uuid_utils.compat
from sqlalchemy import DateTime, Enum, MetaData, Numeric, String, func, inspect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from app.core.config import Settings
from app.core.db_metrics import WatchedPool

# Errors are mapped by the name of the constraint that refused, so every one has a name that never changes.
NAMING = {
    "pk": "pk_%(table_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
}


def new_id() -> UUID:
    """A UUIDv7 (RFC 9562): rows sort by creation."""
    return uuid_utils.compat.uuid7()


class Base(DeclarativeBase):
    """The base of every model."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {datetime: DateTime(timezone=True)}  # noqa: RUF012  # as SQLAlchemy declares it
    # Times that the database sets come back with the statement that wrote the row.
    __mapper_args__ = {"eager_defaults": True}  # noqa: RUF012

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now(), onupdate=func.now())

    def as_dict(self) -> dict[str, Any]:
        """The loaded columns as JSON types, without secret ones."""
        return {
            column.key: as_json(getattr(self, column.key))
            for column in self.__mapper__.column_attrs
            if column.key not in inspect(self).unloaded and not column.columns[0].info.get("secret")
        }

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.id})"


def as_json(value: Any) -> Any:
    """The value as what JSON can hold: decimals, ids and times as text."""
    if isinstance(value, enum.Enum):
        return value.value
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, dict):
        return {str(key): as_json(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(inner) for inner in value]
    return str(value)


class SoftDeleted:
    """A row that may be deleted and restored: queries leave it out unless they ask (`include_deleted`).

    Rows that went together share a batch, so that a restore brings back exactly those.
    """

    deleted_at: Mapped[datetime | None] = mapped_column(sort_order=900)
    deleted_batch: Mapped[UUID | None] = mapped_column(sort_order=901)


# Up to twelve digits, of which as many behind the point as the currency has (at most four, ISO 4217).
Money = Annotated[Decimal, mapped_column(Numeric(16, 4))]
# A sum of many amounts.
Balance = Annotated[Decimal, mapped_column(Numeric(20, 4))]
# ISO 4217.
Currency = Annotated[str, mapped_column(String(3))]


def secret_column(*args: Any, **kwargs: Any) -> Any:
    """A column that is never shown: not in `as_dict`, not in an audit row."""
    return mapped_column(*args, info={"secret": True}, **kwargs)


def enum_type(python_enum: type[enum.Enum], name: str) -> Enum:
    """A Python enum as a database enum type that holds its values."""
    return Enum(python_enum, name=name, values_callable=lambda members: [str(m.value) for m in members])


def engine_options(settings: Settings, *, application: str = "coffer") -> dict[str, Any]:
    """How SQLAlchemy opens and keeps connections.

    A frozen or vanished server is noticed by the network's timeouts, since no statement timeout can
    fire there; an abandoned transaction gives its locks back after half a minute.
    """
    database = settings.database
    session = {
        "statement_timeout": f"{database.statement_timeout}ms",
        "idle_in_transaction_session_timeout": "30s",
        "timezone": "UTC",
        # Temporary objects are looked for last: one left behind must not stand before a table of ours.
        "search_path": "public,pg_temp",
    }
    return {
        # An error names the statement and not the values: those are people's data.
        "hide_parameters": True,
        "poolclass": WatchedPool,
        "pool_size": database.pool_size,
        "max_overflow": database.max_overflow,
        "pool_timeout": database.pool_timeout,
        "pool_recycle": 1800,
        "pool_pre_ping": True,
        "connect_args": {
            "application_name": application,
            "connect_timeout": 3,
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 15_000,
            "options": " ".join(f"-c {name}={value}" for name, value in session.items()),
        },
    }
