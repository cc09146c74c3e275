"""The error for damaged stored data."""

from __future__ import annotations

from hpo_plugins.errors import StorageError


def damaged(where: str, what: str, error: object) -> StorageError:
    """Return the error that something stored cannot be used."""
    return StorageError(
        f"{where} is damaged, or another program has written it: {what} cannot be used: {error}. Restore a copy of the "
        "storage, or give another name= or storage=."
    )
