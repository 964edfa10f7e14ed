"""The parts that `create_app` sets up, and how they are found from anywhere inside the application's context."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from celery import Celery
from flask import current_app
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import Session, sessionmaker

from app.core.cache import Cache, Entry
from app.core.config import Settings
from app.core.crypto import Keyring
from app.core.db import Base
from app.core.mail import Mailer
from app.core.pages import Cursors
from app.core.storage import Storage
from app.core.tokens import TokenSigner

KEY = "coffer"

db = SQLAlchemy(metadata=Base.metadata)
migrate = Migrate()
celery = Celery("coffer")


@dataclass(frozen=True, slots=True)
class Parts:
    """What one application is made of."""

    settings: Settings
    keyring: Keyring
    signer: TokenSigner
    storage: Storage
    mailer: Mailer
    cursors: Cursors
    sessions: sessionmaker[Session]
    cache: Cache


def parts() -> Parts:
    """The parts of the application at hand."""
    found: Parts = current_app.extensions[KEY]
    return found


def settings() -> Settings:
    """The settings of the application at hand."""
    return parts().settings


def open_session() -> Session:
    """A new database session: the one way to get one, in a request, a task, a command and a test."""
    return parts().sessions()


def cached(entry: Entry, load: Callable[[], Any]) -> Any:
    """The entry from the cache, else loaded, in a transaction that `load` begins itself."""
    return parts().cache.get_or_load(entry, load)
