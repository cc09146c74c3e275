"""One attempt at one trial: the right to train it and to write its results.

States of an attempt in this process (``Holding``):

    OVER ----- acquired, visited -----> HELD <---- trained on, or tried again ---- DEFERRED
      ^                                  | |                                          ^
      |                                  | +-- its end could not be written ----------+
      +-- ended, released, superseded ---+
                                         +-- its loop was left before it was trained --> GIVEN_BACK

An attempt is lost when another worker acquires the trial. The storage then refuses writes, and the training run is
stopped.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

from hpo_plugins.coordination.journal import Journal, JournalBase
from hpo_plugins.coordination.session import Holding, StudySession
from hpo_plugins.errors import InvalidReport, StorageError
from hpo_plugins.records import TrialRow

logger = logging.getLogger("hpo_plugins")


class AttemptBase(ABC):
    """One attempt at one trial, as its training runs see it.

    Args:
        session: The study, as this process knows it.
        row: The trial as it was acquired.
        resume_from: Path of the checkpoint to resume from, otherwise None.
        journal: Its reports and decisions.
        is_visiting: Whether another process has acquired the trial.

    Attributes:
        row: The trial as it was acquired.
        number: The trial.
        attempt: Which attempt at it, from 1.
        params: Its configuration.
        definition: Its training definition, None if the study has only one.
        objective: The objective by which the trial is judged.
        visits: Number of times that this process has begun to visit it.
    """

    def __init__(
        self,
        session: StudySession,
        row: TrialRow,
        resume_from: str | None,
        journal: JournalBase,
        *,
        is_visiting: bool,
    ) -> None:
        """Bind to the trial."""
        space = session.config.space
        self.session = session
        self.row = row
        self.number = row.number
        self.attempt = row.attempts
        self.params = space.params_of(row.params)
        self.definition = space.definition_of(row.params)
        self.objective = session.config.objective_of(self.definition)
        self.resume_from = resume_from
        self.journal = journal
        self.is_visiting = is_visiting
        self.visits = 0

    @abstractmethod
    def is_held(self) -> bool:
        """Return whether this process may write for the trial."""

    @abstractmethod
    def check_held(self, what: str) -> bool:
        """Return whether a report or another step of a training run is accepted here; warn otherwise."""

    @abstractmethod
    def check_fold(self, *, is_fold: bool) -> None:
        """Raise InvalidReport if the trial has folds and a training run is not one of them, or vice versa."""

    @abstractmethod
    def update(self, **fields: Any) -> bool:
        """Write fields of the trial's row, and return whether the lease allowed it."""


