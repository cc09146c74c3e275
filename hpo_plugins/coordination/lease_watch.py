"""Which running trials nobody trains any more, as far as a process can know."""

from __future__ import annotations

import math
import time
import weakref
from collections.abc import Mapping
from typing import Any, Protocol

from hpo_plugins.coordination.heartbeat import is_alive, is_dead, is_here
from hpo_plugins.history import History
from hpo_plugins.records import TrialRow
from hpo_plugins.storage import StudyStore


class LeaseHolder(Protocol):
    """A session, as far as it is asked here."""

    worker: str
    history: History
    store: StudyStore
    lock: Any
    terms: Any

    @property
    def leases(self) -> Mapping[int, Any]:
        """The leases that it holds, by trial."""


class LeaseWatch:
    """Tells whether a running trial that this session does not hold is abandoned.

    A lease that has expired may be that of a living worker: a clock was set, a laptop slept, the storage was away. On
    this machine, whether its process lives can be seen; then the lease counts only if it stays expired while it is
    watched. Over machines, the storage's clock decides.
    """

    def __init__(self) -> None:
        """Watch nothing yet."""
        self._expired: dict[int, tuple[float, float]] = {}  # trial: lease_until, and since when it is seen unchanged

    def is_abandoned(self, row: TrialRow, session: LeaseHolder) -> bool:
        """Return whether a running trial's worker has released it, or does not train it any more.

        Args:
            row: The trial.
            session: Who asks; it does not hold the trial.
        """
        if row.lease_until is None or is_dead(row.worker):
            return True
        if row.worker == session.worker:  # an interrupt came between its acquisition and its lease
            return True
        if is_here(row.worker):  # of an earlier tuner, such as before a cell of a notebook was run again
            return not _is_held(row)
        if row.lease_until >= session.history.now:
            return False
        if is_alive(row.worker):
            return self._is_expired_for(session.terms.seconds, row)
        # While the storage was unreachable, nobody could renew a lease.
        return bool(time.monotonic() - session.store.reachable_since > session.terms.seconds)

    def _is_expired_for(self, seconds: float, row: TrialRow) -> bool:
        """Return whether an expired lease was not renewed while it was watched for some seconds."""
        now, until = time.monotonic(), row.lease_until or 0.0
        known, since = self._expired.get(row.number, (math.nan, now))
        if known != until:
            since = now
        self._expired[row.number] = until, since
        return now - since > seconds


_sessions: weakref.WeakValueDictionary[str, LeaseHolder] = weakref.WeakValueDictionary()


def register(session: LeaseHolder) -> None:
    """Make a session of this process known by its worker's name."""
    _sessions[session.worker] = session


def _is_held(row: TrialRow) -> bool:
    """Return whether another session of this process holds a trial, or may be about to."""
    session = _sessions.get(row.worker)
    if session is None:
        return False
    if not session.lock.acquire(blocking=False):  # it may be acquiring the trial now
        return True
    try:
        return row.number in session.leases
    finally:
        session.lock.release()
