"""How a process shows that it is alive, and how another one finds out that it is not."""

from __future__ import annotations

import atexit
import functools
import logging
import os
import secrets
import socket
import sys
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from hpo_plugins.errors import StorageError

logger = logging.getLogger("hpo_plugins")


def worker_name() -> str:
    """Return a unique name for this process: where it runs, its process ID, when it started, and a random part."""
    return f"{_this_process(os.getpid())}-{secrets.token_hex(4)}"


def remote_worker_name() -> str:
    """Return a unique name for a worker elsewhere that cannot outlive this process, such as one that Ray has placed.

    So another process of this machine sees at once that all such workers are lost when this one has died.
    """
    return f"{_this_process(os.getpid())}-remote-{secrets.token_hex(8)}"


def is_dead(worker: str) -> bool:
    """Return whether a worker is known to be dead before its lease expires: its process ID is free on this machine.

    False if that cannot be known: the worker runs elsewhere, or its process ID was given to another process.
    """
    return _find(worker) is False


def is_alive(worker: str) -> bool:
    """Return whether a worker is known to be alive: its process runs on this machine.

    False if that cannot be known: the worker runs elsewhere, or the system does not tell when a process has started.
    """
    return _find(worker) is True


def is_here(worker: str) -> bool:
    """Return whether a worker's name is one of this process."""
    return worker.rpartition("-")[0] == _this_process(os.getpid())


def _find(worker: str) -> bool | None:
    """Return whether a worker's process runs, None if that cannot be known."""
    place, _, rest = worker.rpartition("/")
    namespace, _, pid = place.rpartition("/")
    if namespace != _process_namespace() or not pid.isdigit() or sys.platform == "win32":  # there, os.kill would kill
        return None
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # another user's
        return None
    (started, dash, _), now = rest.partition("-"), _started_at(int(pid))
    if not started or not dash or not now:
        return None
    return started == now  # else the process ID was given to another process


def _started_at(pid: int) -> str:
    """Return when a process was started, in the system's ticks since its boot, "" if the system does not tell."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


@functools.lru_cache(maxsize=1)
def _this_process(pid: int) -> str:
    """Return what identifies this process: where it runs, its process ID and when it started."""
    return f"{_process_namespace()}/{pid}/{_started_at(pid)}"


@functools.cache
def _process_namespace() -> str:
    """Return what identifies a set of process IDs: the host, its boot, and the container's namespace."""
    parts = [socket.gethostname()]
    for path, read in (("/proc/sys/kernel/random/boot_id", Path.read_text), ("/proc/self/ns/pid", Path.readlink)):
        try:
            parts.append(str(read(Path(path))).strip()[-12:])
        except OSError:
            parts.append("-")
    return ":".join(parts)


class Heartbeat:
    """A daemon thread that calls a method at regular intervals for as long as the method's object lives.

    It also beats while there is nothing to renew: a thread that ended itself then could miss the next acquisition.

    Args:
        beat: A bound method; its object is referenced weakly.
        interval: Seconds between two calls.
    """

    def __init__(self, beat: Callable[[], None], interval: float) -> None:
        """Prepare the thread; ``start`` starts it."""
        self._beat = weakref.WeakMethod(beat)
        self._interval = interval
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread, unless it runs."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name="hpo-plugins-heartbeat", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        pause = threading.Event()
        while not pause.wait(self._interval):
            beat = self._beat()
            if beat is None:
                return
            beat()
            del beat  # a reference kept while waiting would keep the owner alive


class LeaseHolder(Protocol):
    """Something that holds leases."""

    def release_all(self) -> None:
        """Release them all."""


_holders: weakref.WeakSet[LeaseHolder] = weakref.WeakSet()
_registered_in: int | None = None


def release_at_exit(holder: LeaseHolder) -> None:
    """Release the holder's leases when this process exits normally; a forked child must not release its parent's."""
    global _registered_in  # noqa: PLW0603 - one exit handler per process
    _holders.add(holder)
    if _registered_in != os.getpid():
        _registered_in = os.getpid()
        atexit.register(_release_all, os.getpid())


def _release_all(pid: int) -> None:
    if pid != os.getpid():
        return
    for holder in list(_holders):
        try:
            holder.release_all()
        except StorageError as error:
            logger.warning("leases could not be released, and will expire: %s", error)
