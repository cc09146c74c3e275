"""The loop of a further rank: it trains the trials that rank 0 of the same script has acquired.

Such a rank writes nothing. It runs the same training run as rank 0, reports what rank 0 reports, and gets the same
answers.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from hpo_plugins.coordination.attempt import AttemptBase
from hpo_plugins.coordination.journal import JournalBase
from hpo_plugins.coordination.session import LeaseTerms, StudySession
from hpo_plugins.coordination.training import Training
from hpo_plugins.coordination.trial_folds import FoldTrainings
from hpo_plugins.errors import InvalidArgument, InvalidReport, StorageError
from hpo_plugins.execution.base import Executor, Train
from hpo_plugins.execution.ranks import find_distant_rank_zero, find_rank_zero
from hpo_plugins.execution.remote_ranks import RemoteRankZero
from hpo_plugins.history import History
from hpo_plugins.storage.checkpoints import CheckpointPolicy, Checkpoints
from hpo_plugins.study.config import StudyConfig
from hpo_plugins.trial import TrainedTrial, Trial


class RankFollower:
    """The loop over the trials of rank 0, which acquires and ends them.

    Args:
        session: Rank 0's study.
        key: Identifies the study among those of the user's script.
        rank_zero: A proxy of rank 0's ``RankZero``.
        first: Index of the first trial to follow.
    """

    def __init__(self, session: StudySession, key: str, rank_zero: Any, first: int) -> None:
        """Follow rank 0 from a trial on."""
        self.session = session
        self._key = key
        self._rank_zero = rank_zero
        self._next_index = first

    def __iter__(self) -> Iterator[Trial]:
        """Yield the trials that rank 0 acquires, until its loop ends."""
        try:
            while (lease := self._next_lease()) is not None:
                yield Trial(lease)
        finally:
            with contextlib.suppress(OSError, EOFError):  # rank 0 has ended
                self._rank_zero.leave(self._key)

    def _next_lease(self) -> FollowingLease | None:
        """Return the lease of the next trial, None once rank 0's loop has ended."""
        index, self._next_index = self._next_index, self._next_index + 1
        try:
            trial: Trial | None = self._rank_zero.trial(self._key, index)
            self.history()
            if trial is None:
                return None
            return FollowingLease(trial.plugin.visit(), _RankZeroTrial(self._rank_zero, self._key, index))
        except (OSError, EOFError, StorageError):  # rank 0 has ended
            return None

    def run(
        self,
        train: Train,
        workers: int | Executor,  # noqa: ARG002 - rank 0 decides who else trains
        devices_per_worker: int | None = None,  # noqa: ARG002 - the same
    ) -> None:
        """Train rank 0's trials."""
        for trial in self:
            train(trial)

    def acquire(self) -> Trial | None:
        """Raise InvalidArgument: only rank 0 knows what it asks for."""
        raise InvalidArgument(
            "tuner.ask() works on rank 0 only. Loop over the tuner: for trial in tuner: ..., on every rank."
        )

    def abandon_acquisition(self) -> None:
        """Do nothing: rank 0 acquires."""

    def enqueue(self, params: Mapping[str, Any]) -> None:
        """Do nothing: rank 0 enqueues."""

    def stop(self) -> None:
        """Do nothing beyond this rank: rank 0 stops the search."""
        self.session.stop()

    def history(self) -> History:
        """Return the history; after rank 0 has ended, its last known state."""
        try:
            return self.session.refresh()
        except StorageError:
            return self.session.history


class _RankZeroTrial:
    """Rank 0's answers about one trial.

    Args:
        rank_zero: A proxy of rank 0's ``RankZero``.
        key: Identifies the study.
        index: Which of its trials.
    """

    def __init__(self, rank_zero: Any, key: str, index: int) -> None:
        """Ask nothing yet."""
        self._rank_zero = rank_zero
        self._key = key
        self._index = index

    def must_stop(self, fold: int | None, epoch: int) -> bool:
        """Return rank 0's answer to a report; True once rank 0 has ended."""
        try:
            return bool(self._rank_zero.must_stop(self._key, self._index, fold, epoch))
        except (OSError, EOFError):
            return True

    def stops_after_fold(self, fold: int) -> bool:
        """Return whether rank 0 trains no further fold; True once rank 0 has ended."""
        try:
            return bool(self._rank_zero.stops_after_fold(self._key, self._index, fold))
        except (OSError, EOFError):
            return True


