"""The reports of one attempt and the decisions on it, kept until they are stored."""

from __future__ import annotations

import contextlib
import logging
from abc import ABC, abstractmethod
from math import isfinite

from hpo_plugins.coordination.judging import judge_epoch, trial_limit_decision
from hpo_plugins.coordination.limits import recorded_decision
from hpo_plugins.coordination.session import StudySession
from hpo_plugins.errors import InvalidReport, StorageError
from hpo_plugins.records import WHOLE_TRIAL, ReportRow, TrialState
from hpo_plugins.strategies import Decision

logger = logging.getLogger("hpo_plugins")


class JournalBase(ABC):
    """The decisions on one attempt, and the receiver of its reports.

    Attributes:
        must_stop: Whether the trial must stop.
        decision: The state that the trial takes when the attempt ends, None while undecided.
        complete_folds: The complete folds; their training runs must stop.
        is_refused: Whether a report was refused, so that the trial ends FAILED.
        is_lost: Whether another worker has acquired the trial.
        is_interrupted: Whether the training run must stop because this process received a termination signal.
    """

    def __init__(self) -> None:
        """Start undecided."""
        self.must_stop = False
        self.decision: TrialState | None = None
        self.complete_folds: set[int] = set()
        self.is_refused = False
        self.is_lost = False
        self.is_interrupted = False

    def stops(self, fold: int | None) -> bool:
        """Return whether the training run of a fold, or of a trial without folds, must stop."""
        return self.must_stop or fold in self.complete_folds

    def interrupt(self) -> None:
        """Stop the training run, undecided: the trial is released for another worker."""
        if not self.must_stop:
            self.must_stop = self.is_interrupted = True

    @abstractmethod
    def report(
        self, fold: int | None, epoch: int, value: float | None, metrics: dict[str, float], seconds: float
    ) -> None:
        """Record a report, and read the decision.

        Args:
            fold: The fold, None if there are none.
            epoch: The epoch.
            value: The objective, None if it was not reported; with several objectives, the first one reported.
            metrics: All metrics.
            seconds: Seconds of training since the attempt began.
        """

    @abstractmethod
    def record(self, metrics: dict[str, float]) -> None:
        """Record metrics of the trial as a whole, and read the decision."""

    @abstractmethod
    def refuse(self, error: InvalidReport) -> None:
        """Let the trial end FAILED, even if the user's code or a library catches the error."""


class Journal(JournalBase):
    """The reports of one attempt, their judgements and the decision.

    Args:
        session: The study, as this process knows it.
        number: The trial.
        attempt: Which attempt at it.
        writer: Identifies this process if another one has acquired the trial, otherwise empty.
    """

    def __init__(self, session: StudySession, number: int, attempt: int, writer: str) -> None:
        """Start without reports."""
        super().__init__()
        self._session = session
        self._number = number
        self._attempt = attempt
        self._writer = writer
        self._has_goals = session.config.goals is not None
        self._unwritten: list[tuple[ReportRow, float | None]] = []  # reports with the objective's value, NaN included
        self._unwritten_decision: Decision | None = None

    def lose(self) -> None:
        """Stop the training run: another worker has acquired the trial."""
        logger.warning("trial %d was ended, or taken over by another worker, and stops here", self._number)
        self._unwritten.clear()
        self.must_stop = self.is_lost = True

    def report(
        self, fold: int | None, epoch: int, value: float | None, metrics: dict[str, float], seconds: float
    ) -> None:
        """Write a report and judge it; if the storage fails, the next report writes both."""
        own = metrics.get(self._session.objective_of(self._number).metric) if self._has_goals else value
        stored = own if own is not None and isfinite(own) else None
        row = ReportRow(self._number, self._attempt, epoch, stored, metrics, seconds, fold or 0, self._writer)
        self._add(row, value)

    def record(self, metrics: dict[str, float]) -> None:
        """Write metrics of the trial as a whole, and stop it if they do not meet a limit."""
        self._add(ReportRow(self._number, self._attempt, WHOLE_TRIAL, None, metrics, 0.0, 0, self._writer), None)
        if not self.must_stop and (decision := recorded_decision(self._session, self._number)) is not None:
            self.decide(decision)

    def _add(self, row: ReportRow, value: float | None) -> None:
        self._unwritten.append((row, value))
        try:
            self.flush()
        except StorageError as error:  # an outage must not end hours of training
            level = logging.WARNING if len(self._unwritten) == 1 else logging.DEBUG
            logger.log(level, "trial %d: epoch %d is not written yet: %s", self._number, row.epoch, error)

    def flush(self, *, is_patient: bool = False) -> None:
        """Write pending reports, oldest first, and judge each epoch; then write a pending decision.

        Args:
            is_patient: Whether to retry with the usual patience if the storage cannot be reached.
        """
        while self._unwritten:
            report, value = self._unwritten[0]
            revision = self._session.store.report(report, is_patient=is_patient)
            if revision is None:
                self.lose()
                return
            self._session.apply_report(report, revision)
            del self._unwritten[0]
            if self._session.is_shared:
                self._learn_from_others(report)
            if value is not None and not self.must_stop:
                self._judge(report, value)
            elif not self.must_stop and (decision := trial_limit_decision(self._session, self._number)) is not None:
                self.decide(decision)
        self._write_decision()

    def _learn_from_others(self, report: ReportRow) -> None:
        """Read what other processes have written for the trial.

        Raises:
            InvalidReport: Another training run reports the same epochs.
        """
        trial = self._session.history[self._number]
        if trial.folds[report.fold].is_mixed:
            error = InvalidReport(
                f"Several trainings report epoch {report.epoch} of trial {self._number} at the same time, in "
                "different processes. Give each its own fold of trial.folds(n), or its own trial."
            )
            self.refuse(error)
            raise error
        if trial.row.decision is not None and not (self.must_stop or self.is_refused):
            self.must_stop, self.decision = True, trial.row.decision

    def _write_decision(self) -> None:
        if (decision := self._unwritten_decision) is not None:
            written = self._session.store.update(
                self._number, self._attempt, decision=decision.state, rule=decision.rule, detail=decision.detail
            )
            self._unwritten_decision = None
            if not self._session.apply(written):
                stored = self._session.refresh()[self._number].row.decision
                self.decision = stored or self.decision  # a person has stopped the trial, which must not be paused

    def _judge(self, report: ReportRow, value: float) -> None:
        decision = judge_epoch(self._session, report, value)
        if decision is None:
            return
        if decision.state is TrialState.COMPLETED and self._session.history[self._number].row.folds is not None:
            self.complete_folds.add(report.fold)
        else:
            self.decide(decision)

    def decide(self, decision: Decision) -> None:
        """Stop the training run, and write the trial's state after the attempt.

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
        """Stop a trial permanently instead of pausing it."""
        if self.decision is TrialState.PAUSED:
            with contextlib.suppress(StorageError):  # then it is paused without a checkpoint
                self.decide(Decision(TrialState.STOPPED, f"it was to be paused, but {reason}"))
