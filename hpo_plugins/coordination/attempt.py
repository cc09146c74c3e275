"""One attempt at one trial: the right to train it, and to write what was trained.

A lease is lost when another worker acquires the trial: writes are then refused, and the training is told to stop.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
from collections.abc import Callable, Iterator
from typing import Any

from hpo_plugins.coordination.journal import Journal
from hpo_plugins.coordination.session import StudySession
from hpo_plugins.errors import InvalidReport, StorageError
from hpo_plugins.records import TrialRow

logger = logging.getLogger("hpo_plugins")


class Attempt:
    """One attempt at one trial, as this process makes it or visits it.

    Args:
        session: The study, as this process knows it.
        row: The trial as it was acquired.
        resume_from: Path of the checkpoint to resume from, else None.
        is_visiting: Whether another process has acquired the trial.

    Attributes:
        row: The trial as it was acquired.
        number: The trial.
        attempt: Which attempt at it, from 1.
        params: Its configuration.
        definition: Its training definition, None if the study has only one.
        objective: The objective by which the trial is judged.
        journal: What was reported, and what was decided.
        is_over: Whether it was ended or released here.
        visits: How often this process has begun to visit it.
    """

    def __init__(self, session: StudySession, row: TrialRow, resume_from: str | None, *, is_visiting: bool) -> None:
        """Start the attempt's clock."""
        space = session.config.space
        self.session = session
        self.row = row
        self.number = row.number
        self.attempt = row.attempts
        self.params = space.params_of(row.params)
        self.definition = space.definition_of(row.params)
        self.objective = session.config.objective_of(self.definition)
        self.resume_from = resume_from
        self.is_visiting = is_visiting
        self.journal = Journal(session, row.number, row.attempts, secrets.token_hex(4) if is_visiting else "")
        self.is_over = False
        self.visits = 0
        self._is_given_back = False

    # The lease.

    def is_held(self) -> bool:
        """Return whether this process holds the lease."""
        return self.session.leases.get(self.number) is self

    def check_held(self, what: str) -> bool:
        """Return whether this process holds the lease, or takes it as a visitor; warn otherwise.

        Raises:
            InvalidReport: The loop that yielded the trial was left before it was trained.
        """
        if self._is_given_back:
            raise InvalidReport(
                f"Trial {self.number} was given back when the loop that yielded it was left, as by break or by "
                "next(iter(tuner)). Train it in the body of: for trial in tuner: ...; or take one trial with "
                "trial = tuner.ask(), and end it with trial.end()."
            )
        self.take_back()
        if not self.is_held() and not self._visit():
            logger.warning("trial %d has ended or was taken over: this %s was ignored", self.number, what)
            return False
        return True

    def _visit(self) -> bool:
        if self.number in self.session.leases:
            return False
        row = self.session.refresh()[self.number].row
        if row.worker == self.session.worker or row.attempts != self.attempt or row.state.is_final:
            return False
        self.session.leases[self.number] = self  # not renewed: the process that acquired the trial does that
        self.visits += 1
        return True

    def update(self, **fields: Any) -> bool:
        """Write fields of the trial's row, and return whether the lease allowed it."""
        return self.session.apply(self.session.store.update(self.number, self.attempt, **fields))

    def release(self) -> None:
        """Give the trial back: the next worker that asks continues it, and no failed attempt is counted."""
        with self.session.lock, self.deferring(self.release):
            if self.is_held():
                self.journal.flush()
                self.update(lease_until=None)
                self.forget()

    def release_quietly(self) -> None:
        """Give the trial back while another error is under way: a failure to do so is logged."""
        try:
            self.release()
        except StorageError as error:
            logger.warning("trial %d could not be released: %s", self.number, error)

    def give_back(self) -> None:
        """Release the trial because its loop was left before it was trained; training it later is an error."""
        self.release()
        self._is_given_back = True

    def has_reported(self) -> bool:
        """Return whether this attempt has reported an epoch, here or in a visiting process."""
        return self.session.refresh()[self.number].is_reporting

    @contextlib.contextmanager
    def deferring(self, end: Callable[[], object]) -> Iterator[None]:
        """Hold the trial no longer if its end cannot be written: this process tries again before its next trial.

        The lease is not renewed meanwhile: what cannot be written must not keep other workers waiting for ever.
        """

        def end_later() -> None:
            self.take_back()
            end()

        try:
            yield
        except StorageError:
            self.forget()
            self.session.unended[self.number] = end_later
            raise

    def take_back(self) -> None:
        """Hold the trial again whose end could not be written, to end it or to train it on."""
        if self.number in self.session.unended and self.number not in self.session.leases:
            del self.session.unended[self.number]
            self.session.leases[self.number] = self
            self.is_over = False

    def forget(self) -> None:
        """Hold the lease no longer."""
        self.is_over = True
        self.session.leases.pop(self.number, None)

    def before_fork(self) -> None:
        """Let a forked child report to the trial."""

    def check_fold(self, *, is_fold: bool) -> None:
        """Raise InvalidReport if the trial has folds and a training is not one of them, or the other way round."""
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
