"""Serve objects of this process to other processes of the machine: a study in memory, or rank 0's trials.

The standard library's manager does the work: a socket in the file system, which only the same user may read and which
a random key protects, and one thread per client. The server starts with the first request for an address.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
import secrets
import socket
import threading
from collections.abc import Callable, Sequence
from multiprocessing.managers import BaseManager
from multiprocessing.util import Finalize
from typing import Any, NamedTuple, TypeVar

from hpo_plugins.errors import StorageError
from hpo_plugins.records import ActionRow, Assignment, Changes, ReportRow, Written
from hpo_plugins.space import Params
from hpo_plugins.storage import temporary
from hpo_plugins.storage.protocol import Definition

T = TypeVar("T")


class Address(NamedTuple):
    """Where an object is served: the socket, its key, and the object's slot."""

    socket: Any
    key: bytes
    slot: int


class _Manager(BaseManager):
    pass


_lock = threading.Lock()
_served: list[Any] = []
_server: Any = None
_Manager.register("served", callable=_served.__getitem__)


def _after_fork() -> None:
    """Serve nothing in a forked child until something asks for it: the server's thread stayed with the parent."""
    global _lock, _server  # noqa: PLW0603 - as below
    _lock = threading.Lock()
    if _server is not None:
        with contextlib.suppress(AttributeError):  # otherwise clients of a dead parent would wait for the child's copy
            _server.listener._listener._socket.close()  # noqa: SLF001 - its own close() would delete the parent's file
        _server = None
        _served.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def serve(target: Any) -> Address:
    """Return an address at which other processes of this machine can call the object's public methods."""
    global _server  # noqa: PLW0603 - one server per process, by nature
    with _lock:
        if _server is None:
            _server = _Manager(address=_new_address(), authkey=secrets.token_bytes(32)).get_server()
            threading.Thread(target=_run, args=(_server,), name="hpo-plugins-server", daemon=True).start()
        if not any(target is known for known in _served):
            _served.append(target)
        slot = next(slot for slot, known in enumerate(_served) if known is target)
        return Address(_server.address, bytes(_server.authkey), slot)


def _new_address() -> str | None:
    """Return where a socket is to be made, None for the system's choice where sockets have no path."""
    if not hasattr(socket, "AF_UNIX"):
        return None
    folder = temporary.new_folder(max_bytes=temporary.MAX_SOCKET_PATH - len("/socket"))
    temporary.make(folder)
    # The listener deletes its socket at exit, among multiprocessing's finalizers of priority 0.
    Finalize(None, temporary.remove, (folder, os.getpid()), exitpriority=-1)
    return str(folder / "socket")


def _run(server: Any) -> None:
    try:
        server.serve_forever()
    except SystemExit:  # how the manager ends
        return


def connect(address: Address) -> Any:
    """Return a proxy of the object at an address.

    Raises:
        OSError, EOFError: The process that serves it has ended.
    """
    return _connect(os.getpid(), Address(*address))


@functools.lru_cache(maxsize=64)
def _connect(pid: int, address: Address) -> Any:  # noqa: ARG001 - a forked child must not use its parent's proxy
    manager = _Manager(address=address.socket, authkey=address.key)
    manager.connect()
    return manager.served(address.slot)  # type: ignore[attr-defined]  # registered above


class ProxyStudyStore:
    """A study in another process's memory; it connects when it is first used."""

    where = "The study in memory"
    outlives_process = True  # the process that uses the proxy may die without the study
    reachable_since = -math.inf

    def __init__(self, definition: Definition, address: Address | None, why_unreachable: str = "") -> None:
        """Remember where the study is, or why it is nowhere."""
        self.definition = definition
        self._address = address
        self._why_unreachable = why_unreachable

    def define(self, definition: Definition) -> None:
        """Replace the definition."""
        self._call("define", definition)

    def changes(self, since: int) -> Changes:
        """Return everything with a revision after ``since``."""
        changes: Changes = self._call("changes", since)
        return changes

    def acquire(self, assignment: Assignment, expected: int) -> Written | None:
        """Write an assignment if there were ``expected`` acquisitions before."""
        written: Written | None = self._call("acquire", assignment, expected)
        return written

    def enqueue(self, params: Params) -> None:
        """Append a configuration to be tried."""
        self._call("enqueue", params)

    def report(self, report: ReportRow, *, is_patient: bool = False) -> int | None:  # noqa: ARG002
        """Append a report while the lease is held."""
        revision: int | None = self._call("report", report)
        return revision

    def update(self, number: int, attempt: int, **fields: Any) -> Written | None:
        """Rewrite fields of a trial's row while the lease is held."""
        written: Written | None = self._call("update", number, attempt, **fields)
        return written

    def drop_checkpoint(self, number: int, checkpoint: str) -> Written | None:
        """Clear a trial's checkpoint if it is still this one."""
        written: Written | None = self._call("drop_checkpoint", number, checkpoint)
        return written

    def renew(self, leases: Sequence[tuple[int, int]], seconds: float) -> None:
        """Extend leases that are still held."""
        self._call("renew", leases, seconds)

    def claim(self, key: str, owner: str, instead_of: str = "") -> str:
        """Transfer ``key`` from ``instead_of`` to ``owner``."""
        now: str = self._call("claim", key, owner, instead_of)
        return now

    def log(self, action: str, trial: int | None, details: dict[str, Any]) -> None:
        """Append an action to the log."""
        self._call("log", action, trial, details)

    def actions(self, since: int = 0) -> list[ActionRow]:
        """Return the log from number ``since`` on."""
        found: list[ActionRow] = self._call("actions", since)
        return found

    def exclusively(self, work: Callable[[], T]) -> T:
        """Return ``work()``: its acquisition may still be refused."""
        return work()

    def before_fork(self) -> None:
        """Do nothing: the child opens its own connection."""

    def after_fork(self) -> ProxyStudyStore:
        """Return this proxy."""
        return self

    def _call(self, method: str, *arguments: Any, **fields: Any) -> Any:
        if self._address is None:
            raise StorageError(
                f"A forked process cannot reach the study in its parent's memory{self._why_unreachable}. "
                "Give the Tuner a storage=."
            )
        try:
            return getattr(connect(self._address), method)(*arguments, **fields)
        except (OSError, EOFError) as error:
            raise StorageError(
                "The process that keeps this study in memory has ended. Give the Tuner a storage=."
            ) from error

    def __reduce__(self) -> tuple[Any, ...]:
        """Pass the address on."""
        return ProxyStudyStore, (self.definition, self._address, self._why_unreachable)
