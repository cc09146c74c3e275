"""Share trials with other processes of the machine: a pickled trial is the address of its process.

The pickle contains neither the storage's address nor a password. Connections are opened on first use, so a model that
was dumped together with a callback loads anywhere.
"""

from __future__ import annotations

import secrets
import weakref
from typing import Any

from hpo_plugins.errors import StorageError
from hpo_plugins.storage.proxy import Address, connect, serve


class Ticket:
    """A ticket by which another process visits a lease of this process.

    Args:
        address: Address of the process that holds the lease, as plain values.
        token: Identifies the lease.
    """

    def __init__(self, address: tuple[Any, str, int], token: str) -> None:
        """Open no connection yet."""
        self.address = address
        self.token = token

    @classmethod
    def of(cls, lease: object) -> Ticket:
        """Return a ticket for a lease of this process."""
        socket, key, slot = serve(_HOST)
        return cls((socket, key.hex(), slot), _HOST.token_of(lease))

    def redeem(self, number: int) -> Any:
        """Return a visitor's lease.

        Args:
            number: The trial.

        Raises:
            StorageError: The process that holds the lease has ended, or the attempt has.
        """
        socket, key, slot = self.address
        cause: Exception | None = None
        try:
            lease: Any = connect(Address(socket, bytes.fromhex(key), slot)).lease(self.token)
        except (OSError, EOFError) as error:
            lease, cause = None, error
        if lease is None:
            raise StorageError(
                f"Trial {number} cannot be reported to: the process that trains it has ended, or runs elsewhere. To "
                "train without recording, remove TrialCallback."
            ) from cause
        return lease


class _Host:
    """The leases of this process that others may visit."""

    def __init__(self) -> None:
        self._leases: weakref.WeakValueDictionary[str, object] = weakref.WeakValueDictionary()
        self._tokens: weakref.WeakKeyDictionary[object, str] = weakref.WeakKeyDictionary()

    def token_of(self, lease: object) -> str:
        token = self._tokens.setdefault(lease, secrets.token_hex(8))
        self._leases[token] = lease
        return token

    def lease(self, token: str) -> object:
        """Return the lease; pickling turns it into a visitor's lease."""
        return self._leases.get(token)


_HOST = _Host()
