"""Storages for studies: in memory, or in a database that any number of processes share."""

from __future__ import annotations

import importlib.metadata
import os
import re

from hpo_plugins.errors import InvalidArgument, StorageError
from hpo_plugins.storage.memory import MemoryStorage
from hpo_plugins.storage.protocol import ManagedStorage, Storage, StudyStore
from hpo_plugins.storage.redact import redacted

__all__ = ["ManagedStorage", "Storage", "StudyStore", "open_storage"]

SCHEMES = "hpo_plugins.storages"
"""The entry point group by which packages declare a storage: a URL scheme, and the function that opens the URL."""


def open_storage(target: str | os.PathLike[str] | Storage | None) -> Storage:
    """Return the storage at a path or URL, a new one in memory for None, or ``target`` if it is a storage.

    Raises:
        InvalidArgument: ``target`` is none of these.
        StorageError: It cannot be opened.
    """
    if target is None:
        return MemoryStorage()
    if isinstance(target, str | os.PathLike):
        if isinstance(target, str) and (found := _of_another_package(target)) is not None:
            return found
        from hpo_plugins.storage.sql import SqlStorage  # imported here: SQLAlchemy is slow to import

        return SqlStorage(target)
    if isinstance(target, Storage):
        return target
    raise InvalidArgument(
        f"storage must be a path, a URL or None, but got storage={target!r}. A storage of your own derives from "
        "hpo_plugins.Storage."
    )


def _of_another_package(url: str) -> Storage | None:
    """Return the storage that an installed package opens at a URL, None if no package declares the scheme.

    Raises:
        StorageError: Several packages declare it, or the package cannot be imported.
    """
    scheme = re.match(r"([A-Za-z][\w+.-]+)://", url)
    found = importlib.metadata.entry_points(group=SCHEMES, name=scheme[1].lower()) if scheme else ()
    if not scheme or not found:
        return None
    if len(found) > 1:
        packages = " and ".join(sorted(entry.value for entry in found))
        raise StorageError(f"Several packages open {scheme[0]} URLs: {packages}. Uninstall all but one of them.")
    (entry,) = found
    try:
        open_url = entry.load()
    except (ImportError, AttributeError) as error:
        raise StorageError(f"{redacted(url)} is opened by {entry.value}, which cannot be imported: {error}.") from error
    storage = open_url(url)
    if not isinstance(storage, Storage):
        raise StorageError(
            f"{redacted(url)} must be opened as a storage, derived from hpo_plugins.Storage, but {entry.value} has "
            f"returned a {type(storage).__name__}."
        )
    return storage
