"""Trials that report nothing for longer than a trial may take: the process that supervises their workers ends them."""

from __future__ import annotations

from collections.abc import Collection

from hpo_plugins.coordination.completion import finish
from hpo_plugins.coordination.session import StudySession
from hpo_plugins.records import TrialState
from hpo_plugins.strategies import Decision
from hpo_plugins.study.config import TRIAL_LIMIT_RULE

GRACE_SECONDS = 30.0
"""How much longer than ``max_trial_seconds`` a trial may report nothing, such as while it writes a checkpoint."""


class SilenceWatch:
    """Ends silent trials of some workers.

    Args:
        session: The study, as the supervising process knows it.
    """

    def __init__(self, session: StudySession) -> None:
        """Know of no trial yet."""
        self._session = session
        self._looked_at = 0.0
        self._known: dict[int, tuple[tuple[int, int], float]] = {}  # by trial: attempt and reports, and since when

    def end_silent(self, processes: Collection[str]) -> set[str]:
        """End trials that have been silent for too long as FAILED, and return the processes of their workers.

        Args:
            processes: The names of the processes whose workers are watched.
        """
        session, limit = self._session, self._session.config.max_trial_seconds
        now = session.clock()
        if limit is None or now - self._looked_at < min(1.0, limit):
            return set()
        self._looked_at = now
        with session.lock:
            history = session.refresh()
            known: dict[int, tuple[tuple[int, int], float]] = {}
            overdue = []
            for number in history.running:
                trial = history[number]
                state = trial.row.attempts, sum(fold.version for fold in trial.folds)
                before = self._known.get(number, (None, now))
                known[number] = state, (before[1] if before[0] == state else now)
                process = trial.row.worker.rpartition("-")[0]
                is_held = trial.row.lease_until is not None and trial.row.decision is None
                if process in processes and is_held and now - known[number][1] > limit + GRACE_SECONDS:
                    overdue.append((trial.row, process))
            self._known = known
            for row, _ in overdue:
                silent = f"no report for {now - known[row.number][1]:.0f} seconds, and max_trial_seconds={limit:g}"
                reason = f"{silent}; its worker was ended"
                finish(session, row, Decision(TrialState.FAILED, TRIAL_LIMIT_RULE, reason))
            return {process for _, process in overdue}
