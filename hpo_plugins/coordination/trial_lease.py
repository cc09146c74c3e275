"""One attempt at one trial: what the worker that trains it may do, and all that is known of the attempt.

The life of an attempt: acquired, it reports epochs and is judged after each; it may be saved; it is ended, fails, or
is released for another worker. A lease is lost when another worker acquires the trial: writes are then refused, and
the training is told to stop.
"""

from __future__ import annotations

import contextlib
import logging
import math
import secrets
from typing import Any

from hpo_plugins.coordination.completion import SilenceGuard, final_decision, finish
from hpo_plugins.coordination.judging import judge_epoch, judge_fold
from hpo_plugins.coordination.session import StudySession
from hpo_plugins.coordination.training import Training
from hpo_plugins.errors import CheckpointError, InvalidArgument, InvalidReport, StorageError, WorkerError
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
        number: The trial.
        attempt: Which attempt at it, from 1.
        params: Its configuration.
        definition: Its training definition, None if the study has only one.
        objective: The objective by which the trial is judged.
        training: Its training without folds.
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
        self._row = row
        self._silence = silence
        self._writer = secrets.token_hex(4) if self.is_visiting else ""
        self._is_refused = False
        self._unwritten: list[tuple[ReportRow, float | None]] = []  # reports with the objective's value, NaN included
        self.training = Training(self, row.fold, row.start_epoch, row.phases)
        self._folds: dict[int, Training] = {}
        self._current = self.training

    def describe(self, training: Training) -> str:
        """Return what a training is called in messages."""
        return f"fold {training.fold} of trial {self.number}" if training.is_fold else f"trial {self.number}"

    # The lease.

    def is_held(self) -> bool:
        """Return whether this process holds the lease."""
        return self.session.leases.get(self.number) is self

    def check_held(self, what: str) -> bool:
        """Return whether this process holds the lease, or takes it as a visitor; warn otherwise."""
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
        for training in (self.training, *self._folds.values()):
            training.follow(trial.last_epoch_of(training.fold), row.phase)
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
        """Write the reports that are waiting, oldest first, and judge each epoch."""
        while self._unwritten:
            report, value = self._unwritten[0]
            revision = self.session.store.report(report)
            if revision is None:
                self.lose()
                return
            self.session.apply_report(report, revision)
            del self._unwritten[0]
            trial = self.session.history[self.number]
            if trial.is_mixed:
                error = InvalidReport(
                    f"Several trainings report epoch {report.epoch} of trial {self.number} at the same time, in "
                    "different processes. Give each its own fold of trial.folds(n), or its own trial."
                )
                self.refuse(error)
                raise error
            if trial.row.decision is not None and not (self.must_stop or self._is_refused):  # by another process
                self.must_stop, self.decision = True, trial.row.decision
            if value is not None and not self.must_stop:
                self._judge(report, value)

    def _judge(self, report: ReportRow, value: float) -> None:
        decision = judge_epoch(self.session, report, value)
        if decision is None:
            return
        if decision.state is TrialState.COMPLETED and self.session.history[self.number].row.folds is not None:
            self._folds[report.fold].must_stop = True
        else:
            self.decide(decision)

    def decide(self, decision: Decision) -> None:
        """Stop the training, and write what becomes of the trial when the attempt ends."""
        self.must_stop, self.decision = True, decision.state
        if not self._is_refused:
            self.update(decision=decision.state, stop_reason=decision.reason)

    def refuse(self, error: InvalidReport) -> None:
        """Let the trial end FAILED, even if the user's code or a library catches the error."""
        if not self._is_refused:
            self._is_refused = True
            with contextlib.suppress(StorageError):
                self.update(decision=TrialState.FAILED, stop_reason=f"{type(error).__name__}: {error}")

    def cannot_pause(self, reason: str) -> None:
        """Stop a trial for good that was to be paused."""
        if self.decision is TrialState.PAUSED:
            with contextlib.suppress(StorageError):  # then it is paused without a checkpoint
                self.decide(Decision(TrialState.STOPPED, f"it was to be paused, but {reason}"))

    # Folds.

    def declare_folds(self, n: int) -> None:
        """Train the trial in this many folds.

        Raises:
            InvalidArgument: The trial, or another one of the study, is trained in another number of folds.
        """
        with self.session.lock:
            if not self.check_held("training"):
                return
            row = self.session.history[self.number].row
            others = {trial.row.folds for trial in self.session.history if trial.has_reports}
            if row.folds is not None:
                others.add(row.folds)
            if others - {n}:
                known = ", ".join("none" if other is None else str(other) for other in others - {n})
                raise InvalidArgument(
                    f"folds must be the same in all trials of a study, since means over different folds cannot be "
                    f"compared, but got folds({n}) after {known}. Use that number, or another name= for a new study."
                )
            if row.folds is None:
                self.update(folds=n)

    def check_fold(self, training: Training) -> None:
        """Raise InvalidReport if the trial has folds and this is not one of them, or the other way round."""
        history = self.session.history
        row = history[self.number].row
        if row.folds is None and history.n_folds is not None:
            raise InvalidReport(
                f"The trials of this study are trained in {history.n_folds} folds, but trial {self.number} is trained "
                "without. Loop over trial.folds(n), or use another name= for a new study."
            )
        if row.folds is not None and not training.is_fold:
            raise InvalidReport(
                f"Trial {self.number} is trained in {row.folds} folds, but this training has the trial instead of a "
                "fold. Write TrialCallback(fold) or fold.report(...) in the loop over trial.folds(n)."
            )
        if training.is_fold and self.is_visiting and self.session.config.strategy.pauses:
            raise InvalidReport(
                f"Folds that train in processes of their own cannot be paused, but the strategy has pause=True. Train "
                f"the folds of trial {self.number} one after another, or choose pause=False."
            )

    def fold(self, index: int) -> Training:
        """Return the training of a fold."""
        if index not in self._folds:
            row = self._row
            if index < row.fold:
                epochs = self.session.refresh()[self.number].folds[index].epochs
                training = Training(self, index, epochs[-1] if epochs else 0, (), is_fold=True, is_done=True)
            elif index == row.fold:
                training = Training(self, index, row.start_epoch, row.phases, is_fold=True)
            else:
                training = Training(self, index, 0, (), is_fold=True)
            self._folds[index] = training
        self._current = self._folds[index]
        return self._current

    def end_fold(self, index: int) -> None:
        """End a fold whose training is over, and judge the trial by the folds so far.

        A fold that has not reported is left open: it may be training in another process.
        """
        with self.session.lock:
            if not self.is_held():
                return
            self.write_reports()
            trial = self.session.refresh()[self.number]
            row, is_decided = trial.row, self.must_stop or self._is_refused or trial.row.decision is not None
            if is_decided or row.folds is None or index != row.fold:
                return
            if index >= len(trial.folds) or not len(trial.folds[index].curve):
                return
            self.update(fold=index + 1, start_epoch=0, checkpoint=None, phases=(), phase=0)
            self.resume_from = None
            if trial.row.checkpoint is not None:
                self.session.checkpoints.clear(self.number)
            if index + 1 < (trial.row.folds or 0):
                decision = judge_fold(self.session, self.number, index)
                if decision is not None:
                    self.decide(decision)

    @property
    def folder(self) -> Any:
        """The trial's folder for checkpoints."""
        return self.session.checkpoints.folder(self.number)

    # The end of the attempt.

    def end(self) -> None:
        """End the trial as it was decided; see ``Trial.end``."""
        with self.session.lock:
            if self._close() is None:
                return
            for index in range(len(self.session.history[self.number].folds)):
                self.end_fold(index)
            row = self.session.history[self.number].row
            decision = final_decision(self.session, self.number, self._current.why_incomplete())
            finish(self.session, row, decision)
            self._forget()
            if self._silence is not None:
                self._silence.check(self.session, self.number)

    def fail(self, error: BaseException | str) -> bool:
        """End the trial with an error, or release it if the error is to be retried; return whether it was released."""
        if isinstance(error, CheckpointError | WorkerError):
            self.release()
            return False
        terms = self.session.terms
        text = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
        with self.session.lock:
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
        with self.session.lock:
            if self.is_held():
                self.write_reports()
                self.update(lease_until=None)
                self._forget()

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
        return TrialLease, (self.session.for_visitor(), self._row, self.resume_from)
