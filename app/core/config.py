"""Every setting, read once from the environment, checked, and typed.

Nothing else in Coffer looks at the environment. Each setting names its variable, how its text is read,
what it means and what it is when unset; the table in the README and `.env.example` follow from that.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any

from app.core.config_rules import fill_in, refuse_unsafe
from app.core.setting_types import (
    broker_url,
    flag,
    integer,
    origins,
    postgres_url,
    redis_url,
    secret,
    secret_list,
    smtp_url,
    storage_url,
    text,
    web_url,
    word,
)

ROOT = Path(__file__).resolve().parents[2]
VAR = ROOT / "var"

# Written by `make run`, so that `flask ...` in another shell finds the servers that are running.
RUNNING = VAR / "run.env"


class ConfigurationError(Exception):
    """One line for each setting that is wrong."""


class Environment(StrEnum):
    """Where Coffer runs; production is what an unset COFFER_ENV means."""

    DEVELOPMENT = "development"
    TEST = "test"
    PRODUCTION = "production"


@dataclass(frozen=True, slots=True)
class Variable:
    """How one setting is read from the environment and described to people."""

    name: str
    parse: Callable[[str], Any]
    meaning: str
    default: Any
    default_text: str
    is_secret: bool


def variable(
    name: str,
    parse: Callable[[str], Any],
    meaning: str,
    *,
    default: Any = None,
    default_text: str | None = None,
    is_secret: bool = False,
) -> Any:
    """A dataclass field that is read from the environment."""
    shown = default_text if default_text is not None else ("unset" if default is None else str(default))
    described = Variable(name, parse, meaning, default, shown, is_secret)
    return field(metadata={"variable": described}, repr=not is_secret)


@dataclass(frozen=True, slots=True)
class DatabaseSettings:
    """PostgreSQL and the pool in each process."""

    url: str = variable(
        "DATABASE_URL",
        postgres_url,
        "PostgreSQL 15 or newer, as the role that serves requests",
        default_text="`make run` starts a server under `var/`",
        is_secret=True,
    )
    owner_url: str = variable(
        "DATABASE_OWNER_URL",
        postgres_url,
        "the same database, as the role that runs migrations",
        default_text="DATABASE_URL",
        is_secret=True,
    )
    pool_size: int = variable(
        "DATABASE_POOL_SIZE", integer(1, 500), "connections a process keeps open", default_text="WEB_THREADS"
    )
    max_overflow: int = variable(
        "DATABASE_MAX_OVERFLOW", integer(0, 500), "connections above that in a rush", default=2
    )
    pool_timeout: int = variable(
        "DATABASE_POOL_TIMEOUT",
        integer(1, 60),
        "seconds to wait for a connection before answering 503",
        default=2,
    )
    statement_timeout: int = variable(
        "DATABASE_STATEMENT_TIMEOUT",
        integer(100, 600_000),
        "milliseconds one statement of a request may take",
        default=10_000,
    )
    slow_query: int = variable(
        "SLOW_QUERY_MS", integer(1, 600_000), "milliseconds from which a statement is logged as slow", default=500
    )
    timescaledb: str = variable(
        "TIMESCALEDB",
        word("auto", "on", "off"),
        "keep audit rows and activity in TimescaleDB: `auto` where it is preloaded, `on` or not at all, `off`",
        default="auto",
    )


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """Redis and the broker."""

    redis_url: str = variable(
        "REDIS_URL",
        redis_url,
        "Redis 6.2 or newer",
        default_text="`make run` starts a server under `var/`",
        is_secret=True,
    )
    broker_url: str = variable(
        "CELERY_BROKER_URL",
        broker_url,
        "where tasks are queued: `redis://`, `rediss://` or `amqp://`",
        default_text="REDIS_URL",
        is_secret=True,
    )


@dataclass(frozen=True, slots=True)
class SecretSettings:
    """What signs and encrypts."""

    secret_key: str = variable(
        "SECRET_KEY",
        secret,
        "at least 32 characters; every other key is derived from it unless set",
        default_text="made in development, kept under `var/`",
        is_secret=True,
    )
    encryption_keys: tuple[str, ...] = variable(
        "ENCRYPTION_KEYS",
        secret_list,
        "comma-separated, newest first; passwords' pepper and mailed links hang on them, so keep old ones in the list",
        default=(),
        default_text="SECRET_KEY",
        is_secret=True,
    )
    jwt_algorithm: str = variable(
        "JWT_ALGORITHM", word("HS256", "RS256", "ES256", "EdDSA"), "how tokens are signed", default="HS256"
    )
    jwt_keys: tuple[str, ...] = variable(
        "JWT_KEYS",
        secret_list,
        "comma-separated `id:key`, newest first; a key is a secret, or the base64 of a PEM private key",
        default=(),
        default_text="derived from SECRET_KEY",
        is_secret=True,
    )


@dataclass(frozen=True, slots=True)
class AccountSettings:
    """Passwords, sessions and registration."""

    bcrypt_rounds: int = variable(
        "BCRYPT_ROUNDS", integer(4, 18), "cost of a password hash; 10 at least in production", default=12
    )
    password_min_length: int = variable(
        "PASSWORD_MIN_LENGTH", integer(8, 64), "fewest characters of a password", default=8
    )
    require_verified_email: bool = variable(
        "REQUIRE_VERIFIED_EMAIL", flag, "log in only after the e-mail is verified", default=True
    )
    access_token_minutes: int = variable(
        "ACCESS_TOKEN_MINUTES", integer(1, 1440), "life of an access token", default=30
    )
    session_idle_days: int = variable(
        "SESSION_IDLE_DAYS", integer(1, 90), "a session unused for so long ends", default=7
    )
    session_absolute_days: int = variable(
        "SESSION_ABSOLUTE_DAYS", integer(1, 365), "a session ends after so long in any case", default=30
    )
    strict_sessions: bool = variable(
        "STRICT_SESSIONS", flag, "sessions end after 24 hours, or 1 hour unused", default=False
    )


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """How the API is served."""

    port: int = variable("PORT", integer(1, 65_535), "port of the API", default=8000)
    workers: int = variable(
        "WEB_CONCURRENCY", integer(1, 256), "gunicorn's processes", default_text="the number of cores"
    )
    threads: int = variable("WEB_THREADS", integer(1, 256), "threads in each", default=8)
    public_url: str = variable(
        "PUBLIC_URL",
        web_url,
        "where people reach Coffer; links in e-mails begin with it",
        default_text="http://127.0.0.1:PORT",
    )
    cors_origins: tuple[str, ...] = variable(
        "CORS_ORIGINS",
        origins,
        "comma-separated exact origins of browsers' apps",
        default=(),
        default_text="none",
    )
    trusted_proxies: int = variable(
        "TRUSTED_PROXIES", integer(0, 10), "how many proxies' `X-Forwarded-*` to believe", default=0
    )
    metrics_token: str | None = variable(
        "METRICS_TOKEN",
        secret,
        "bearer token for `/metrics`, at least 32 characters",
        default_text="unset: only callers on this machine",
        is_secret=True,
    )
    log_level: str = variable(
        "LOG_LEVEL",
        word("debug", "info", "warning", "error"),
        "least severity that is logged",
        default="info",
    )
    log_format: str = variable(
        "LOG_FORMAT",
        word("json", "console"),
        "how lines look",
        default_text="json in production, else console",
    )


@dataclass(frozen=True, slots=True)
class DeliverySettings:
    """E-mail and files."""

    smtp_url: str | None = variable(
        "SMTP_URL",
        smtp_url,
        "`smtp://user:password@host:587?starttls=true` or `smtps://`",
        default_text="the mailbox page in development",
        is_secret=True,
    )
    mail_from: str = variable("MAIL_FROM", text, "sender of every e-mail", default="Coffer <no-reply@coffer.example>")
    storage_url: str = variable(
        "STORAGE_URL",
        storage_url,
        "where files are kept: `file:///...`, `s3://bucket/prefix`, `memory:///`",
        default_text="`var/storage`",
    )


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings of one process."""

    env: Environment
    database: DatabaseSettings
    queue: QueueSettings
    secrets: SecretSettings
    accounts: AccountSettings
    server: ServerSettings
    delivery: DeliverySettings

    @property
    def is_production(self) -> bool:
        """Whether people's real data is at stake."""
        return self.env is Environment.PRODUCTION


