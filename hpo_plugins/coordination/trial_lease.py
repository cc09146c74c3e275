"""One attempt at one trial: what the worker that trains it may do, and all that is known of the attempt.

The life of an attempt: acquired, it reports epochs and is judged after each; it may be saved; it is ended, fails, or
is released for another worker. A lease is lost when another worker acquires the trial: writes are then refused, and
the training is told to stop.
"""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpo_plugins.coordination.completion import SilenceGuard, final_decision, finish
from hpo_plugins.coordination.session import StudySession
from hpo_plugins.errors import CheckpointError, InvalidArgument, InvalidReport, MetricNotFound, StorageError
from hpo_plugins.records import ReportRow, TrialRow, TrialState, plain_metrics
from hpo_plugins.storage.checkpoints import SaveTimer, Write
from hpo_plugins.strategies import Decision, StoppingRule

logger = logging.getLogger("hpo_plugins")


class TrialLease:
    """The right to train one attempt at one trial.

    Pickled, it becomes the lease of a visitor: another process of the same training, such as a rank, reports to the
    same trial while this process keeps the lease alive.

    Args:
        session: The study, as this process knows it.
        row: The trial as it was acquired.
        resume_from: Path of the checkpoint to resume from, else None.
        silence: Counts trials that end without a report; None for visitors.

    Attributes:
        number: The trial.
        attempt: Which attempt at it, from 1.
        start_epoch: The epoch that it resumes from, 0 if it starts afresh.
        objective: The objective by which the trial is judged.
        definition: Its training definition, None if the study has only one.
        epoch: The last epoch that was reported.
        must_stop: Whether the training is to stop.
        decision: The state that the trial takes when the attempt ends, None while undecided.
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
        self.start_epoch = row.start_epoch
        self.resume_from = resume_from
        self.epoch = row.start_epoch
        self.must_stop = False
        self.decision: TrialState | None = None
        self._row = row
        self._silence = silence
        self._has_objective = row.start_epoch > 0
        self._unwritten: list[tuple[ReportRow, float | None]] = []  # reports with the objective's value, NaN included
        self._save_timer = SaveTimer()
        self._training_since = time.perf_counter()

    def _is_held(self) -> bool:
        """Return whether this process holds the lease."""
        return self.session.leases.get(self.number) is self

    def _check_held(self, what: str) -> bool:
        """Return whether this process holds the lease, or takes it as a visitor; warn otherwise."""
        if not self._is_held() and not self._visit():
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
        return True

    # Reports.

    def report(self, epoch: int, metrics: Mapping[str, Any], *, objective_follows: bool) -> bool:
        """Record an epoch, judge the trial, and return whether to stop; see ``Trial.report``."""
        values = plain_metrics(metrics)
        with self.session.lock:
            if not self._check_held("report"):
                return False
            epoch = self._next_epoch(epoch)
            value = values.get(self.objective.metric)
            if value is None and not (self._has_objective or objective_follows):
                raise MetricNotFound(self.objective.metric, values)
            self._has_objective |= value is not None
            self.epoch = epoch
            now = time.perf_counter()
            stored = value if value is not None and math.isfinite(value) else None
            seconds = now - self._training_since
            self._unwritten.append((ReportRow(self.number, self.attempt, epoch, stored, values, seconds), value))
            try:
                self._write_reports()
            except StorageError as error:  # a training of hours must not end for this: the next report writes it
                logger.warning("trial %d: epoch %d is not written yet: %s", self.number, epoch, error)
            self._training_since += time.perf_counter() - now  # writing and judging are not training
            return self.must_stop

    def _next_epoch(self, epoch: Any) -> int:
        """Return the epoch of a report as an int.

        Raises:
            InvalidReport: It is not a whole number from 1 on, or is before the last one.
        """
        try:
            number = epoch.__index__()
        except AttributeError:
            number = 0
        if isinstance(epoch, bool) or number < 1:
            raise InvalidReport(f"epoch must be a whole number from 1 on (completed epochs), but got epoch={epoch!r}.")
        if number < self.epoch:
            raise InvalidReport(
                f"epoch must not go backwards, but got epoch={number} after epoch={self.epoch} in trial {self.number}. "
                "One trial is one training: count on when a training is continued (Keras: initial_epoch; a loop of "
                "your own: from trial.start_epoch), use one trial per training, and xgboost.cv for folds."
            )
        return int(number)

    def _write_reports(self) -> None:
        """Write the reports that are waiting, oldest first, and judge each epoch."""
        while self._unwritten:
            report, value = self._unwritten[0]
            revision = self.session.store.report(report)
            if revision is None:
                self._lose()
                return
            self.session.apply_report(report, revision)
            del self._unwritten[0]
            if value is not None and not self.must_stop:
                self._judge(report.epoch, value)

    def _lose(self) -> None:
        """Stop the training: another worker has acquired the trial."""
        logger.warning("trial %d was taken over by another worker, and stops here", self.number)
        self._unwritten.clear()
        self.must_stop = True

    def _judge(self, epoch: int, value: float) -> None:
        decision: Decision | None = None
        if not math.isfinite(value):
            decision = Decision(TrialState.FAILED, f"{self.objective.metric} was {value} at epoch {epoch}")
        for rule in self.session.config.stopping_rules:
            decision = decision or self._ask(rule, epoch)
        if decision is None and (reason := self.session.timeout_reason()) is not None:
            decision = Decision(TrialState.STOPPED, reason)
        if decision is not None:
            self._decide(decision)

    def _ask(self, rule: StoppingRule, epoch: int) -> Decision | None:
        """Return a rule's decision; a defect of the rule must not end a training of hours."""
        try:
            return rule.on_report(self.session.history, self.number, epoch)
        except Exception:
            name = type(rule).__name__
            logger.exception(
                "trial %d continues: %s failed to judge epoch %d; please report this", self.number, name, epoch
            )
            return None

    def _decide(self, decision: Decision) -> None:
        self.must_stop, self.decision = True, decision.state
        self._update(decision=decision.state, stop_reason=decision.reason)

    def _update(self, **fields: Any) -> bool:
        """Write fields of the trial's row, and return whether the lease allowed it."""
        return self.session.apply(self.session.store.update(self.number, self.attempt, **fields))

    # Checkpoints.

    def is_save_due(self) -> bool:
        """Return whether the trial should be saved now; see ``Trial.save_is_due``."""
        session = self.session
        with session.lock:
            if not self._is_held() or not self.epoch:
                return False
            if self.decision is TrialState.PAUSED:
                return True
            if session.checkpoints.policy == "pauses":
                return False
            if self.decision is TrialState.COMPLETED:
                return session.history.incumbent() == self.number
            return not self.must_stop and session.store.outlives_process and self._save_timer.is_due()

    def save(self, write: Write, suffix: str) -> bool:
        """Write a checkpoint of the last reported epoch; see ``Trial.save``."""
        session, started = self.session, time.perf_counter()
        with session.lock:
            if not self._check_held("checkpoint"):
                return False
            if not self.epoch:
                raise InvalidArgument(f"trial.save() must follow a report, but trial {self.number} has none yet.")
            epoch = self.epoch
        try:  # without the lock: writing may take long, and leases are renewed meanwhile
            path = session.checkpoints.write(self.number, self.attempt, epoch, write, suffix)
        except OSError as error:
            self._fail_to_save(error)
            return False
        with session.lock:
            try:
                self._write_reports()  # a checkpoint must not be ahead of the reports
                is_saved = self._update(checkpoint=path, start_epoch=epoch)
            except StorageError as error:
                session.checkpoints.discard(path)
                self._fail_to_save(error)
                return False
            self._save_timer.saved(time.perf_counter() - started)
            if is_saved:
                session.checkpoints.clear(self.number, but=path)
            else:
                session.checkpoints.discard(path)
                self._lose()
            return is_saved

    def _fail_to_save(self, error: Exception) -> None:
        """Let the training continue without a new checkpoint; one that was to be paused is stopped for good."""
        logger.warning("trial %d: epoch %d could not be saved: %s", self.number, self.epoch, error)
        self._save_timer.saved(0.0)
        if self.decision is TrialState.PAUSED:
            reason = f"it was to be paused, but its checkpoint could not be written: {error}"
            with contextlib.suppress(StorageError):  # then it is paused without a checkpoint
                self._decide(Decision(TrialState.STOPPED, reason))

    def start_over(self) -> None:
        """Count from the first epoch again; see ``Trial.start_over``."""
        with self.session.lock:
            if self._check_held("start"):
                logger.warning("trial %d starts from the beginning instead of from its checkpoint", self.number)
                self.epoch, self._has_objective = 0, False
                self._update(checkpoint=None, start_epoch=0)

    @property
    def folder(self) -> Path:
        """The trial's folder for checkpoints."""
        return self.session.checkpoints.folder(self.number)

    # The end of the attempt.

    def end(self) -> None:
        """End the trial as it was decided; see ``Trial.end``."""
        with self.session.lock:
            if (row := self._close()) is None:
                return
            finish(self.session, row, final_decision(self.session, self.number))
            self._forget()
            if self._silence is None:
                return
            if self.session.history[self.number].has_reports:
                self._silence.disarm()
            else:
                self._silence.count()

    def fail(self, error: BaseException | str) -> bool:
        """End the trial with an error, or release it if the error is to be retried; return whether it was released."""
        if isinstance(error, CheckpointError):
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
                    is_released = self._update(lease_until=None, failed_attempts=failed_attempts)
                    self._forget()
                    return is_released
                text += f" (attempt {self.attempt}, and retries={terms.retries})"
            finish(self.session, row, Decision(TrialState.FAILED, text))
            self._forget()
            return False

    def release(self) -> None:
        """Give the trial back: the next worker that asks continues it, and no failed attempt is counted."""
        with self.session.lock:
            if self._is_held():
                self._write_reports()
                self._update(lease_until=None)
                self._forget()

    def has_reported(self) -> bool:
        """Return whether this attempt has reported an epoch, here or in a visiting process."""
        return self.session.refresh()[self.number].last_epoch > 0

    def _close(self) -> TrialRow | None:
        """Write what is waiting and return the trial's row, None if this attempt is no longer the current one."""
        if not self._is_held():
            return None
        self._write_reports()
        row = self.session.refresh()[self.number].row
        if row.attempts != self.attempt:
            self._forget()
            return None
        return row

    def _forget(self) -> None:
        self.session.leases.pop(self.number, None)

    def __reduce__(self) -> tuple[Any, ...]:
        """Become a visitor's lease in the process that unpickles it."""
        return TrialLease, (self.session.for_visitor(), self._row, self.resume_from)
