"""What becomes of this process's studies in a forked child.

The child has copies of locks, connections and leases, none of which it may use. On Linux,
``multiprocessing`` forks by default up to Python 3.13, as PyTorch's ``DataLoader`` does for its workers.
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class ForkAware(Protocol):
    """Something that a forked child must not use as it is."""

    def before_fork(self) -> None:
        """Prepare, in the parent, what the child needs."""

    def after_fork(self) -> None:
        """Become usable in the child; other threads of the parent may have held any lock."""


_aware: weakref.WeakSet[ForkAware] = weakref.WeakSet()


def watch_forks(aware: ForkAware) -> None:
    """Call the object's methods around each fork of this process, for as long as it lives."""
    _aware.add(aware)


def _before() -> None:
    for aware in list(_aware):
        aware.before_fork()


def _after() -> None:
    for aware in list(_aware):
        aware.after_fork()


if hasattr(os, "register_at_fork"):  # not on Windows, which cannot fork
    os.register_at_fork(before=_before, after_in_child=_after)
