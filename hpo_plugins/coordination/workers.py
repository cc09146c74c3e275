"""Names of workers: a name says where the worker runs, so that others can see whether it is alive."""

from __future__ import annotations

import os
import secrets

from hpo_plugins.storage.processes import is_running, name_of


def worker_name() -> str:
    """Return a unique name for this process: machine, process ID, start time and a random part."""
    return f"{name_of(os.getpid())}-{secrets.token_hex(4)}"


def remote_worker_name() -> str:
    """Return a unique name for a remote worker that cannot outlive this process, such as a Ray actor.

    When this process dies, other processes of this machine see at once that all such workers are lost.
    """
    return f"{name_of(os.getpid())}-remote-{secrets.token_hex(8)}"


def is_dead(worker: str) -> bool:
    """Return whether a worker is known to be dead: its process ID is free on this machine.

    False if this process cannot know: the worker runs elsewhere, or another process has its process ID.
    """
    return is_running(worker) is False


def is_alive(worker: str) -> bool:
    """Return whether a worker is known to be alive: its process runs on this machine.

    False if this process cannot know: the worker runs elsewhere, or the system hides when a process started.
    """
    return is_running(worker) is True


def is_here(worker: str) -> bool:
    """Return whether a worker's name belongs to this process."""
    return worker.rpartition("-")[0] == name_of(os.getpid())