class FollowingLease(AttemptBase):
    """The attempt of rank 0 as a further rank follows it.

    Args:
        lease: A visitor's lease on rank 0's trial.
        rank_zero: Gives rank 0's answers.
    """

    def __init__(self, lease: TrainedTrial, rank_zero: _RankZeroTrial) -> None:
        """Start where rank 0 has started."""
        super().__init__(lease.session, lease.row, lease.resume_from, _RankZeroJournal(rank_zero), is_visiting=True)
        self.training = Training(self, None, lease.row.progress.start_epoch, lease.row.progress.phases)
        self.folds = _RankZeroFolds(self, rank_zero)
        self.ticket = lease.ticket

    def is_held(self) -> bool:
        """Return False: nothing is saved or ended here."""
        return False

    def check_held(self, what: str) -> bool:  # noqa: ARG002
        """Return True: rank 0 decides which reports are ignored."""
        return True

    def check_fold(self, *, is_fold: bool) -> None:
        """Do nothing: rank 0 checks the same training run."""

    def update(self, **fields: Any) -> bool:  # noqa: ARG002
        """Write nothing."""
        return True

    def end(self) -> None:
        """Do nothing: rank 0 ends the trial."""

    def fail(self, error: BaseException | str) -> bool:  # noqa: ARG002
        """Do nothing: rank 0 ends the trial."""
        return False

    def release_quietly(self) -> None:
        """Do nothing: rank 0 releases the trial."""


class _RankZeroJournal(JournalBase):
    """Rank 0's answers to the reports that this rank makes, too."""

    def __init__(self, rank_zero: _RankZeroTrial) -> None:
        super().__init__()
        self._rank_zero = rank_zero

    def report(
        self,
        fold: int | None,
        epoch: int,
        value: float | None,  # noqa: ARG002
        metrics: dict[str, float],  # noqa: ARG002
        seconds: float,  # noqa: ARG002
    ) -> None:
        """Wait for rank 0's answer to the same report."""
        if self._rank_zero.must_stop(fold, epoch):
            self.must_stop |= fold is None
            self.complete_folds |= set() if fold is None else {fold}

    def record(self, metrics: dict[str, float]) -> None:
        """Write nothing: rank 0 records the same metrics."""

    def refuse(self, error: InvalidReport) -> None:
        """Write nothing: rank 0 refuses the same report."""


class _RankZeroFolds(FoldTrainings):
    """The folds that rank 0 trains."""

    def __init__(self, lease: AttemptBase, rank_zero: _RankZeroTrial) -> None:
        super().__init__(lease)
        self._rank_zero = rank_zero

    def declare(self, n: int) -> None:
        """Do nothing: rank 0 declares the same folds."""

    def end(self, index: int) -> None:
        """Ask whether rank 0 trains another fold."""
        if self._rank_zero.stops_after_fold(index):
            self._attempt.journal.must_stop = True


def follow_rank_zero(
    config: StudyConfig, key: str, policy: CheckpointPolicy, terms: LeaseTerms, storage: object, name: str
) -> RankFollower | None:
    """Return the loop of a further rank, None in any other process.

    Args:
        config: The study's definition, as given on this rank.
        key: Identifies the study among those of the user's script.
        policy: Which checkpoints are written and kept.
        terms: How leases are handled.
        storage: The storage, as the user has given it.
        name: The study.

    Raises:
        WorkerError: Rank 0 does not search, or cannot be found.
        StudyMismatch: Rank 0, on another machine, defines the study otherwise.
    """
    link = find_distant_rank_zero(storage, name)
    rank_zero = find_rank_zero() if link is None else RemoteRankZero(link, config, policy, terms)
    if rank_zero is None:
        return None
    store, first = rank_zero.join(key)
    session = StudySession(config, store, Checkpoints("", policy), terms)
    return RankFollower(session, key, rank_zero, first)
