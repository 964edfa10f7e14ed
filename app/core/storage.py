"""Files: on this machine, in any S3-compatible store, or in memory for tests, all through one small interface."""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

import obstore
from obstore.store import LocalStore, MemoryStore, S3Store


class Storage(Protocol):
    """Named bytes. Names use `/`; a name that is missing raises FileNotFoundError."""

    def put(self, name: str, content: bytes) -> None:
        """Keep these bytes under this name, replacing what was there."""

    def get(self, name: str) -> bytes:
        """The bytes under this name."""

    def names(self, prefix: str) -> Iterator[str]:
        """Every name that begins with this folder."""

    def delete(self, name: str) -> None:
        """Remove this name; nothing happens when it is not there."""


class ObjectStorage:
    """The one implementation, over obstore."""

    def __init__(self, store: LocalStore | MemoryStore | S3Store) -> None:
        self._store = store

    def put(self, name: str, content: bytes) -> None:
        obstore.put(self._store, name, content)

    def get(self, name: str) -> bytes:
        return bytes(obstore.get(self._store, name).bytes())

    def names(self, prefix: str) -> Iterator[str]:
        for batch in obstore.list(self._store, prefix=prefix):
            for found in batch:
                yield found["path"]

    def delete(self, name: str) -> None:
        try:
            obstore.delete(self._store, name)
        except FileNotFoundError:
            return


def open_storage(url: str) -> Storage:
    """The storage at `file:///folder`, `s3://bucket/prefix` or `memory:///`."""
    parts = urlsplit(url)
    if parts.scheme == "memory":
        return ObjectStorage(MemoryStore())
    if parts.scheme == "s3":
        return ObjectStorage(S3Store.from_url(url))
    folder = Path(unquote(parts.path))
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return ObjectStorage(LocalStore(folder))
