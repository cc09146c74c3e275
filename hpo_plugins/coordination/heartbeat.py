"""The background thread that renews a process's leases."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable


class Heartbeat:
    """A daemon thread that calls a method at regular intervals while the method's object lives.

    It continues while there is nothing to renew, because a thread that ended itself could miss the next acquisition.

    Args:
        beat: A bound method. The thread keeps only a weak reference to its object.
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
