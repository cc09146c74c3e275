"""What a worker holds of the trial that it trains: the attempt, its trainings, and how it ends."""

from __future__ import annotations

import functools
import logging
from typing import Any

from hpo_plugins.coordination.attempt import Attempt
from hpo_plugins.coordination.completion import SilenceGuard, final_decision, finish
from hpo_plugins.coordination.session import StudySession
from hpo_plugins.coordination.training import Training
from hpo_plugins.coordination.trial_folds import TrialFolds
from hpo_plugins.coordination.visiting import Ticket
from hpo_plugins.errors import CheckpointError, WorkerError
from hpo_plugins.records import TrialRow, TrialState
from hpo_plugins.strategies import Decision

logger = logging.getLogger("hpo_plugins")


class TrialLease(Attempt):
    """The right to train one attempt at one trial.

    In another process, it becomes the lease of a visitor: that process, such as a rank, reports to the same trial
    while the one that has acquired it keeps the lease alive.

    Args:
        session: The study, as this process knows it.
        row: The trial as it was acquired.
        resume_from: Path of the checkpoint to resume from, else None.
        silence: Counts trials that end without a report; None for visitors.

    Attributes:
        training: Its training without folds.
        folds: Its trainings in folds.
    """

    def __init__(
        self, session: StudySession, row: TrialRow, resume_from: str | None, *, silence: SilenceGuard | None = None
    ) -> None:
        """Prepare its trainings."""
        super().__init__(session, row, resume_from, is_visiting=silence is None)
        self._silence = silence
        self.training = Training(self, None, row.start_epoch, row.phases)
        self.folds = TrialFolds(self)

    @functools.cached_property
    def ticket(self) -> Ticket:
        """What another process of this machine needs to report to the trial."""
        return Ticket.of(self)

    def before_fork(self) -> None:
        """Let a forked child report to the trial: the address must be known before."""
        _ = self.ticket

    def end(self) -> None:
        """End the trial as it was decided; see ``Trial.end``."""
        with self.session.lock, self.deferring(self.end):
            self.take_back()
            if self._close() is None:
                return
            self.folds.end_all()
            row = self.session.history[self.number].row
            training = self.folds.current or self.training
            reason = training.why_incomplete()
            decision = final_decision(self.session, self.number, reason, is_complete=training.is_complete)
            finish(self.session, row, decision)
            self.forget()
            if self._silence is not None:
                self._silence.check(self.session, self.number)

    def fail(self, error: BaseException | str) -> bool:
        """End the trial with an error, or release it if the error is to be retried; return whether it was released."""
        if isinstance(error, CheckpointError | WorkerError):
            self.release()
            return False
        terms = self.session.terms
        text = str(error) if not isinstance(error, BaseException) else f"{type(error).__name__}: {error}"
        text = text.replace("\0", "").encode(errors="backslashreplace").decode()  # what every storage can keep
        with self.session.lock, self.deferring(functools.partial(self.fail, error)):
            self.take_back()
            if (row := self._close()) is None:
                return False
            if self._silence is not None:
                self._silence.disarm()
            if isinstance(error, terms.retry_on):
                failed_attempts = row.failed_attempts + 1
                if failed_attempts <= terms.retries:
                    logger.warning("trial %d will be retried after %s", self.number, text)
                    is_released = self.update(lease_until=None, failed_attempts=failed_attempts)
                    self.forget()
                    return is_released
                text += f" (attempt {self.attempt}, and retries={terms.retries})"
            finish(self.session, row, Decision(TrialState.FAILED, text))
            self.forget()
            return False

    def _close(self) -> TrialRow | None:
        """Write what is waiting and return the trial's row, None if this attempt is no longer the current one."""
        if not self.is_held():
            return None
        self.journal.flush()
        row = self.session.refresh()[self.number].row
        if row.attempts != self.attempt:
            self.forget()
            return None
        return row

    def __reduce__(self) -> tuple[Any, ...]:
        """Become a visitor's lease in the process that unpickles it."""
        return TrialLease, (self.session.for_visitor(), self.row, self.resume_from)
