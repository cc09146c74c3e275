"""Processes by name: where one runs, its process ID and when it started. Another one can see whether it lives."""

from __future__ import annotations

import functools
import os
import socket
import sys
from pathlib import Path


def is_running(name: str) -> bool | None:
    """Return whether the process of that name, or of a name that begins so, runs; None if that cannot be known."""
    place, _, rest = name.rpartition("/")
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
    return started == now  # otherwise another process has the process ID


def _started_at(pid: int) -> str:
    """Return when a process was started, in the system's ticks since its boot, "" if the system does not tell."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


@functools.lru_cache(maxsize=1)
def name_of(pid: int) -> str:
    """Return what identifies this process, whose ID is given: where it runs, its process ID and when it started."""
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
