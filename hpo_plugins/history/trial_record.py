"""The frozen record of a trial, for users."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from hpo_plugins.history.curve import Curve
from hpo_plugins.history.outcomes import Outcome
from hpo_plugins.history.trial_history import TrialHistory
from hpo_plugins.objective import Goals, Objective
from hpo_plugins.records import TrialRecord, TrialRow
from hpo_plugins.space import Space


def record_of(
    trial: TrialHistory,
    loss: float | None,
    space: Space,
    objective: Objective,
    root: Path,
    outcome: Outcome | None = None,
) -> TrialRecord:
    """Return the record of a trial.

    Args:
        trial: The trial.
        loss: Its loss, None if it has none.
        space: The study's space.
        objective: The study's objective.
        root: The folder that stored checkpoint paths are relative to.
        outcome: What it has reached of several goals, None if there is one.
    """
    row = trial.row
    has_folds = row.folds is not None
    if outcome is None or outcome.row is None:
        best_epoch = None if loss is None else trial.curve.epoch_that_counts(at=objective.at)
    else:
        best_epoch = int(outcome.epochs[outcome.row])
    return TrialRecord(
        number=row.number,
        params=space.params_of(row.params),
        state=row.state,
        value=None if loss is None else objective.loss(loss),
        epochs=trial.epochs,
        curve=_values(trial.curve, objective),
        metrics=trial.metrics,
        checkpoint=_path(root, row.progress.checkpoint),
        stop_reason=row.stop_reason,
        stop_rule=row.rule,
        error=row.error,
        started_at=row.started_at,
        ended_at=row.ended_at,
        attempts=row.attempts,
        definition=space.definition_of(row.params),
        folds=tuple(_values(fold.curve, objective) for fold in trial.folds) if has_folds else (),
        std=trial.std(best_epoch) if has_folds and best_epoch is not None and len(trial.curve) else None,
        seconds=trial.folds[0].seconds,
        point=row.point,
        best_epoch=best_epoch,
        best_checkpoint=_path(root, _best_checkpoint(row, best_epoch)),
        recorded=dict(trial.recorded),
    )


def with_goals(record: TrialRecord, outcome: Outcome, goals: Goals) -> TrialRecord:
    """Return a trial's record with what it has reached of several goals."""
    values, feasible = outcome.values(goals), outcome.is_feasible
    if outcome.row is None:  # perhaps it was stopped for a metric of the trial as a whole, before its first epoch
        values = {metric: value for metric, value in record.recorded.items() if metric in goals.metrics}
        limited = [(limit, record.recorded.get(limit.metric)) for limit in goals.constraints]
        is_violated = any(value is not None and limit.violation(np.array(value)) > 0 for limit, value in limited)
        feasible = False if is_violated else None
    return replace(record, values=values, feasible=feasible)


def _values(curve: Curve, objective: Objective) -> dict[int, float]:
    sign = objective.sign
    return {epoch: sign * loss for epoch, loss in zip(curve.epochs, curve.losses, strict=True)}


def _path(root: Path, checkpoint: str | None) -> str | None:
    return None if checkpoint is None else str(root / checkpoint)


def _best_checkpoint(row: TrialRow, best_epoch: int | None) -> str | None:
    """Return the checkpoint of the epoch of a trial's value; None without one, and for trials with folds."""
    if row.folds is not None or best_epoch is None:
        return None
    if row.progress.best_checkpoint_epoch == best_epoch:
        return row.progress.best_checkpoint
    return row.progress.checkpoint if row.progress.start_epoch == best_epoch else None
