"""SIGTERM gives trials back, as Ctrl-C does: Slurm, Kubernetes and spot machines send it before they kill.

By default Python ends at once, without its exit handlers. So unless something else handles the signal, it raises
SystemExit in the main thread: the loop that is left by it releases its trial, and the exit handlers release all others.
"""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import NoReturn

_looked_in: int | None = None  # the process whose handler was looked at: that takes longer than the rest of a turn


def exit_on_sigterm() -> None:
    """Let SIGTERM raise SystemExit in this process, unless the user or a library handles it already."""
    global _looked_in  # noqa: PLW0603 - one handler per process
    if _looked_in == os.getpid() or threading.current_thread() is not threading.main_thread():
        return
    _looked_in = os.getpid()
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _exit)


def _exit(number: int, _frame: FrameType | None) -> NoReturn:
    signal.signal(number, signal.SIG_DFL)  # a second one ends the process at once
    raise SystemExit(128 + number)


def _after_fork() -> None:
    """Let a forked child, such as a loader of data, die of SIGTERM as its parent's library expects."""
    if signal.getsignal(signal.SIGTERM) is _exit:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
