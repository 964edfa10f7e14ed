"""Defaults that follow from other settings, and rules across settings.

Each function gets what was read, by the name of its variable, and adds a line to `problems` for what is wrong.
"""

import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

LEAST_ROUNDS_IN_PRODUCTION = 10
PRODUCTION = "production"
DEVELOPMENT = "development"


def fill_in(read: dict[str, Any], env: str, var: Path, problems: list[str]) -> None:
    """Defaults that follow from other settings; what has none is reported."""
    named = {problem.split(" ", 1)[0] for problem in problems}

    def missing(name: str, takes: str) -> None:
        if name not in named:
            problems.append(f"{name} is unset; it takes {takes}")

    if not read["DATABASE_URL"]:
        missing("DATABASE_URL", "postgresql://user:password@host:5432/database")
    if not read["REDIS_URL"]:
        missing("REDIS_URL", "redis://:password@host:6379/0")
    if not read["SECRET_KEY"]:
        if env == DEVELOPMENT:
            read["SECRET_KEY"] = _development_secret(var)
        else:
            missing("SECRET_KEY", "at least 32 characters that only this installation knows")
    if not read["SMTP_URL"] and env == PRODUCTION:
        missing("SMTP_URL", "smtp://user:password@host:587?starttls=true")
    read["DATABASE_OWNER_URL"] = read["DATABASE_OWNER_URL"] or read["DATABASE_URL"]
    read["CELERY_BROKER_URL"] = read["CELERY_BROKER_URL"] or read["REDIS_URL"]
    read["DATABASE_POOL_SIZE"] = read["DATABASE_POOL_SIZE"] or read["WEB_THREADS"]
    read["WEB_CONCURRENCY"] = read["WEB_CONCURRENCY"] or os.cpu_count() or 1
    read["PUBLIC_URL"] = read["PUBLIC_URL"] or f"http://127.0.0.1:{read['PORT']}"
    read["STORAGE_URL"] = read["STORAGE_URL"] or (var / "storage").as_uri()
    read["LOG_FORMAT"] = read["LOG_FORMAT"] or ("json" if env == PRODUCTION else "console")


def _development_secret(var: Path) -> str:
    path = var / "secret_key"
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        var.mkdir(mode=0o700, exist_ok=True)
    # Two processes may start at once: both write a file of their own, the first to link it wins.
    own = var / f"secret_key.{os.getpid()}"
    own.touch(mode=0o600)
    own.write_text(secrets.token_urlsafe(48))
    try:
        os.link(own, path)
    except FileExistsError:
        pass
    finally:
        own.unlink()
    return path.read_text().strip()


def refuse_unsafe(read: dict[str, Any], env: str, environ: Mapping[str, str], problems: list[str]) -> None:
    """Rules across settings; most hold in production only."""
    _check_token_keys(read, problems)
    all_secrets = [
        read["SECRET_KEY"],
        *(key.partition(":")[2] or key for key in (*read["ENCRYPTION_KEYS"], *read["JWT_KEYS"])),
        *{urlsplit(url).password for url in (read["DATABASE_URL"], read["DATABASE_OWNER_URL"]) if url} - {None},
    ]
    if len(set(all_secrets)) != len(all_secrets):
        problems.append(
            "SECRET_KEY, ENCRYPTION_KEYS and JWT_KEYS hold one secret twice, or the password of the database; "
            "each takes one of its own"
        )
    if env != PRODUCTION:
        return
    if environ.get("FLASK_DEBUG", "0").lower() not in {"", "0", "false", "no"}:
        problems.append("FLASK_DEBUG is on; production takes it unset")
    if urlsplit(read["PUBLIC_URL"]).scheme != "https":
        problems.append(f"PUBLIC_URL holds {read['PUBLIC_URL']!r}; production takes https://")
    if read["BCRYPT_ROUNDS"] < LEAST_ROUNDS_IN_PRODUCTION:
        problems.append(
            f"BCRYPT_ROUNDS holds {read['BCRYPT_ROUNDS']}; production takes {LEAST_ROUNDS_IN_PRODUCTION} or more"
        )
    if read["STORAGE_URL"].startswith("memory:"):
        problems.append("STORAGE_URL holds 'memory:///'; production takes file:/// or s3://")


def _check_token_keys(read: dict[str, Any], problems: list[str]) -> None:
    if read["JWT_ALGORITHM"] != "HS256" and not read["JWT_KEYS"]:
        problems.append(f"JWT_KEYS is unset; {read['JWT_ALGORITHM']} takes `id:base64 of a PEM private key`")
    ids = [key.partition(":")[0] for key in read["JWT_KEYS"]]
    if any(":" not in key for key in read["JWT_KEYS"]) or len(set(ids)) != len(ids):
        problems.append("JWT_KEYS holds a key without an id, or an id twice; it takes `id:key,id:key`")
