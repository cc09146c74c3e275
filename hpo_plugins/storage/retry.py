"""Retry while a database server is unreachable: an outage costs a pause, not a result.

The wait is bounded by the length of the outage rather than of a call: once a server has been away for too long, calls
fail immediately, and the first that succeeds ends the outage. Repeating a write that may have arrived is harmless: a
report counts once per epoch, and a worker whose acquisition was refused checks whether the trial is already its own.
"""

from __future__ import annotations

import logging
import math
import time

from hpo_plugins.errors import StorageError

logger = logging.getLogger("hpo_plugins")

MAX_OUTAGE_SECONDS = 300.0
"""Maximum seconds that calls wait during an outage."""
_MIN_PAUSE, _MAX_PAUSE = 0.05, 2.0


class Unreachable(StorageError):
    """The server cannot be reached, or refuses connections for now."""


class Outage:
    """The outages of one database, as this process sees them.

    Attributes:
        ended: When the last outage ended, by ``time.monotonic()``; ``-inf`` if there was none.
    """

    def __init__(self, database: str) -> None:
        """Start without an outage."""
        self.ended = -math.inf
        self._database = database
        self._since: float | None = None
        self._pause = _MIN_PAUSE

    @property
    def seconds(self) -> float:
        """Its duration in seconds so far, 0 without an outage."""
        since = self._since
        return 0.0 if since is None else time.monotonic() - since

    def wait(self, error: Unreachable, began: float, patience: float) -> bool:
        """Pause and return True, or return False if the outage has lasted for as long as the caller waits.

        Args:
            error: The error that shows the outage.
            began: When the call began, by ``time.monotonic()``: an outage that it finds began then.
            patience: Maximum seconds of an outage that the caller waits.
        """
        now, since = time.monotonic(), self._since  # which another thread may set, or clear, at any time
        if since is None:
            since = self._since = began
            self._pause = _MIN_PAUSE
            if patience:
                logger.warning("waiting for up to %.0f s; Ctrl-C ends the wait: %s", patience, error)
        if now - since >= patience:
            return False
        time.sleep(self._pause)
        self._pause = min(2 * self._pause, _MAX_PAUSE)
        return True

    def end(self) -> None:
        """Record that the database answered."""
        since, self._since = self._since, None
        if since is not None:
            self.ended = time.monotonic()
            logger.warning("%s is back after %.1f s", self._database, self.ended - since)
