"""The studies that are served, by an identity that survives renaming, and a restart of the server.

The identity is a claim in the study. A copy of a study has a copy of it, so the identity contains a digest of the name
under which it was made: if another study of that name is there, the copy takes an identity of its own.
"""

from __future__ import annotations

import secrets
import threading
from hashlib import sha256
from typing import NamedTuple

from hpo_plugins.errors import StudyNotFound
from hpo_plugins.serve.writer import Writer
from hpo_plugins.storage import Storage, StudyStore
from hpo_plugins.storage.protocol import Definition

_KEY = "http identity"


class Served(NamedTuple):
    """A study that is served.

    Attributes:
        store: The study, for writes.
        reader: The study by connections of its own, so that a long read delays no write.
        writer: Does the writes.
        name: Its name, as far as is known.
    """

    store: StudyStore
    reader: StudyStore
    writer: Writer
    name: str


class Registry:
    """The studies that are served.

    Args:
        storage: Their storage, for writes.
        reader: The same storage by connections of its own, for reads.
    """

    def __init__(self, storage: Storage, reader: Storage) -> None:
        """Open no study yet."""
        self._storage, self._reader = storage, reader
        self._served: dict[str, Served] = {}
        self._lock = threading.Lock()

    def open(self, name: str, definition: Definition | None) -> tuple[str, Served]:
        """Return a study's identity, and the study, created if it is new.

        Raises:
            StudyNotFound: It does not exist, and ``definition`` is None.
        """
        store = self._storage.open(name, definition)
        with self._lock:
            identity = self._identity(store, name)
            if (served := self._served.get(identity)) is None:
                reader = store if self._reader is self._storage else self._reader.open(name, None)
                served = Served(store, reader, Writer(store), name)
            self._served[identity] = served._replace(name=name)
            return identity, served._replace(store=store, name=name)

    def known(self, identity: str) -> Served | None:
        """Return a study that this process has opened, None if it has not."""
        return self._served.get(identity)

    def find(self, identity: str, name: str) -> Served:
        """Return a study that a client has opened, perhaps from another server process.

        Args:
            identity: Its identity.
            name: Its name then.

        Raises:
            StudyNotFound: It was deleted.
        """
        for candidate in sorted(self._storage.names(), key=lambda known: known != name):
            found, served = self.open(candidate, None)
            if found == identity:
                return served
        raise StudyNotFound(f"Study {name!r} was deleted from {self._storage} meanwhile.")

    def every(self) -> list[Served]:
        """Return the studies that this process has opened."""
        return list(self._served.values())

    def name_of(self, identity: str, name: str) -> str | None:
        """Return the name that a study has now, None if it was deleted.

        Args:
            identity: Its identity.
            name: Its name as the client knows it.
        """
        try:
            return self.find(identity, name).name
        except StudyNotFound:
            return None

    def forget(self, identity: str) -> None:
        """Forget a study that is about to be deleted: a new one of its name is another study."""
        self._served.pop(identity, None)

    def _identity(self, store: StudyStore, name: str) -> str:
        made = f"{secrets.token_hex(8)}-{_digest(name)}"
        identity = store.claim(_KEY, made, "")
        copied_from = identity.rpartition("-")[2]
        if copied_from == _digest(name) or copied_from not in map(_digest, self._storage.names()):
            return identity  # its own, or a renamed study's
        return store.claim(_KEY, made, identity)


def _digest(name: str) -> str:
    return sha256(name.encode()).hexdigest()[:16]
