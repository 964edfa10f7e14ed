"""How the text of an environment variable becomes a value.

Each reader takes the text and returns the value; a ValueError says what the variable takes.
"""

import math
from collections import Counter
from collections.abc import Callable
from email.utils import parseaddr
from itertools import pairwise
from urllib.parse import SplitResult, urlsplit

# Values that stand in examples and tutorials; whoever copies one has no secret.
KNOWN_EXAMPLES = (
    "192b9bdd22ab9ed4d12e236c78afcb9a393ec15f71bbf5dc987d54727823bcbf",  # from the documentation of Flask
    "changeme",
    "change-me",
    "change_me",
    "secret",
    "password",
    "example",
    "replace",
    "your-",
    "your_",
    "insecure",
)
LEAST_SECRET_LENGTH = 32
LEAST_SECRET_BITS = 96.0


def text(value: str) -> str:
    """A sender as it stands in a mail's From line."""
    if "\n" in value or "\r" in value or "@" not in parseaddr(value)[1]:
        raise ValueError("`Name <address@host>`")
    return value


def integer(least: int, most: int) -> Callable[[str], int]:
    """A whole number within bounds."""

    def read(value: str) -> int:
        if not value.isascii() or not value.isdigit() or not least <= int(value) <= most:
            raise ValueError(f"a whole number from {least} to {most}")
        return int(value)

    return read


def flag(value: str) -> bool:
    """On or off."""
    known = {
        "true": True,
        "on": True,
        "yes": True,
        "1": True,
        "false": False,
        "off": False,
        "no": False,
        "0": False,
    }
    if value.lower() not in known:
        raise ValueError("`true` or `false`")
    return known[value.lower()]


def word(*allowed: str) -> Callable[[str], str]:
    """One of a few words."""

    def read(value: str) -> str:
        for one in allowed:
            if one.lower() == value.lower():
                return str(one)
        raise ValueError(" or ".join(f"`{one}`" for one in allowed))

    return read


def secret(value: str) -> str:
    """A secret that cannot be guessed: long, not a known example, not one pattern repeated."""
    command = "python3 -c 'import secrets; print(secrets.token_urlsafe(48))'"
    takes = f"at least {LEAST_SECRET_LENGTH} random characters (`{command}`)"
    if len(value.encode()) < LEAST_SECRET_LENGTH:
        raise ValueError(takes)
    if any(example in value.lower() for example in KNOWN_EXAMPLES):
        raise ValueError(f"{takes}, not an example from a page")
    if _bits(value) < LEAST_SECRET_BITS or _in_rows(value):
        raise ValueError(f"{takes}, not a pattern")
    return value


def _in_rows(value: str) -> bool:
    """Whether most characters follow their neighbour in the alphabet or among the digits."""
    steps = [ord(b) - ord(a) for a, b in pairwise(value)]
    return sum(step in {1, -1} for step in steps) > len(steps) / 2


def _bits(value: str) -> float:
    """Shannon entropy of the characters, times their number: far too kind, but it finds patterns."""
    counts = Counter(value).values()
    return -sum(n * math.log2(n / len(value)) for n in counts)


def secret_list(value: str) -> tuple[str, ...]:
    """Secrets between commas; the part before a colon is a name and does not count."""
    parts = tuple(part.strip() for part in value.split(",") if part.strip())
    for part in parts:
        secret(part.partition(":")[2] or part)
    return parts


def postgres_url(value: str) -> str:
    """An address of PostgreSQL, in the form that SQLAlchemy with psycopg 3 takes."""
    parts = _split(value)
    if parts.scheme not in {"postgresql", "postgres", "postgresql+psycopg"} or not parts.path.strip("/"):
        raise ValueError("postgresql://user:password@host:5432/database")
    return "postgresql+psycopg://" + value.split("://", 1)[1]


def redis_url(value: str) -> str:
    """An address of Redis."""
    if _split(value).scheme not in {"redis", "rediss"}:
        raise ValueError("redis://:password@host:6379/0 (rediss:// with TLS)")
    return value


def broker_url(value: str) -> str:
    """An address of Redis or of an AMQP server."""
    if _split(value).scheme not in {"redis", "rediss", "amqp", "amqps"}:
        raise ValueError("redis://, rediss://, amqp:// or amqps://")
    return value


def smtp_url(value: str) -> str:
    """An address of a mail server."""
    parts = _split(value)
    if parts.scheme not in {"smtp", "smtps"} or not parts.hostname:
        raise ValueError("smtp://user:password@host:587?starttls=true or smtps://user:password@host")
    return value


def storage_url(value: str) -> str:
    """A place for files."""
    parts = _split(value)
    if parts.scheme not in {"file", "s3", "memory"} or (parts.scheme == "s3" and not parts.netloc):
        raise ValueError("file:///folder, s3://bucket/prefix or memory:///")
    return value


def web_url(value: str) -> str:
    """An address without query; a slash at its end is dropped."""
    parts = _split(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment or parts.username:
        raise ValueError("https://host")
    return value.rstrip("/")


def origins(value: str) -> tuple[str, ...]:
    """Exact web origins between commas; a wildcard is none."""
    found = tuple(part.strip() for part in value.split(",") if part.strip())
    for origin in found:
        parts = _split(origin)
        if (
            parts.scheme not in {"http", "https"}
            or not parts.hostname
            or "*" in origin
            or origin != f"{parts.scheme}://{parts.netloc}"
        ):
            raise ValueError("exact origins such as https://app.example.org, without path or wildcard")
    return found


def _split(value: str) -> SplitResult:
    parts = urlsplit(value)
    _ = parts.port  # a port that is no number raises ValueError only when it is read
    return parts
