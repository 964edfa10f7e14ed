"""Structured logs on standard error: one line an event, secrets struck out, bound to the request's id."""

import logging
import re
import sys
from typing import Any

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from app.core.config import Settings

# Keys whose values never reach a log, wherever in an event they stand.
_SECRET_KEY = re.compile(
    r"password|passwd|secret|token|authorization|cookie|api_?key|\bcode\b|otp|credential|dsn|url",
    re.IGNORECASE,
)
_HARMLESS = {"code", "status_code", "token_id"}
STRUCK = "[struck out]"

# PostgreSQL quotes the rows that it refused; what SQLAlchemy or another error says begins on a line of its own.
_QUOTED_ROW = re.compile(
    r"^DETAIL: .*?$(?=\n\[SQL: |\n\nThe above exception|\n\nDuring handling|\s*\Z)", re.MULTILINE | re.DOTALL
)


def strike_secrets(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Replace the values of secret keys, at any depth."""
    return {key: _struck(key, value) for key, value in event.items()}


def _struck(key: str, value: Any) -> Any:
    if key not in _HARMLESS and _SECRET_KEY.search(key):
        return STRUCK
    if isinstance(value, dict):
        return {inner: _struck(str(inner), one) for inner, one in value.items()}
    if isinstance(value, list | tuple):
        return [_struck("", one) for one in value]
    return value


def strike_rows(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Strike out what the text of an exception quotes of a row."""
    if isinstance(event.get("exception"), str):
        event["exception"] = _QUOTED_ROW.sub(f"DETAIL: {STRUCK}", event["exception"])
    return event


def configure_logging(settings: Settings) -> None:
    """Send Coffer's own events and the libraries' through the same processors."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        strike_secrets,
    ]
    as_json = settings.server.log_format == "json"
    renderer: Processor = (
        structlog.processors.JSONRenderer()
        if as_json
        # The plain form of a traceback: the others show local variables, and passwords among them.
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    )
    last: list[Processor] = [structlog.processors.format_exc_info, strike_rows, renderer]
    level = logging.getLevelNamesMapping()[settings.server.log_level.upper()]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(level, logging.INFO))
    # These repeat what Coffer says itself, or name addresses with passwords.
    for noisy in (
        "kombu",
        "amqp",
        "celery.redirected",
        "werkzeug",
        "alembic.runtime.plugins",
        "alembic.autogenerate",
    ):
        logging.getLogger(noisy).setLevel(logging.WARNING)
