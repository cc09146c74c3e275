"""A worker's lease on a trial: the attempt, its training runs and its end."""

from __future__ import annotations

import functools
import logging
from typing import Any

from hpo_plugins.coordination.attempt import Attempt
from hpo_plugins.coordination.completion import SilenceGuard, final_decision, finish
from hpo_plugins.coordination.out_of_memory import is_out_of_memory, names_memory
from hpo_plugins.coordination.process import is_terminating
from hpo_plugins.coordination.session import StudySession
from hpo_plugins.coordination.training import Training
from hpo_plugins.coordination.trial_folds import TrialFolds
from hpo_plugins.coordination.visiting import Ticket
from hpo_plugins.errors import CheckpointError, WorkerError
from hpo_plugins.records import OUT_OF_MEMORY, TrialRow, TrialState
from hpo_plugins.strategies import Decision

logger = logging.getLogger("hpo_plugins")


class TrialLease(Attempt):
    """The right to train one attempt at one trial.

    In another process, it becomes a visitor's lease. That process, such as a rank, reports to the same trial, while the
    process that has acquired the trial renews the lease.

    Args:
        session: The study, as this process knows it.
        row: The trial as it was acquired.
        resume_from: Path of the checkpoint to resume from, otherwise None.
        silence: Counts trials that end without a report; None for visitors.

    Attributes:
        training: Its training run without folds.
        folds: Its training runs in folds.
    """

    def __init__(
        self, session: StudySession, row: TrialRow, resume_from: str | None, *, silence: SilenceGuard | None = None
    ) -> None:
        """Create its training runs."""
        super().__init__(session, row, resume_from, is_visiting=silence is None)
        self._silence = silence
        self.training = Training(self, None, row.progress.start_epoch, row.progress.phases)
        self.folds = TrialFolds(self)

    # For ranks that follow this one.

    def wait_for_answer(self, fold: int | None, epoch: int) -> bool:
        """Return the answer to this process's report of that epoch, once it is made; True if the attempt is over.

        Args:
            fold: The fold, None without folds.
            epoch: The epoch.
        """

        def is_answered() -> bool:
            training = self.training if fold is None else self.folds.trainings.get(fold)
            return not self.is_held() or (training is not None and training.answered >= epoch)

        with self.session.answered:
            self.session.answered.wait_for(is_answered)
            training = self.training if fold is None else self.folds.trainings.get(fold)
            if training is None or training.answered < epoch:
                return True
            return training.stopped_at is not None and training.stopped_at <= epoch

    def wait_for_fold_end(self, fold: int) -> bool:
        """Return whether the trial trains no further fold, once this process has ended that one."""
        with self.session.answered:
            self.session.answered.wait_for(lambda: not self.is_held() or fold in self.folds.ended)
            return self.journal.must_stop or fold not in self.folds.ended

    @functools.cached_property
    def ticket(self) -> Ticket:
        """The ticket by which another process of this machine reports to the trial."""
        return Ticket.of(self)

    def before_fork(self) -> None:
        """Prepare a forked child to report to the trial; it must know the address before the fork."""
        _ = self.ticket

    def end(self) -> None:
        """End the trial as decided; see ``Trial.end``.

        Another worker continues a training run that a termination signal has stopped.
        """
        if self.journal.is_interrupted:
            self.release()
            return
        with self.session.lock, self.deferring(self.end):
            self.resume_deferred()
            if self._current_row() is None:
                return
            self.folds.end_all()
            row = self.session.history[self.number].row
            training = self.folds.current or self.training
            reason = training.why_incomplete()
            decision = final_decision(self.session, self.number, reason, is_complete=training.is_complete)
            finish(self.session, row, decision)
            self.close()
            if decision.state is TrialState.PAUSED:
                training.warn_if_paused_without_checkpoint()
            if self._silence is not None:
                self._silence.check(self.session, self.number)

    def fail(self, error: BaseException | str) -> bool:
        """End the trial with an error, or release it if the error is retried; return whether the search goes on.

        It goes on after an error that is retried, and after a trial that ran out of memory: the surrogate learns from
        it how much fits.
        """
        is_terminated = is_terminating() and isinstance(error, Exception)  # raised by what the signal interrupted
        if is_terminated or isinstance(error, CheckpointError | WorkerError):
            self.release()
            return False
        terms = self.session.terms
        text = str(error) if not isinstance(error, BaseException) else f"{type(error).__name__}: {error}"
        text = text.replace("\0", "").encode(errors="backslashreplace").decode()  # text that every storage can keep
        ran_out = is_out_of_memory(error)
        self.session.must_free_memory |= ran_out
        with self.session.lock, self.deferring(functools.partial(self.fail, error)):
            self.resume_deferred()
            if (row := self._current_row()) is None:
                return False
            if self._silence is not None:
                self._silence.disarm()
            if isinstance(error, terms.retry_on) and (not ran_out or names_memory(terms.retry_on)):
                failed_attempts = row.failed_attempts + 1
                if failed_attempts <= terms.retries:
                    logger.warning("trial %d will be retried after %s", self.number, text)
                    is_released = self.update(lease_until=None, failed_attempts=failed_attempts)
                    self.close()
                    return is_released
                text += f" (attempt {self.attempt}, and retries={terms.retries})"
            decision = (
                Decision(TrialState.FAILED, OUT_OF_MEMORY, text) if ran_out else Decision(TrialState.FAILED, text)
            )
            finish(self.session, row, decision)
            self.close()
            return ran_out and not _never_fits(self.session)

    def _current_row(self) -> TrialRow | None:
        """Write pending reports and return the trial's row, None if this attempt is no longer current."""
        if not self.is_held():
            return None
        self.journal.flush(is_patient=True)
        row = self.session.refresh()[self.number].row
        if row.attempts != self.attempt:
            self.close()
            return None
        return row

    def __reduce__(self) -> tuple[Any, ...]:
        """Become a visitor's lease in the process that unpickles it."""
        return TrialLease, (self.session.for_visitor(), self.row, self.resume_from)


MAX_UNFITTING_TRIALS = 5
"""Number of first trials that must all run out of memory before the error ends the search."""


def _never_fits(session: StudySession) -> bool:
    """Return whether several trials have run out of memory, and none has reported an epoch."""
    ended = [trial for trial in session.history if trial.row.rule == OUT_OF_MEMORY]
    return len(ended) >= MAX_UNFITTING_TRIALS and not any(trial.has_reports for trial in session.history)
