"""Leases: how a process says that it is alive, and how another one learns that it is not."""

from __future__ import annotations

import atexit
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
    """Return a name for this process that no other has: where it runs, its process number, a random part."""
    return f"{_place()}/{os.getpid()}/{secrets.token_hex(4)}"


def is_gone(worker: str) -> bool:
    """Return whether a worker is known to be dead without waiting for its lease: a process number that is free here.

    False whenever it cannot be known: the worker runs elsewhere, or the number has been given to another process.
    """
    place, _, rest = worker.rpartition("/")[0].rpartition("/")
    if place != _place() or not rest.isdigit() or sys.platform == "win32":  # there, os.kill would end the process
        return False
    try:
        os.kill(int(rest), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def _place() -> str:
    """Return what tells apart the sets of process numbers: the host, its boot, and the container's namespace."""
    parts = [socket.gethostname()]
    for path, read in (("/proc/sys/kernel/random/boot_id", Path.read_text), ("/proc/self/ns/pid", Path.readlink)):
        try:
            parts.append(str(read(Path(path))).strip()[-12:])
        except OSError:
            parts.append("-")
    return ":".join(parts)


class Heartbeat:
    """A thread that calls ``beat`` every so often, until it is stopped or its owner is gone.

    It beats also while there is nothing to renew: a thread that ended itself then could miss the next hand-out.
    """

    def __init__(self, beat: Callable[[], None], interval: float) -> None:
        """Prepare; ``beat`` must be a bound method, and its object is held weakly."""
        self._beat = weakref.WeakMethod(beat)
        self._interval = interval
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start, unless it runs."""
        if self._thread is None or not self._thread.is_alive():
            self._stopped.clear()
            self._thread = threading.Thread(target=self._run, name="hpo-plugins-heartbeat", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Stop, without waiting for a beat under way."""
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.wait(self._interval):
            beat = self._beat()
            if beat is None:
                return
            beat()


class Holder(Protocol):
    """Something that holds leases."""

    def release_all(self) -> None:
        """Give them all back."""


_holders: weakref.WeakSet[Holder] = weakref.WeakSet()
_at_exit_in = 0


def release_at_exit(holder: Holder) -> None:
    """Give leases back when this process ends in an orderly way; a forked child must not give back its parent's."""
    global _at_exit_in  # noqa: PLW0603 - the process's own
    _holders.add(holder)
    if _at_exit_in != os.getpid():
        _at_exit_in = os.getpid()
        atexit.register(_release_in, os.getpid())


def _release_in(pid: int) -> None:
    if pid != os.getpid():
        return
    for holder in list(_holders):
        try:
            holder.release_all()
        except StorageError as error:
            logger.warning("leases were not given back, and run out by themselves: %s", error)
