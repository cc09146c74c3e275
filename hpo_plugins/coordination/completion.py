"""End or pause a trial: decide its final state, write it, and delete checkpoints that are no longer needed."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

from hpo_plugins.coordination.session import StudySession
from hpo_plugins.errors import MetricNotFound, NothingReported
from hpo_plugins.records import TrialRow, TrialState
from hpo_plugins.strategies import Decision

logger = logging.getLogger("hpo_plugins")

MAX_SILENT_TRIALS = 5
"""Trials without a report after which a search is aborted, if they take no time, such as skipped configurations."""
SILENT_SECONDS = 10.0
"""A trial that has taken longer has probably trained."""


def final_decision(
    session: StudySession, number: int, why_incomplete: str | None = None, *, is_complete: bool = False
) -> Decision:
    """Return the final state of a finished trial.

    Args:
        session: The study, up to date.
        number: The trial.
        why_incomplete: Why the attempt did not reach its first epoch to train, None if it did.
        is_complete: Whether the training run has ended by itself, so that it cannot be paused.
    """
    trial = session.history[number]
    if trial.is_mixed:
        return Decision(TrialState.FAILED, "several trainings reported the same epochs of it at the same time")
    is_over = is_complete and trial.row.decision is TrialState.PAUSED and trial.row.folds is None
    if trial.row.decision is not None and not is_over:
        return Decision(trial.row.decision, trial.row.rule or "", trial.row.detail or "")
    if why_incomplete is not None:
        return Decision(TrialState.FAILED, why_incomplete)
    has_result = session.history.loss(number) is not None or bool(len(trial.curve))
    if has_result and trial.missing_folds:
        return Decision(
            TrialState.STOPPED, f"only {trial.row.progress.fold} of its {trial.row.folds} folds were trained"
        )
    if has_result and trial.row.folds is not None:
        return Decision(TrialState.COMPLETED, f"all {trial.row.folds} folds were trained")
    if has_result:
        last = trial.curve.epochs[-1] if len(trial.curve) else trial.epochs
        return Decision(TrialState.COMPLETED, f"the training ended by itself at epoch {last}")
    error = _never_reported(session, number)
    if error.reported:
        return Decision(TrialState.FAILED, str(error))
    metric = session.objective_of(number).metric
    return Decision(TrialState.FAILED, f"the training ended without a single report of {metric!r}")


def _never_reported(session: StudySession, number: int) -> MetricNotFound:
    """Return the error for a complete training run without the objective."""
    trial = session.history[number]
    names = {name for metrics in trial.metrics.values() for name in metrics}
    hint = (
        "No validation ran that reports it: validate at least once (Keras: validation_data and validation_freq; "
        "Lightning: check_val_every_n_epoch and max_epochs), or name another metric as the objective."
    )
    when = f"in a whole training of {trial.epochs} epochs"
    return MetricNotFound(session.objective_of(number).metric, names, hint, when=when)


def _unknown_goal(session: StudySession, number: int) -> MetricNotFound | None:
    """Return the error for a complete training run after which the metric of a goal is not known of any trial."""
    goals, history = session.config.goals, session.history
    if goals is None:
        return None
    for metric in goals.metrics:
        if any(len(trial.values(metric)) or metric in trial.recorded for trial in history):
            continue
        trial = history[number]
        names = {name for metrics in trial.metrics.values() for name in metrics} | set(trial.recorded)
        goal = "objective's" if metric in [each.metric for each in goals.objectives] else "limited"
        hint = "Report it at any epoch with trial.report(), or once with trial.record(), or name another one."
        return MetricNotFound(metric, names, hint, when="in a whole training", role=goal)
    return None


def finish(session: StudySession, row: TrialRow, decision: Decision) -> None:
    """Write to the storage and to the log that a trial has ended or is paused.

    Args:
        session: The study.
        row: The trial. Nothing is written unless its attempt is the current one.
        decision: Its new state and the reason.
    """
    if decision.state is TrialState.PAUSED:
        _pause(session, row, decision)
        return
    failed = decision.state is TrialState.FAILED
    written = session.store.update(row.number, row.attempts, **fields_of_end(decision))
    if not session.apply(written):  # another process was faster
        session.refresh()
        return
    loss, objective = session.history.loss(row.number), session.objective_of(row.number)
    result = "" if loss is None else f" {objective.metric}={objective.loss(loss):.6g}"
    level = logging.WARNING if failed else logging.INFO
    logger.log(level, "trial %d %s%s: %s", row.number, decision.state.value, result, decision.rule)
    logger.debug("trial %d: %s", row.number, decision.reason)
    _delete_unused_checkpoints(session, row.number)


def fields_of_end(decision: Decision) -> dict[str, Any]:
    """Return the fields of a trial's row with which it has ended."""
    return {
        "state": decision.state,
        "decision": decision.state,
        "rule": decision.rule,
        "detail": decision.detail,
        "error": decision.reason if decision.state is TrialState.FAILED else None,
        "ended_at": True,
    }


