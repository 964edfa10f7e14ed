"""The system's categories, which everybody sees and hardly ever changes: from the cache."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from app.core.cache import Cached
from app.core.extensions import cached
from app.ledger.categories.models import Category
from app.unit_of_work import UnitOfWork

# Whoever changes one says `uow.outdate(SYSTEM_CATEGORIES)`.
SYSTEM_CATEGORIES = Cached("categories.system", shape=1, kept_for=timedelta(hours=1)).of(None)


def system_categories(uow: UnitOfWork) -> list[Category]:
    """The categories that are the same for all, as rows of no transaction. Opens the block itself."""

    def load() -> list[dict[str, Any]]:
        with uow:
            return [category.as_dict() for category in uow.categories.list_system_categories()]

    return [_category(shown) for shown in cached(SYSTEM_CATEGORIES, load)]


def _category(shown: dict[str, Any]) -> Category:
    """A row as it was before JSON."""
    ids = {name: shown[name] and UUID(shown[name]) for name in ("id", "parent_id")}
    times = {name: datetime.fromisoformat(shown[name]) for name in ("created_at", "updated_at")}
    return Category(**shown | ids | times)
