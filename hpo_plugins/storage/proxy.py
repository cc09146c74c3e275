"""Reach objects of this process from other processes of this machine: a study in memory, what rank 0 acquired.

The standard library's manager does the work: a socket in the file system, readable by the same user and guarded by a
random key, and one thread per client. Nothing is served before something asks for it.
"""

from __future__ import annotations

import functools
import math
import os
import secrets
import threading
from collections.abc import Sequence
from multiprocessing.managers import BaseManager
from typing import Any, NamedTuple

from hpo_plugins.errors import StorageError
from hpo_plugins.records import Assignment, Changes, ReportRow
from hpo_plugins.storage.protocol import Definition


class Address(NamedTuple):
    """Where to find an object: the socket, its key, and the object's number."""

    socket: Any
    key: bytes
    number: int


class _Manager(BaseManager):
    pass


_lock = threading.Lock()
_served: list[Any] = []
_server: tuple[int, Any, bytes] | None = None
_Manager.register("served", callable=_served.__getitem__)


def serve(target: Any) -> Address:
    """Return an address under which other processes of this machine can call the object's public methods."""
    global _server  # noqa: PLW0603 - one server a process, by nature
    with _lock:
        if _server is None or _server[0] != os.getpid():
            key = secrets.token_bytes(32)
            server = _Manager(authkey=key).get_server()
            threading.Thread(target=_run, args=(server,), name="hpo-plugins-relay", daemon=True).start()
            _server = (os.getpid(), server.address, key)
        if not any(target is known for known in _served):
            _served.append(target)
        number = next(number for number, known in enumerate(_served) if known is target)
        return Address(_server[1], _server[2], number)


def _run(server: Any) -> None:
    try:
        server.serve_forever()
    except SystemExit:  # the manager's way of ending
        return


def reach(address: Address) -> Any:
    """Return a proxy of the object at an address.

    Raises:
        OSError, EOFError: The process that serves it is gone.
    """
    return _reach(os.getpid(), Address(*address))


@functools.lru_cache(maxsize=64)
def _reach(pid: int, address: Address) -> Any:  # noqa: ARG001 - a forked child must not use its parent's proxy
    manager = _Manager(address=address.socket, authkey=address.key)
    manager.connect()
    return manager.served(address.number)  # type: ignore[attr-defined]


class ProxyStudyStore:
    """A study in another process's memory, reached on the first use."""

    outlives_process = True  # the process that uses this one may die, and the study stays
    reachable_since = -math.inf

    def __init__(self, definition: Definition, address: Address) -> None:
        """Remember where the study is; nothing is opened yet."""
        self.definition = definition
        self._address = address

    def define(self, definition: Definition) -> None:
        """Replace the definition."""
        self._call("define", definition)

    def changes(self, since: int) -> Changes:
        """Return everything with a revision after ``since``."""
        changes: Changes = self._call("changes", since)
        return changes

    def acquire(self, offer: Assignment, expected: int) -> bool:
        """Write the hand-out if there were ``expected`` before."""
        return bool(self._call("acquire", offer, expected))

    def report(self, report: ReportRow) -> int | None:
        """Append a report while the lease is held."""
        revision: int | None = self._call("report", report)
        return revision

    def update(self, number: int, attempt: int, **fields: Any) -> bool:
        """Rewrite fields of a trial's row while the lease is held."""
        return bool(self._call("update", number, attempt, **fields))

    def drop_checkpoint(self, number: int, checkpoint: str) -> bool:
        """Clear a trial's checkpoint if it is still this one."""
        return bool(self._call("drop_checkpoint", number, checkpoint))

    def renew(self, held: Sequence[tuple[int, int]], lease: float) -> None:
        """Extend leases that are still held."""
        self._call("renew", held, lease)

    def close(self) -> None:
        """Do nothing: the data is elsewhere."""

    def _call(self, method: str, *arguments: Any, **fields: Any) -> Any:
        try:
            return getattr(reach(self._address), method)(*arguments, **fields)
        except (OSError, EOFError) as error:
            raise StorageError(
                "The process that holds this study in memory has ended. Give the Tuner a storage=."
            ) from error

    def __reduce__(self) -> tuple[Any, ...]:
        """Send the address on."""
        return ProxyStudyStore, (self.definition, self._address)