class Attempt(AttemptBase):
    """One attempt at one trial, in the process that makes it or in a visitor.

    Args:
        session: The study, as this process knows it.
        row: The trial as it was acquired.
        resume_from: Path of the checkpoint to resume from, otherwise None.
        is_visiting: Whether another process has acquired the trial.

    Attributes:
        holding: The state of the attempt in this process.
    """

    journal: Journal

    def __init__(self, session: StudySession, row: TrialRow, resume_from: str | None, *, is_visiting: bool) -> None:
        """Start without the lease."""
        journal = Journal(session, row.number, row.attempts, secrets.token_hex(4) if is_visiting else "")
        super().__init__(session, row, resume_from, journal, is_visiting=is_visiting)
        self.holding = Holding.OVER
        self._deferred_end: Callable[[], object] = self.release

    def is_held(self) -> bool:
        """Return whether this process holds the lease."""
        return self.holding is Holding.HELD

    def check_held(self, what: str) -> bool:
        """Return whether this process holds the lease or can visit it; warn otherwise.

        Raises:
            InvalidReport: The loop that yielded the trial was left before the trial was trained.
        """
        if self.holding is Holding.HELD:
            return True
        if self.holding is Holding.GIVEN_BACK:
            raise InvalidReport(
                f"Trial {self.number} was given back when the loop that yielded it was left, as by break or by "
                "next(iter(tuner)). Train it in the body of: for trial in tuner: ...; or take one trial with "
                "trial = tuner.ask(), and end it with trial.end()."
            )
        self.resume_deferred()
        if not self.is_held() and not self._visit():
            logger.warning("trial %d has ended or was taken over: this %s was ignored", self.number, what)
            return False
        return True

    def _visit(self) -> bool:
        """Visit a trial that another process has acquired; that process renews the lease."""
        if self.number in self.session.leases:
            return False
        row = self.session.refresh()[self.number].row
        if row.worker == self.session.worker or row.attempts != self.attempt or row.state.is_final:
            return False
        self.session.leases[self.number] = self
        self.holding = Holding.HELD
        self.visits += 1
        return True

    def update(self, **fields: Any) -> bool:
        """Write fields of the trial's row, and return whether the lease allowed it."""
        return self.session.apply(self.session.store.update(self.number, self.attempt, **fields))

    # The end of the attempt.

    def release(self) -> None:
        """Release the trial: the next free worker continues it, and no failed attempt is counted."""
        with self.session.lock, self.deferring(self.release):
            if self.is_held():
                self.journal.flush()
                self.update(lease_until=None)
                self.close()

    def release_quietly(self) -> None:
        """Release the trial while another error propagates; log a failure to release it."""
        try:
            self.release()
        except StorageError as error:
            logger.warning("trial %d could not be released: %s", self.number, error)

    def give_back(self) -> None:
        """Release an untrained trial after its loop exited; later reports raise InvalidReport."""
        self.release()
        self.holding = Holding.GIVEN_BACK

    def has_reported(self) -> bool:
        """Return whether this attempt has reported an epoch, here or in a visiting process."""
        return self.session.refresh()[self.number].is_reporting

    @contextlib.contextmanager
    def deferring(self, end: Callable[[], object]) -> Iterator[None]:
        """Defer an end that cannot be written; this process tries again before its next trial.

        The lease is not renewed meanwhile, so that other workers need not wait for a write that may never succeed.
        """
        try:
            yield
        except StorageError:
            self._deferred_end = end
            if self.session.leases.setdefault(self.number, self) is self:
                self.holding = Holding.DEFERRED
            raise

    def end_deferred(self) -> None:
        """Write the deferred end."""
        self.resume_deferred()
        self._deferred_end()

    def resume_deferred(self) -> None:
        """Hold a trial with a deferred end again, to end it or to continue its training."""
        if self.holding is Holding.DEFERRED:
            self.holding = Holding.HELD

    def close(self) -> None:
        """Release the lease locally."""
        self.holding = Holding.OVER
        if self.session.leases.get(self.number) is self:
            del self.session.leases[self.number]
        self.session.answered.notify_all()

    def before_fork(self) -> None:
        """Prepare a forked child to report to the trial."""

    def check_fold(self, *, is_fold: bool) -> None:
        """Raise InvalidReport if the trial has folds and a training run is not one of them, or vice versa."""
        history = self.session.history
        folds = history[self.number].row.folds
        if folds is None and history.n_folds is not None:
            raise InvalidReport(
                f"The trials of this study are trained in {history.n_folds} folds, but trial {self.number} is trained "
                "without. Loop over trial.folds(n), or use another name= for a new study."
            )
        if folds is not None and not is_fold:
            raise InvalidReport(
                f"Trial {self.number} is trained in {folds} folds, but this training has the trial instead of a "
                "fold. Write TrialCallback(fold) or fold.report(...) in the loop over trial.folds(n)."
            )
        if is_fold and self.is_visiting and self.session.config.strategy.pauses:
            raise InvalidReport(
                f"Folds that train in processes of their own cannot be paused, but the strategy has pause=True. Train "
                f"the folds of trial {self.number} one after another, or choose pause=False."
            )
