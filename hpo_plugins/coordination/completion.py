"""How a trial ends or is paused: its final decision, what is written, and which checkpoints are no longer needed."""

from __future__ import annotations

import logging
from typing import Any

from hpo_plugins.coordination.session import StudySession
from hpo_plugins.errors import MetricNotFound, NothingReported
from hpo_plugins.records import TrialRow, TrialState
from hpo_plugins.strategies import Decision

logger = logging.getLogger("hpo_plugins")

MAX_SILENT_TRIALS = 5
"""A search ends with an error if this many trials, its first ones, all end without a report."""


def final_decision(session: StudySession, number: int) -> Decision:
    """Return how a trial ends whose training is over: as decided while it ran, by itself, or without a result."""
    trial = session.history[number]
    if trial.row.decision is not None:
        return Decision(trial.row.decision, trial.row.stop_reason or "")
    if len(trial.curve):
        return Decision(TrialState.COMPLETED, f"the training ended by itself at epoch {trial.curve.epochs[-1]}")
    metric = session.objective_of(number).metric
    if names := {name for metrics in trial.metrics.values() for name in metrics}:
        return Decision(TrialState.FAILED, str(MetricNotFound(metric, names)))
    return Decision(TrialState.FAILED, f"the training ended without a single report of {metric!r}")


def finish(session: StudySession, row: TrialRow, decision: Decision) -> None:
    """Write to the storage and to the log that a trial has ended or is paused.

    Args:
        session: The study.
        row: The trial; its attempt must be the current one, else nothing is written.
        decision: The state that it takes, and why.
    """
    if decision.state is TrialState.PAUSED:
        _pause(session, row, decision)
        return
    failed = decision.state is TrialState.FAILED
    written = session.store.update(
        row.number,
        row.attempts,
        state=decision.state,
        decision=decision.state,
        stop_reason=decision.reason,
        error=decision.reason if failed else None,
        ended_at=True,
    )
    if not session.apply(written):  # another process was faster
        session.refresh()
        return
    loss, objective = session.history.loss(row.number), session.objective_of(row.number)
    result = "" if loss is None else f" {objective.metric}={objective.loss(loss):.6g}"
    level = logging.WARNING if failed else logging.INFO
    logger.log(level, "trial %d %s%s: %s", row.number, decision.state.value, result, decision.reason)
    _delete_unused_checkpoints(session, row.number)


def _pause(session: StudySession, row: TrialRow, decision: Decision) -> None:
    fields: dict[str, Any] = {"state": decision.state, "decision": None, "stop_reason": decision.reason}
    if row.checkpoint is None:  # a loop that saves nothing can be resumed without a checkpoint
        fields["start_epoch"] = session.history[row.number].last_epoch
    session.apply(session.store.update(row.number, row.attempts, **fields))
    logger.debug("trial %d paused: %s", row.number, decision.reason)


def _delete_unused_checkpoints(session: StudySession, ended: int) -> None:
    """Delete the checkpoints that nobody needs after a trial has ended; the best trial's is kept."""
    history, checkpoints = session.history, session.checkpoints
    if checkpoints.policy == "keep":
        return
    best = {history.incumbent(), history.incumbent(final=True)}  # a better one that still runs may fail
    for number in sorted(history.with_checkpoint | {ended}):
        row = session.history[number].row
        if not row.state.is_final:  # its worker may be writing to the folder
            continue
        if number in best:
            checkpoints.clear(number, but=row.checkpoint)
        elif row.checkpoint is None or session.apply(session.store.drop_checkpoint(number, row.checkpoint)):
            checkpoints.clear(number)


class SilenceGuard:
    """Ends a search whose first trials all end without a report: the training probably does not report at all."""

    def __init__(self) -> None:
        """Create it at the start of a search."""
        self._silent_trials: int | None = 0

    def disarm(self) -> None:
        """Note that the training reports, or fails on purpose: from now on, any trial may be silent."""
        self._silent_trials = None

    def count(self) -> None:
        """Note a trial that ended without a report.

        Raises:
            NothingReported: The first ``MAX_SILENT_TRIALS`` trials all did.
        """
        if self._silent_trials is None:
            return
        self._silent_trials += 1
        if self._silent_trials == MAX_SILENT_TRIALS:
            raise NothingReported(
                f"The first {MAX_SILENT_TRIALS} trials ended without reporting anything. Pass TrialCallback(trial) to "
                "the training, or call trial.report(epoch, metrics). To skip a configuration on purpose, call "
                "trial.fail(reason)."
            )
