"""Who a worker is: its name says where it runs, so that another process can see whether it is alive."""

from __future__ import annotations

import os
import secrets

from hpo_plugins.storage.processes import is_running, name_of


def worker_name() -> str:
    """Return a unique name for this process: where it runs, its process ID, when it started, and a random part."""
    return f"{name_of(os.getpid())}-{secrets.token_hex(4)}"


def remote_worker_name() -> str:
    """Return a unique name for a worker elsewhere that cannot outlive this process, such as one that Ray has placed.

    So another process of this machine sees at once that all such workers are lost when this one has died.
    """
    return f"{name_of(os.getpid())}-remote-{secrets.token_hex(8)}"


def is_dead(worker: str) -> bool:
    """Return whether a worker is known to be dead before its lease expires: its process ID is free on this machine.

    False if that cannot be known: the worker runs elsewhere, or its process ID was given to another process.
    """
    return is_running(worker) is False


def is_alive(worker: str) -> bool:
    """Return whether a worker is known to be alive: its process runs on this machine.

    False if that cannot be known: the worker runs elsewhere, or the system does not tell when a process has started.
    """
    return is_running(worker) is True


def is_here(worker: str) -> bool:
    """Return whether a worker's name is one of this process."""
    return worker.rpartition("-")[0] == name_of(os.getpid())
