"""Who a worker is: its name says where it runs, so that another process can see whether it is alive."""

from __future__ import annotations

import functools
import os
import secrets
import socket
import sys
from pathlib import Path


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
