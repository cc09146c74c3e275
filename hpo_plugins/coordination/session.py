"""How a study stands, as one process knows it: the history in step with the storage, and the trials held here."""

from __future__ import annotations

import math
import threading
import time

from hpo_plugins.coordination import heartbeat as lease
from hpo_plugins.coordination.held import Held
from hpo_plugins.history import History
from hpo_plugins.records import TrialRow, TrialState
from hpo_plugins.storage import StudyStore
from hpo_plugins.storage.checkpoints import Checkpoints
from hpo_plugins.study.config import Study

LONG_AGO = 1.0
"""A lease that ran out long ago, by any clock; 0 is one that was given back."""


class Standing:
    """What the decisions about a study's trials are made on.

    Args:
        study: The definition.
        store: Where the study is kept.
        checkpoints: Where trials keep their checkpoints.
        worker: This worker's name.
        lease_seconds: How long a worker may be silent before its trials go to others.

    Attributes:
        history: The history as it was when the storage was last asked.
        held: What is held here, by trial.
        stopped: Whether this process is to hand out no more.
        lock: Keeps the threads of this process apart; whoever decides holds it.
    """

    def __init__(
        self, study: Study, store: StudyStore, checkpoints: Checkpoints, *, worker: str, lease_seconds: float
    ) -> None:
        """Read nothing yet: the first question brings the history up to date."""
        self.study = study
        self.store = store
        self.checkpoints = checkpoints
        self.worker = worker
        self.lease_seconds = lease_seconds
        self.history = study.new_history(checkpoints.root)
        self.held: dict[int, Held] = {}
        self.stopped = False
        self.lock = threading.RLock()
        self._read_at = time.perf_counter()

    def read(self) -> History:
        """Return the history, in step with the storage."""
        with self.lock:
            self.history.apply(self.store.changes(self.history.revision))
            self._read_at = time.perf_counter()
            return self.history

    def metric(self, number: int) -> str:
        """Return the name of the metric by which a trial is judged."""
        definition = self.study.space.definition_of(self.history[number].row.params)
        return self.study.objective_of(definition).metric

    # The end of the search.

    def end_of_search(self) -> str | None:
        """Return why no new trial will be started, in words, or None while there will be."""
        limit = self.study.trial_limit
        if self.stopped:
            return "stop() was called"
        if (reason := self.enough()) is not None:
            return reason
        if limit is None or len(self.history) < limit:
            return None
        if limit == self.study.space.size:
            return f"space exhausted: all {limit} configurations have been tried"
        return f"max_trials={limit} have been started"

    def enough(self) -> str | None:
        """Return the completion criterion that is met, or that the time is used up."""
        return self.study.enough(self.history, self._runtime())

    def out_of_time(self) -> str | None:
        """Return that the time is used up, in words, or None."""
        return self.study.out_of_time(self._runtime())

    def _runtime(self) -> float:
        """Return how long the study has been worked on, in seconds; it goes on while a trial is held here."""
        return self.history.runtime + (time.perf_counter() - self._read_at if self.held else 0.0)

    # Who trains what.

    def running(self) -> list[int]:
        """Return the trials that are trained now: held here, or by a worker elsewhere whose lease runs."""
        rows = [self.history[number].row for number in sorted(self.history.unfinished)]
        return [
            row.number
            for row in rows
            if row.state is TrialState.RUNNING and (row.number in self.held or not self.is_let_go(row))
        ]

    def is_full(self) -> bool:
        """Return whether as many trials are trained as may be at once."""
        most = self.study.max_parallel
        return most is not None and len(self.running()) >= most

    def is_let_go(self, row: TrialRow) -> bool:
        """Return whether a running trial's worker gave it back or is gone."""
        if row.lease_until in (0, LONG_AGO) or lease.is_gone(row.worker):
            return True
        # While the storage could not be reached, nobody could renew a lease.
        was_away = time.monotonic() - self.store.reachable_since <= self.lease_seconds
        return row.lease_until < self.history.now and not was_away

    def lease(self) -> float:
        """Return for how many seconds a trial is handed out to this worker."""
        return self.lease_seconds if self.store.outlives_process else math.inf