ENVIRONMENT = Variable(
    "COFFER_ENV",
    word(*Environment),
    "`development`, `test` or `production`",
    "production",
    "`development` under `make run`, else `production`",
    is_secret=False,
)
SECTIONS: dict[str, type] = {
    "database": DatabaseSettings,
    "queue": QueueSettings,
    "secrets": SecretSettings,
    "accounts": AccountSettings,
    "server": ServerSettings,
    "delivery": DeliverySettings,
}


def variables() -> list[Variable]:
    """Every setting, in the order in which the README shows them."""
    return [ENVIRONMENT, *(f.metadata["variable"] for section in SECTIONS.values() for f in fields(section))]


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Read and check all settings.

    Raises ConfigurationError with a line for every variable that is missing or wrong.
    """
    if environ is None:
        environ = _with_running_servers(os.environ)
    problems: list[str] = []
    read: dict[str, Any] = {v.name: _read(v, environ, problems) for v in variables()}
    env = Environment(read["COFFER_ENV"] or Environment.PRODUCTION)
    fill_in(read, env, VAR, problems)
    refuse_unsafe(read, env, environ, problems)
    if problems:
        if not read["DATABASE_URL"] and "COFFER_ENV" not in environ:
            problems.append("(While `make run` is up, its settings are found by themselves; is it?)")
        raise ConfigurationError("\n".join(problems))
    sections = {
        name: section(**{f.name: read[f.metadata["variable"].name] for f in fields(section)})
        for name, section in SECTIONS.items()
    }
    return Settings(env=env, **sections)


def _with_running_servers(environ: Mapping[str, str]) -> Mapping[str, str]:
    if environ.get("DATABASE_URL") or environ.get("COFFER_ENV", "development") != "development":
        return environ
    if not RUNNING.is_file():
        return environ
    lines = (line.partition("=") for line in RUNNING.read_text().splitlines() if "=" in line)
    return {name: value for name, _, value in lines} | dict(environ)


def _read(variable: Variable, environ: Mapping[str, str], problems: list[str]) -> Any:
    held = environ.get(variable.name, "").strip()
    if not held:
        return variable.default
    try:
        return variable.parse(held)
    except ValueError as error:
        shown = "a value" if variable.is_secret else repr(held[:100])
        problems.append(f"{variable.name} holds {shown}; it takes {error}")
        return variable.default
