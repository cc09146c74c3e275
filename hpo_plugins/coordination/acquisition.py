"""Acquire trials while other processes acquire and report, too."""

from __future__ import annotations

import logging
import random
import time

from hpo_plugins.coordination.completion import SilenceGuard
from hpo_plugins.coordination.out_of_memory import free_memory
from hpo_plugins.coordination.process import end_if_told
from hpo_plugins.coordination.scheduling import StaleView, is_acquired, next_assignment
from hpo_plugins.coordination.session import StudySession
from hpo_plugins.coordination.trial_lease import TrialLease

logger = logging.getLogger("hpo_plugins")

_MAX_REFUSED = 2
"""Refusals in a row after which a process decides in exclusive mode, where no other process writes. Each acquisition
invalidates all decisions that other processes are making, so some of many processes could be refused for minutes.
"""
_MAX_EXCLUSIVE = 0.02
"""Maximum decision time (s) for exclusive mode, which blocks other processes' writes."""
_MAX_PAUSE = 0.2


class _Refused:
    """Another process has acquired a trial first."""


_REFUSED = _Refused()


class Acquisition:
    """Acquires trials of one study for this process.

    Args:
        session: This process's view of the study.
    """

    def __init__(self, session: StudySession) -> None:
        """Read nothing yet."""
        self.session = session
        self._silence = SilenceGuard()
        self._decision_seconds = 0.0  # of the last decision

    def acquire(self) -> TrialLease | None:
        """Return a lease on the next trial to train, or None if there is nothing to train now.

        Raises:
            CheckpointError: The storage names a checkpoint outside of the study's folder; nothing was changed.
            MetricNotFound: The training runs end without reporting the objective's metric.
            StorageError: The storage cannot be reached.
            SystemExit: This process received a termination signal, and this is its main thread.
        """
        session, refused = self.session, 0
        if end_if_told():
            return None
        self._silence.raise_error()
        if session.must_free_memory:  # here, since the exception is no longer handled
            session.must_free_memory = False
            free_memory()
        while True:
            is_exclusive = refused >= _MAX_REFUSED and self._decision_seconds < _MAX_EXCLUSIVE
            with session.lock:
                session.write_ends()
                found = session.exclusively(self._acquire) if is_exclusive else self._acquire()
                if isinstance(found, int):
                    return self._lease(found)
            if found is None:
                end_if_told()  # a signal that came meanwhile, and that Python has dropped
                return None
            # Another process has acquired a trial in the meantime. Decide again, after a random delay.
            refused += 1
            time.sleep(random.random() * min(self._decision_seconds, _MAX_PAUSE))  # noqa: S311

    def _acquire(self) -> int | _Refused | None:
        """Return the acquired trial, None if there is none to train now, or a sign that another process was faster."""
        session = self.session
        history = session.refresh()
        if session.is_full():
            return None
        started = session.clock()
        try:
            assignment = next_assignment(session)
        except StaleView:
            return _REFUSED
        self._decision_seconds = session.clock() - started
        if assignment is None:
            return None
        written = session.store.acquire(assignment, history.acquisitions)
        is_ours = session.apply(written, is_acquisition=True) or is_acquired(session, assignment)
        return assignment.number if is_ours else _REFUSED

    def _lease(self, number: int) -> TrialLease:
        row = self.session.history[number].row
        logger.debug("trial %d, attempt %d: %s", number, row.attempts, row.params)
        relative = row.progress.checkpoint
        path = None if relative is None else str(self.session.checkpoints.path(number, relative))
        lease = TrialLease(self.session, row, path, silence=self._silence)
        self.session.hold(lease)
        return lease
