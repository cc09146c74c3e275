"""The client's side of checkpoints on a server."""

from __future__ import annotations

import secrets
from collections.abc import Collection
from hashlib import file_digest
from pathlib import Path
from typing import Any

from hpo_plugins.errors import StorageError
from hpo_plugins.serve.connection import Connection
from hpo_plugins.serve.wire import Range, Upload, encode, result_of

PART = 8 << 20
"""Bytes that are sent in a request."""


class HttpFiles:
    """The checkpoints of a study on its server.

    Args:
        connection: The connection to the server.
        study: The study's identity.
        name: Its name when it was opened.
    """

    def __init__(self, connection: Connection, study: str, name: str) -> None:
        """Send nothing yet."""
        self._connection, self._study, self._name = connection, study, name

    def put(self, name: str, package: Path) -> None:
        """Send a package in parts.

        Raises:
            StorageError: The server is away for too long, or refuses it.
        """
        size = package.stat().st_size
        with package.open("rb") as file:
            digest = file_digest(file, "sha256").hexdigest()
            there, rounds = 0, 0
            while True:
                file.seek(there)
                upload = Upload(self._study, self._name, name, digest, there, size)
                before, there = there, self._ask("upload", upload, file.read(PART))
                if there == size:
                    return
                rounds = rounds + 1 if there <= before else 0
                if rounds > 3:
                    raise StorageError(f"The server does not take the checkpoint {name}: {there} of {size} bytes.")

    def get(self, name: str, package: Path) -> bool:
        """Fetch a package in parts, and return whether it was there."""
        client = secrets.token_hex(32)
        with package.open("wb") as file:
            while True:
                wanted = Range(self._study, self._name, name, client, file.tell())
                size, content = self._ask("download", wanted)
                if size < 0:
                    return False
                file.write(content)
                if not content:
                    return True

    def names(self, folder: str) -> list[str]:
        """Return the names in a folder."""
        names: list[str] = self._ask("list", self._study, self._name, folder)
        return names

    def remove(self, name: str) -> None:
        """Remove a package, if it is there."""
        self._ask("remove", self._study, self._name, name)

    def keep(self, folder: str, names: Collection[str]) -> None:
        """Remove the packages of a folder, except those of these names."""
        self._ask("keep", self._study, self._name, folder, list(names))

    def clear(self) -> None:
        """Do nothing: the server does it when it makes a study."""

    def _ask(self, method: str, *arguments: Any) -> Any:
        return result_of(method, self._connection.post(f"checkpoints/{method}", encode(arguments)))
