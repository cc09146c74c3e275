"""Handle forks, exits, SIGTERM and SIGHUP of this process for its sessions.

A forked child has copies of locks, connections and leases and must use none of them. On Linux, ``multiprocessing``
forks by default up to Python 3.13, as PyTorch's ``DataLoader`` does for its workers.

SIGTERM releases trials, as Ctrl-C does. Slurm, Kubernetes and spot machines send it before they kill a process; a
terminal sends SIGHUP when it closes. By default Python ends at once and skips its exit handlers. Unless something else
handles these signals, this module makes them raise SystemExit in the main thread. The loop that this exception leaves
releases its trial, and the exit handlers release all others. Python drops an exception that is raised in a destructor
or in a callback of the garbage collector, of a weak reference or of ctypes. The handler then raises it again; so does
Python's own handler of Ctrl-C, which this module makes it call. If a library replaces the exception by an error of its
own, the process still ends with the signal's code. In other threads, training runs stop at their next report, and their
trials are released.
"""

from __future__ import annotations

import _thread
import atexit
import contextlib
import logging
import os
import signal
import sys
import threading
import time
import weakref
from types import FrameType, TracebackType
from typing import Any, Protocol

from hpo_plugins.errors import StorageError

logger = logging.getLogger("hpo_plugins")


# Forks.


class ForkAware(Protocol):
    """An object that a forked child must not use unchanged."""

    def before_fork(self) -> None:
        """Prepare the fork in the parent."""

    def after_fork(self) -> None:
        """Make the object usable in the child; other threads of the parent may have held any lock."""


_aware: weakref.WeakSet[ForkAware] = weakref.WeakSet()


def watch_forks(aware: ForkAware) -> None:
    """Call the object's methods around each fork of this process, while the object lives."""
    _aware.add(aware)


_before = threading.local()
"""The signals that each forking thread blocked before its fork."""


def _before_fork() -> None:
    # A signal for the child must meet the child's own handler, because Python drops exceptions of fork hooks.
    _before.mask = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    for aware in list(_aware):
        with contextlib.suppress(OSError):  # the child raises an error when it needs what it cannot reach
            aware.before_fork()


def _after_fork_in_parent() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _before.mask)


def _after_fork() -> None:
    _end.__init__()  # type: ignore[misc]  # the child received nothing
    for number in _SIGNALS:  # a data loader dies of it, as its parent's library expects
        if signal.getsignal(number) is _on_signal:
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, _before.mask)
    for aware in list(_aware):
        aware.after_fork()


if hasattr(os, "register_at_fork"):  # not on Windows, which cannot fork
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork)


# Exits.


class Holder(Protocol):
    """An object that holds leases."""

    def release_all(self) -> None:
        """Release them all."""


_holders: weakref.WeakSet[Holder] = weakref.WeakSet()
_registered_in: int | None = None


def release_at_exit(holder: Holder) -> None:
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


# Signals.

_SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
_AGAIN_SECONDS = 0.01


class Terminated(SystemExit):
    """This process received a termination signal."""


class _End:
    """The termination signal of this process, if any.

    Attributes:
        number: The signal, None before it arrives.
        is_told_again: Whether this module has sent the same signal again.
        is_dropped: Whether Python has dropped the exception, so that the same signal raises it again.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self.is_told_again = False
        self.is_dropped = False


_end = _End()
_looked_in: int | None = None  # the process whose handlers were checked; a check is slow


def exit_on_signals() -> None:
    """Make SIGTERM and SIGHUP raise SystemExit in this process, unless the user or a library handles them."""
    global _looked_in  # noqa: PLW0603 - one handler per process
    if _looked_in == os.getpid() or threading.current_thread() is not threading.main_thread():
        return
    _looked_in = os.getpid()
    for number in _SIGNALS:
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _on_signal)
    _watch_dropped()


def is_terminating() -> bool:
    """Return whether this process received a termination signal."""
    return _end.number is not None


def end_if_told() -> bool:
    """Return whether this process received a termination signal; in its main thread, end it.

    Raises:
        SystemExit: It did, and this is the main thread, where Python has dropped the signal's exception.
    """
    if _end.number is None:
        return False
    if threading.current_thread() is threading.main_thread():
        _end.is_dropped = False
        raise Terminated(128 + _end.number)
    return True


def _on_signal(number: int, frame: FrameType | None) -> None:
    if _end.number is None:
        _end.number = number
        if _has_main_ended(frame):  # no code of the main thread is left to unwind: Python waits for other threads
            atexit.register(_exit_late)
            return
        _watch_uncaught()
    elif _end.number != number:  # a service manager may send both
        return
    elif _end.is_told_again:
        _end.is_told_again = False
        if not _end.is_dropped:  # a report has raised it in the meantime
            return
    else:  # a second one ends the process at once
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)
    _end.is_dropped = False
    raise Terminated(128 + number)


def _has_main_ended(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_name == "_shutdown" and frame.f_globals.get("__name__") == "threading":
            return True
        frame = frame.f_back
    return False


def _exit_late() -> None:
    """Exit with the signal's code: without an exception in the main thread, Python would exit with 0."""
    _release_all(os.getpid())
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(128 + (_end.number or 0))


def _exit_if_dropped() -> None:
    if _end.is_dropped:
        _exit_late()


def _watch_dropped() -> None:
    """Raise the exception of a signal, or of Ctrl-C, again if Python drops it."""
    before = sys.unraisablehook

    def on_unraisable(dropped: Any) -> None:
        if isinstance(dropped.exc_value, Terminated) and is_terminating():
            _end.is_dropped = True
            atexit.register(_exit_if_dropped)  # the script may end before the exception is raised again
        elif not isinstance(dropped.exc_value, KeyboardInterrupt):
            before(dropped)
            return
        _thread.start_new_thread(_raise_again, ())  # threading's own locks may be held where the signal came

    sys.unraisablehook = on_unraisable


def _watch_uncaught() -> None:
    """Exit with the signal's code if a library raises an error of its own where the signal interrupts it."""
    before = sys.excepthook

    def on_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        before(kind, error, trace)
        if _end.number is not None:
            raise SystemExit(128 + _end.number)  # Python exits as with any SystemExit: exit handlers run

    sys.excepthook = on_uncaught


def _raise_again() -> None:
    time.sleep(_AGAIN_SECONDS)  # until the main thread has left the code that drops exceptions
    if _end.number is None:
        _thread.interrupt_main(signal.SIGINT)
    elif _end.is_dropped:
        _end.is_told_again = True
        _thread.interrupt_main(signal.Signals(_end.number))