def _pause(session: StudySession, row: TrialRow, decision: Decision) -> None:
    progress = session.history[row.number].row.progress
    if progress.checkpoint is None:  # a loop that saves nothing can be resumed without a checkpoint
        progress = replace(progress, start_epoch=session.history[row.number].last_epoch)
    written = session.store.update(
        row.number,
        row.attempts,
        state=decision.state,
        decision=None,
        rule=decision.rule,
        detail=decision.detail,
        progress=progress,
    )
    if session.apply(written):
        logger.debug("trial %d paused: %s", row.number, decision.reason)
    elif (now := session.refresh()[row.number].row).decision not in (None, TrialState.PAUSED):
        finish(session, now, final_decision(session, row.number))  # a person has stopped it meanwhile


def _delete_unused_checkpoints(session: StudySession, ended: int) -> None:
    """Delete checkpoints that are unused after a trial has ended; keep the best trial's."""
    history, checkpoints = session.history, session.checkpoints
    if checkpoints.policy == "keep":
        return
    best = history.best_numbers() | history.best_numbers(final=True)  # a better one that still runs may fail
    for number in sorted(history.with_checkpoint | {ended}):
        row = session.history[number].row
        if not row.state.is_final:  # its worker may be writing to the folder
            continue
        if number in best:
            checkpoints.clear(number, but=(row.progress.checkpoint, row.progress.best_checkpoint))
        elif (path := row.progress.checkpoint) is None or session.apply(session.store.drop_checkpoint(number, path)):
            checkpoints.clear(number)


class SilenceGuard:
    """Aborts a search whose first trials report nothing, or not all goals: the user's code probably cannot report."""

    def __init__(self) -> None:
        """Start counting, at the start of a search."""
        self._silent_trials: int | None = 0
        self._error: MetricNotFound | None = None
        self._has_completed = False

    def disarm(self) -> None:
        """Note a report or an intended failure; from now on, any trial may end without a report."""
        self._silent_trials = None

    def check(self, session: StudySession, number: int) -> None:
        """Note how a trial ended.

        Raises:
            NothingReported: The first ``MAX_SILENT_TRIALS`` trials all ended without a report, or one that took long.
        """
        trial = session.history[number]
        if not trial.has_reports and not trial.recorded:
            if self._silent_trials is not None and any(each.has_reports for each in session.history):
                self.disarm()  # it was reported before this process, or by another one
            self._count((trial.row.ended_at or 0.0) - trial.row.started_at)
            return
        if trial.state is TrialState.FAILED and not any(len(each.curve) for each in session.history):
            error = _never_reported(session, number)
            if error.metric not in error.reported:  # otherwise it was not finite
                self._error = error
        if trial.state is TrialState.COMPLETED and not self._has_completed:
            self._error = _unknown_goal(session, number) or self._error
            self._has_completed = True
        self.disarm()

    def _count(self, seconds: float) -> None:
        if self._silent_trials is None:
            return
        self._silent_trials += 1
        if self._silent_trials == MAX_SILENT_TRIALS or seconds > SILENT_SECONDS:
            first = f"The first {self._silent_trials} trials" if self._silent_trials > 1 else "The first trial"
            raise NothingReported(
                f"{first} ended without reporting anything. Pass TrialCallback(trial) to the training, or call "
                "trial.report(epoch, metrics); a value that is returned does not count. To skip a configuration on "
                "purpose, call trial.fail(reason)."
            )

    def raise_error(self) -> None:
        """Raise MetricNotFound if a complete training run and all before it lacked the objective or another goal."""
        if self._error is not None:
            raise self._error
