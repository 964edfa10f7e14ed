"""Pages of a list: by cursor where data is big, by number where a person turns pages."""

import base64
import binascii
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Generic, TypeVar
from uuid import UUID

from app.core.errors import Invalid

Item = TypeVar("Item")

MOST_PER_PAGE = 200
USUAL_PER_PAGE = 50
_SIGNATURE_BYTES = 12


class CursorInvalid(Invalid):
    """A cursor that Coffer did not make, or made for another list."""

    code = "invalid_cursor"
    title = "The cursor is not valid here"
    detail = "Begin again without a cursor; use a cursor only with the filters and the order that it came with."


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """A part of a list, and where the next begins."""

    items: Sequence[Item]
    next_cursor: str | None

    @property
    def has_more(self) -> bool:
        """Whether there is a next page."""
        return self.next_cursor is not None


@dataclass(frozen=True, slots=True)
class NumberedPage(Generic[Item]):
    """A part of a list that is turned by number, and how many items there are in all."""

    items: Sequence[Item]
    page: int
    per_page: int
    total: int


class Cursors:
    """Makes and reads cursors: opaque, signed, and good only for the list that they were made for."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def make(self, values: Sequence[Any], *, list_name: str) -> str:
        """A cursor at these sort values."""
        body = json.dumps([_tagged(value) for value in values], separators=(",", ":")).encode()
        return base64.urlsafe_b64encode(self._sign(body, list_name) + body).rstrip(b"=").decode()

    def read(self, cursor: str, *, list_name: str) -> list[Any]:
        """The sort values of a cursor. Raises CursorInvalid."""
        try:
            raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
            signature, body = raw[:_SIGNATURE_BYTES], raw[_SIGNATURE_BYTES:]
            if not hmac.compare_digest(signature, self._sign(body, list_name)):
                raise CursorInvalid
            return [_untagged(one) for one in json.loads(body)]
        except (ValueError, binascii.Error, TypeError, KeyError) as error:
            raise CursorInvalid from error

    def _sign(self, body: bytes, list_name: str) -> bytes:
        return hmac.digest(self._key, list_name.encode() + b"\0" + body, "sha256")[:_SIGNATURE_BYTES]


_KINDS: dict[str, Any] = {
    "u": UUID,
    "t": datetime.fromisoformat,
    "d": date.fromisoformat,
    "n": Decimal,
    "s": str,
    "i": int,
}


def _tagged(value: Any) -> list[str]:
    # A datetime is a date too, so it comes first.
    for kind, one in (("u", UUID), ("t", datetime), ("d", date), ("n", Decimal), ("s", str), ("i", int)):
        if isinstance(value, one):
            return [kind, value.isoformat() if isinstance(value, date) else str(value)]
    raise TypeError(f"a list cannot be paged by {type(value).__name__}")


def _untagged(tagged: list[str]) -> Any:
    kind, text = tagged
    return _KINDS[kind](text)
