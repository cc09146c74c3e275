"""Wait for a database server that is away for a while: an outage costs a pause, not a result.

Waiting is bounded by the length of the outage, not of a call: when a server has been away for too long, calls fail
at once again, and the first that succeeds ends the outage. Writing again what may have been written already is
harmless: a report counts once an epoch, and who was refused a hand-out looks whether it is theirs.
"""

from __future__ import annotations

import functools
import logging
import math
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar, cast

from hpo_plugins.errors import StorageError

logger = logging.getLogger("hpo_plugins")

PATIENCE_SECONDS = 300.0
"""How long an outage is waited out."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 2.0

Method = TypeVar("Method", bound=Callable[..., Any])


class Unreachable(StorageError):
    """The server is away, or refuses for the moment."""


class Outage:
    """The times at which one database could not be reached, as this process saw them.

    Attributes:
        ended: When the last outage was over, by ``time.monotonic()``.
    """

    def __init__(self, database: str) -> None:
        """Start with none."""
        self.ended = -math.inf
        self._database = database
        self._since: float | None = None
        self._pause = _FIRST_PAUSE

    def wait(self, error: Unreachable) -> bool:
        """Wait a little and return True, or return False when the outage has lasted too long."""
        now = time.monotonic()
        if self._since is None:
            self._since, self._pause = now, _FIRST_PAUSE
            logger.warning("waiting for up to %.0f s: %s", PATIENCE_SECONDS, error)
        if now - self._since > PATIENCE_SECONDS:
            return False
        threading.Event().wait(self._pause)
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        return True

    def is_over(self) -> None:
        """Note that the database answered."""
        if self._since is not None:
            self.ended = time.monotonic()
            logger.warning("%s is back after %.1f s", self._database, self.ended - self._since)
            self._since = None


def patient(method: Method) -> Method:
    """Let a method of a store try again while the database is away."""

    @functools.wraps(method)
    def call(self: Any, *arguments: Any, **keywords: Any) -> Any:
        outage: Outage = self._storage.outage
        while True:
            try:
                result = method(self, *arguments, **keywords)
            except Unreachable as error:
                if not outage.wait(error):
                    raise
            else:
                outage.is_over()
                return result

    return cast("Method", call)
