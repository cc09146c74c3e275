"""One attempt at one trial: what the worker that trains it may do, and all that is known of the attempt.

The life of an attempt: acquired, it reports epochs and is judged after each; it may be saved; it is ended, fails, or
is released for another worker. A lease is lost when another worker acquires the trial: writes are then refused, and
the training is told to stop.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import secrets
from collections.abc import Callable, Iterator
from typing import Any

from hpo_plugins.coordination.completion import SilenceGuard, final_decision, finish
from hpo_plugins.coordination.judging import judge_epoch
from hpo_plugins.coordination.session import StudySession
from hpo_plugins.coordination.training import Training
from hpo_plugins.coordination.trial_folds import TrialFolds
from hpo_plugins.coordination.visiting import Ticket
from hpo_plugins.errors import CheckpointError, InvalidReport, StorageError, WorkerError
from hpo_plugins.records import ReportRow, TrialRow, TrialState
from hpo_plugins.strategies import Decision

logger = logging.getLogger("hpo_plugins")


class TrialLease:
    """The right to train one attempt at one trial.

    In another process, it becomes the lease of a visitor: that process, such as a rank, reports to the same trial
    while the one that has acquired it keeps the lease alive.

    Args:
        session: The study, as this process knows it.
        row: The trial as it was acquired.
        resume_from: Path of the checkpoint to resume from, else None.
        silence: Counts trials that end without a report; None for visitors.

    Attributes:
        row: The trial as it was acquired.
        number: The trial.
        attempt: Which attempt at it, from 1.
        params: Its configuration.
        definition: Its training definition, None if the study has only one.
        objective: The objective by which the trial is judged.
        training: Its training without folds.
        folds: Its trainings in folds.
        is_refused: Whether a report was refused, so that it ends FAILED.
        must_stop: Whether the trial is to stop.
        decision: The state that the trial takes when the attempt ends, None while undecided.
        is_visiting: Whether another process has acquired the trial.
        is_over: Whether it was ended or released here.
    """

    def __init__(
        self, session: StudySession, row: TrialRow, resume_from: str | None, *, silence: SilenceGuard | None = None
    ) -> None:
        """Start the attempt's clock."""
        space = session.config.space
        self.session = session
        self.number = row.number
        self.attempt = row.attempts
        self.params = space.params_of(row.params)
        self.definition = space.definition_of(row.params)
        self.objective = session.config.objective_of(self.definition)
        self.resume_from = resume_from
        self.must_stop = False
        self.decision: TrialState | None = None
        self.is_visiting = silence is None
        self.is_over = False
        self.row = row
        self._silence = silence
        self._writer = secrets.token_hex(4) if self.is_visiting else ""
        self.is_refused = False
        self._is_given_back = False
        self._unwritten: list[tuple[ReportRow, float | None]] = []  # reports with the objective's value, NaN included
        self._unwritten_decision: Decision | None = None
        self.training = Training(self, row.fold, row.start_epoch, row.phases)
        self.folds = TrialFolds(self, row)

    @functools.cached_property
    def ticket(self) -> Ticket:
        """What another process of this machine needs to report to the trial."""
        return Ticket.of(self)

    def before_fork(self) -> None:
        """Let a forked child report to the trial: the address must be known before."""
        _ = self.ticket

    def describe(self, training: Training) -> str:
        """Return what a training is called in messages."""
        return f"fold {training.fold} of trial {self.number}" if training.is_fold else f"trial {self.number}"

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
        self._take_back()
        if not self.is_held() and not self._visit():
            logger.warning("trial %d has ended or was taken over: this %s was ignored", self.number, what)
            return False
        return True

    def _visit(self) -> bool:
        if self.number in self.session.leases:
            return False
        trial = self.session.refresh()[self.number]
        row = trial.row
        if row.worker == self.session.worker or row.attempts != self.attempt or row.state.is_final:
            return False
        self.session.leases[self.number] = self  # not renewed: the process that acquired the trial does that
        for training in (self.training, *self.folds.trainings.values()):
            training.follow(trial.last_epoch_of(training.fold), 0 if training.is_fold else row.phase)
        return True

    def update(self, **fields: Any) -> bool:
        """Write fields of the trial's row, and return whether the lease allowed it."""
        return self.session.apply(self.session.store.update(self.number, self.attempt, **fields))

    def lose(self) -> None:
        """Stop the training: another worker has acquired the trial."""
        logger.warning("trial %d was taken over by another worker, and stops here", self.number)
        self._unwritten.clear()
        self.must_stop = True

    # Reports.

    def write_report(
        self, training: Training, epoch: int, value: float | None, metrics: dict[str, float], seconds: float
    ) -> None:
        """Write a report and judge it; if the storage fails, the next report writes both."""
        stored = value if value is not None and math.isfinite(value) else None
        row = ReportRow(self.number, self.attempt, epoch, stored, metrics, seconds, training.fold, self._writer)
        self._unwritten.append((row, value))
        try:
            self.write_reports()
        except StorageError as error:  # a training of hours must not end for this
            logger.warning("trial %d: epoch %d is not written yet: %s", self.number, epoch, error)

    def write_reports(self) -> None:
        """Write the reports that are waiting, oldest first, and judge each epoch; then a decision that is waiting."""
        while self._unwritten:
            report, value = self._unwritten[0]
            revision = self.session.store.report(report)
            if revision is None:
                self.lose()
                return
            self.session.apply_report(report, revision)
            del self._unwritten[0]
            trial = self.session.history[self.number]
            if trial.folds[report.fold].is_mixed:
                error = InvalidReport(
                    f"Several trainings report epoch {report.epoch} of trial {self.number} at the same time, in "
                    "different processes. Give each its own fold of trial.folds(n), or its own trial."
                )
                self.refuse(error)
                raise error
            if trial.row.decision is not None and not (self.must_stop or self.is_refused):  # by another process
                self.must_stop, self.decision = True, trial.row.decision
            if value is not None and not self.must_stop:
                self._judge(report, value)
        self._write_decision()

    def _write_decision(self) -> None:
        if (decision := self._unwritten_decision) is not None:
            self.update(decision=decision.state, stop_reason=decision.reason)
            self._unwritten_decision = None

    def _judge(self, report: ReportRow, value: float) -> None:
        decision = judge_epoch(self.session, report, value)
        if decision is None:
            return
        if decision.state is TrialState.COMPLETED and self.session.history[self.number].row.folds is not None:
            self.folds.trainings[report.fold].must_stop = True
        else:
            self.decide(decision)

    def decide(self, decision: Decision) -> None:
        """Stop the training, and write what becomes of the trial when the attempt ends.

        If the storage fails, the decision is written before the attempt ends.
        """
        self.must_stop, self.decision = True, decision.state
        if not self.is_refused:
            self._unwritten_decision = decision
            self._write_decision()

    def refuse(self, error: InvalidReport) -> None:
        """Let the trial end FAILED, even if the user's code or a library catches the error."""
        if not self.is_refused:
            self.is_refused = True
            self._unwritten_decision = Decision(TrialState.FAILED, f"{type(error).__name__}: {error}")
            with contextlib.suppress(StorageError):
                self._write_decision()

    def cannot_pause(self, reason: str) -> None:
        """Stop a trial for good that was to be paused."""
        if self.decision is TrialState.PAUSED:
            with contextlib.suppress(StorageError):  # then it is paused without a checkpoint
                self.decide(Decision(TrialState.STOPPED, f"it was to be paused, but {reason}"))

    @property
    def folder(self) -> Any:
        """The trial's folder for checkpoints."""
        return self.session.checkpoints.folder(self.number)

    # The end of the attempt.

    def end(self) -> None:
        """End the trial as it was decided; see ``Trial.end``."""
        with self.session.lock, self._deferring(self.end):
            self._take_back()
            if self._close() is None:
                return
            self.folds.end_all()
            row = self.session.history[self.number].row
            reason = (self.folds.current or self.training).why_incomplete()
            finish(self.session, row, final_decision(self.session, self.number, reason))
            self._forget()
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
        with self.session.lock, self._deferring(functools.partial(self.fail, error)):
            self._take_back()
            if (row := self._close()) is None:
                return False
            if self._silence is not None:
                self._silence.disarm()
            if isinstance(error, terms.retry_on):
                failed_attempts = row.failed_attempts + 1
                if failed_attempts <= terms.retries:
                    logger.warning("trial %d will be retried after %s", self.number, text)
                    is_released = self.update(lease_until=None, failed_attempts=failed_attempts)
                    self._forget()
                    return is_released
                text += f" (attempt {self.attempt}, and retries={terms.retries})"
            finish(self.session, row, Decision(TrialState.FAILED, text))
            self._forget()
            return False

    def release(self) -> None:
        """Give the trial back: the next worker that asks continues it, and no failed attempt is counted."""
        with self.session.lock, self._deferring(self.release):
            if self.is_held():
                self.write_reports()
                self.update(lease_until=None)
                self._forget()

    def release_quietly(self) -> None:
        """Give the trial back while another error is under way: a failure to do so is logged."""
        try:
            self.release()
        except StorageError as error:
            logger.warning("trial %d could not be released: %s", self.number, error)

    @contextlib.contextmanager
    def _deferring(self, end: Callable[[], object]) -> Iterator[None]:
        """Hold the trial no longer if its end cannot be written: this process tries again before its next trial.

        The lease is not renewed meanwhile: what cannot be written must not keep other workers waiting for ever.
        """
        try:
            yield
        except StorageError:
            self._forget()
            self.session.unended[self.number] = functools.partial(self._end_later, end)
            raise

    def _end_later(self, end: Callable[[], object]) -> None:
        self._take_back()
        end()

    def _take_back(self) -> None:
        """Hold the trial again whose end could not be written, to end it or to train it on."""
        if self.number in self.session.unended and self.number not in self.session.leases:
            del self.session.unended[self.number]
            self.session.leases[self.number] = self
            self.is_over = False

    def give_back(self) -> None:
        """Release the trial because its loop was left before it was trained; training it later is an error."""
        self.release()
        self._is_given_back = True

    def has_reported(self) -> bool:
        """Return whether this attempt has reported an epoch, here or in a visiting process."""
        return self.session.refresh()[self.number].is_reporting

    def _close(self) -> TrialRow | None:
        """Write what is waiting and return the trial's row, None if this attempt is no longer the current one."""
        if not self.is_held():
            return None
        self.write_reports()
        row = self.session.refresh()[self.number].row
        if row.attempts != self.attempt:
            self._forget()
            return None
        return row

    def _forget(self) -> None:
        self.is_over = True
        self.session.leases.pop(self.number, None)

    def __reduce__(self) -> tuple[Any, ...]:
        """Become a visitor's lease in the process that unpickles it."""
        return TrialLease, (self.session.for_visitor(), self.row, self.resume_from)
