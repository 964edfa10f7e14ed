"""What a change did to a row, for its audit row."""

from collections.abc import Mapping
from typing import Any

# Of no interest to a person: kept by the database, or the same as another column.
_UNTOLD = {"id", "user_id", "created_at", "updated_at", "search", "amount_units"}


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Each column that differs, before and after; both as `as_dict` gives them."""
    return {
        name: [before.get(name), value]
        for name, value in after.items()
        if name not in _UNTOLD and before.get(name) != value
    }
