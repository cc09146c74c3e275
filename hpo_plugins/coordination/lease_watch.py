"""Which running trials nobody trains any more, as far as a process can know."""

from __future__ import annotations

import math
import time

from hpo_plugins.coordination.workers import is_alive, is_dead
from hpo_plugins.records import TrialRow


class LeaseWatch:
    """Tells whether the worker of a running trial, in another process, does not train it any more.

    A lease that has expired may be that of a living worker: a clock was set, a laptop slept, the storage was away. On
    this machine, whether its process lives can be seen; then the lease counts only if it stays expired while it is
    watched. Over machines, the storage's clock decides.

    Args:
        seconds: How long a lease lasts.
    """

    def __init__(self, seconds: float) -> None:
        """Watch nothing yet."""
        self._seconds = seconds
        self._expired: dict[int, tuple[float, float]] = {}  # trial: lease_until, and since when it is seen unchanged

    def is_abandoned(self, row: TrialRow, now: float, reachable_since: float) -> bool:
        """Return whether a running trial's worker has released it, is dead, or has let the lease expire.

        Args:
            row: The trial.
            now: The storage's clock.
            reachable_since: When the storage's last outage ended, by ``time.monotonic()``.
        """
        if row.lease_until is None or is_dead(row.worker):
            return True
        if row.lease_until >= now:
            return False
        if is_alive(row.worker):
            return self._is_unchanged(row)
        return time.monotonic() - reachable_since > self._seconds  # during an outage nobody could renew a lease

    def _is_unchanged(self, row: TrialRow) -> bool:
        """Return whether an expired lease was not renewed while it was watched for as long as a lease lasts."""
        now, until = time.monotonic(), row.lease_until or 0.0
        known, since = self._expired.get(row.number, (math.nan, now))
        if known != until:
            since = now
        self._expired[row.number] = until, since
        return now - since > self._seconds
