"""The loop of a further rank: it trains the trials that rank 0 of the same script has acquired."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hpo_plugins.coordination.coordinator import Coordinator
from hpo_plugins.coordination.session import LeaseTerms, StudySession
from hpo_plugins.errors import StorageError
from hpo_plugins.execution.base import Executor, Train
from hpo_plugins.execution.loop import TrialLoop
from hpo_plugins.execution.ranks import find_rank_zero
from hpo_plugins.history import History
from hpo_plugins.storage.checkpoints import CheckpointPolicy, Checkpoints
from hpo_plugins.study.config import StudyConfig
from hpo_plugins.trial import Trial


class RankFollower(TrialLoop):
    """A loop over the trials of rank 0, which also ends them.

    Args:
        coordinator: Reads rank 0's study.
        key: Identifies the study among those of the user's script.
        rank_zero: A proxy of rank 0's ``RankZero``.
    """

    def __init__(self, coordinator: Coordinator, key: str, rank_zero: Any) -> None:
        """Start at rank 0's first trial."""
        super().__init__(coordinator, key)
        self._rank_zero = rank_zero
        self._next_index = 0

    def __iter__(self) -> Iterator[Trial]:
        """Yield the trials that rank 0 acquires, until its loop ends."""
        while True:
            try:
                trial = self._rank_zero.trial(self._key, self._next_index)
            except (OSError, EOFError):  # rank 0 has ended
                return
            self._next_index += 1
            self.history()
            if trial is None:
                return
            yield trial

    def run(self, train: Train, workers: int | Executor) -> None:  # noqa: ARG002 - rank 0 decides who else trains
        """Train rank 0's trials."""
        self.run_worker(train)

    def run_worker(self, train: Train) -> None:
        """Train rank 0's trials."""
        for trial in self:
            train(trial)

    def history(self) -> History:
        """Return the history, as last known once rank 0 has ended."""
        try:
            return super().history()
        except StorageError:
            return self.coordinator.session.history


def follow_rank_zero(config: StudyConfig, key: str, policy: CheckpointPolicy, terms: LeaseTerms) -> RankFollower | None:
    """Return the loop of a further rank, None in a process that is not one.

    Args:
        config: The study's definition, as given on this rank.
        key: Identifies the study among those of the user's script.
        policy: Which checkpoints are written and kept.
        terms: How leases are handled.
    """
    rank_zero = find_rank_zero()
    if rank_zero is None:
        return None
    session = StudySession(config, rank_zero.store(key), Checkpoints("", policy), terms)
    return RankFollower(Coordinator(session), key, rank_zero)
