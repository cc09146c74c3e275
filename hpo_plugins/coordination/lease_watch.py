"""Find running trials whose worker has died or stopped."""

from __future__ import annotations

import math
import time

from hpo_plugins.coordination.workers import is_alive, is_dead
from hpo_plugins.records import TrialRow


class LeaseWatch:
    """Detects running trials of other processes that are no longer trained.

    An expired lease may belong to a living worker: a clock was set, a laptop slept, or the storage was unreachable. If
    the worker's process is alive on this machine, its lease is void only if it stays expired while it is watched. For
    workers of other machines, the storage's clock decides.

    Args:
        seconds: How long a lease lasts.
    """

    def __init__(self, seconds: float) -> None:
        """Watch nothing yet."""
        self._seconds = seconds
        self._expired: dict[int, tuple[float, float]] = {}  # trial: lease_until, and when its last change was seen

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
        return time.monotonic() - reachable_since > self._seconds  # during an outage no worker could renew a lease

    def _is_unchanged(self, row: TrialRow) -> bool:
        """Return whether an expired lease was not renewed while it was watched for as long as a lease lasts."""
        now, until = time.monotonic(), row.lease_until or 0.0
        known, since = self._expired.get(row.number, (math.nan, now))
        if known != until:
            since = now
        self._expired[row.number] = until, since
        return now - since > self._seconds
