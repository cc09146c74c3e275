"""Storages for studies: in memory, or in a database that any number of processes share."""

from __future__ import annotations

import os

from hpo_plugins.errors import InvalidArgument
from hpo_plugins.storage.memory import MemoryStorage
from hpo_plugins.storage.protocol import Storage, StudyStore

__all__ = ["Storage", "StudyStore", "open_storage"]


def open_storage(target: str | os.PathLike[str] | Storage | None) -> Storage:
    """Return the storage at a path or URL, a new one in memory for None, or ``target`` if it is a storage.

    Raises:
        InvalidArgument: ``target`` is none of these.
        StorageError: It cannot be opened.
    """
    if target is None:
        return MemoryStorage()
    if isinstance(target, str | os.PathLike):
        from hpo_plugins.storage.sql import SqlStorage  # imported here: SQLAlchemy is slow to import

        return SqlStorage(target)
    if all(hasattr(target, method) for method in ("names", "open", "checkpoint_root")):
        return target
    raise InvalidArgument(f"storage must be a path, a URL or None, but got storage={target!r}.")
