"""What trials have reached of several goals: all objectives and limited metrics by epoch, and the epoch that counts.

Notation
    n, m, c     epochs of a trial; objectives; limits
    violation   0 if a limit is met, up to 1 (``Limit.violation``)

Which epoch counts:
    1. With limits, only the epochs that meet them count, if there are any; otherwise those that violate them least.
    2. With one objective, the best of these; with several, the last one that no other one dominates. A metric that
       never changes decides nothing then, and one that grows with every epoch does not make the first epoch the best.
    3. With ``at="last"``, the last epoch, whatever it is.

An epoch without a metric takes the metric's last value before it, otherwise its first one after it: many metrics, such
as a latency, are measured once. A metric of the trial as a whole (``Trial.record``) counts as known before all epochs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hpo_plugins.history.curve import Curve
from hpo_plugins.history.trial_history import TrialHistory
from hpo_plugins.objective import Goals
from hpo_plugins.records import TrialState
from hpo_plugins.space import FloatArray

UNMET = "cannot meet "
"""The beginning of the rule by which a training run ends that cannot meet a limit."""


class Outcome(NamedTuple):
    """What one trial has reached.

    Attributes:
        epochs: The epochs at which all objectives are known, shape ``(n,)``.
        losses: The objectives' losses there, shape ``(n, m)``.
        limited: The values of the limited metrics, shape ``(n, c)``; NaN where one is not known.
        violation: How far they violate the limits, shape ``(n, c)``; NaN where one is not known.
        seconds: Seconds of training up to each epoch, shape ``(n,)``.
        row: The index of the epoch that counts, None without epochs.
        is_hopeless: Whether the training is over, and no epoch meets the limits.
    """

    epochs: NDArray[np.int64]
    losses: FloatArray
    limited: FloatArray
    violation: FloatArray
    seconds: FloatArray
    row: int | None
    is_hopeless: bool

    @property
    def meets(self) -> NDArray[np.bool_]:
        """Whether each epoch meets all limits, shape ``(n,)``."""
        return np.asarray((self.violation == 0).all(axis=1))

    @property
    def worst_violation(self) -> FloatArray:
        """The largest violation known of each epoch, shape ``(n,)``."""
        return np.asarray(np.nan_to_num(self.violation).max(axis=1, initial=0.0))

    @property
    def is_feasible(self) -> bool | None:
        """Whether the epoch that counts meets all limits; None without limits, or if that is not known."""
        if self.row is None or not self.violation.shape[1]:
            return None
        violation = self.violation[self.row]
        return False if (violation > 0).any() else None if np.isnan(violation).any() else True

    @property
    def counts(self) -> bool:
        """Whether it is a result: it has an epoch, which meets all limits."""
        return self.row is not None and (not self.violation.shape[1] or self.is_feasible is True)

    @property
    def loss(self) -> FloatArray:
        """The losses at the epoch that counts, shape ``(m,)``."""
        return np.asarray(self.losses[self.row])

    def values(self, goals: Goals) -> dict[str, float]:
        """Return the metrics at the epoch that counts, as far as they are known."""
        if self.row is None:
            return {}
        limited = zip(goals.constraints, self.limited[self.row].tolist(), strict=True)
        found = {limit.metric: value for limit, value in limited if not math.isnan(value)}
        own = zip(goals.objectives, self.losses[self.row].tolist(), strict=True)
        return {objective.metric: objective.loss(loss) for objective, loss in own} | found


class Outcomes:
    """What the trials of one history have reached.

    Args:
        goals: The goals.
        trials: The trials, a list that grows.
    """

    def __init__(self, goals: Goals, trials: list[TrialHistory]) -> None:
        """Compute nothing yet."""
        self.goals = goals
        self._trials = trials
        self._known: dict[int, Outcome] = {}

    def update(self, changed: Iterable[int]) -> None:
        """Forget the outcomes of trials that have changed."""
        for number in changed:
            self._known.pop(number, None)

    def of(self, number: int) -> Outcome:
        """Return the outcome of a trial."""
        if number not in self._known:
            self._known[number] = outcome_of(self._trials[number], self.goals)
        return self._known[number]


def outcome_of(trial: TrialHistory, goals: Goals) -> Outcome:
    """Return what a trial has reached."""
    columns = {metric: trial.values(metric) for metric in goals.metrics}
    first, is_single = goals.objectives[0], len(goals.objectives) == 1
    if trial.state is TrialState.FAILED:
        epochs = np.empty(0, dtype=np.int64)
    elif is_single:
        epochs = np.array(trial.curve.epochs, dtype=np.int64)
    else:
        epochs = np.unique(np.concatenate([columns[each.metric].epochs for each in goals.objectives]).astype(np.int64))
    own = [
        np.array(trial.curve.losses)[: len(epochs)]
        if is_single
        else each.sign * carried(columns[each.metric], epochs, trial.recorded.get(each.metric))
        for each in goals.objectives
    ]
    losses = np.column_stack(own) if len(epochs) else np.empty((0, len(own)))
    if not np.isfinite(losses).all():  # an objective that was not reported yet
        known = np.isfinite(losses).all(axis=1)
        epochs, losses = epochs[known], losses[known]
    limited = np.empty((len(epochs), len(goals.constraints)))
    violation = np.empty_like(limited)
    for place, limit in enumerate(goals.constraints):
        column, recorded = columns[limit.metric], trial.recorded.get(limit.metric)
        limited[:, place] = carried(column, epochs, recorded)
        is_known = len(column) > 0 or recorded is not None
        violation[:, place] = limit.violation(limited[:, place]) if is_known else np.nan
    row = row_that_counts(losses, violation, is_last=first.at == "last")
    seconds = _seconds(trial, epochs)
    return Outcome(epochs, losses, limited, violation, seconds, row, _is_hopeless(trial, violation, first.at == "last"))


def carried(column: Curve, epochs: NDArray[np.int64], recorded: float | None) -> FloatArray:
    """Return a metric at epochs: its last value up to each, otherwise that of the whole trial, otherwise its first.

    Args:
        column: Its values where it was reported.
        epochs: The epochs, shape ``(n,)``.
        recorded: Its value of the trial as a whole, None without one.
    """
    if not len(column):
        return np.full(len(epochs), math.nan if recorded is None else recorded)
    values = np.array(column.losses)
    index = np.searchsorted(np.array(column.epochs), epochs, side="right") - 1
    found = values[np.maximum(index, 0)]
    return found if recorded is None else np.where(index < 0, recorded, found)


def row_that_counts(losses: FloatArray, violation: FloatArray, *, is_last: bool) -> int | None:
    """Return the index of the epoch that counts, None without epochs.

    Args:
        losses: Shape ``(n, m)``.
        violation: Shape ``(n, c)``.
        is_last: Whether only the last epoch counts.
    """
    if not len(losses):
        return None
    if is_last:
        return len(losses) - 1
    meets = (violation == 0).all(axis=1)
    worst = np.nan_to_num(violation).max(axis=1, initial=0.0)
    candidates = np.flatnonzero(meets if meets.any() else worst == worst.min())
    chosen = losses[candidates]
    if losses.shape[1] == 1:
        return int(candidates[np.argmin(chosen[:, 0])])
    return int(candidates[_last_not_dominated(chosen)])


def _last_not_dominated(losses: FloatArray) -> int:
    """Return the index of the last row that no other one dominates, the first of equal ones."""
    for row in losses[::-1]:
        no_worse = (losses <= row).all(axis=1)
        if not (no_worse & (losses < row).any(axis=1)).any():
            return int(np.argmax((losses == row).all(axis=1)))
    raise AssertionError("some row is not dominated")


def _is_hopeless(trial: TrialHistory, violation: FloatArray, is_last: bool) -> bool:
    row = trial.row
    is_over = row.state is TrialState.COMPLETED or (row.rule or "").startswith(UNMET)
    if is_last:
        violation = violation[-1:]
    return is_over and bool(len(violation)) and bool((np.nan_to_num(violation) > 0).any(axis=1).all())


def _seconds(trial: TrialHistory, epochs: NDArray[np.int64]) -> FloatArray:
    reports = trial.folds[0]
    if not len(reports.epochs):
        return np.zeros(len(epochs))
    index = np.searchsorted(np.array(reports.epochs), epochs, side="right") - 1
    return np.asarray(np.array(reports.trained)[np.maximum(index, 0)])
