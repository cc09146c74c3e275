"""A study with several goals with one of its metrics as the loss, for a surrogate of that metric."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from hpo_plugins.history.curve import Curve
from hpo_plugins.history.history import History
from hpo_plugins.history.parents import ParentTrial, ParentTrials
from hpo_plugins.history.trial_history import TrialHistory
from hpo_plugins.history.weighted_history import WeightedHistory
from hpo_plugins.objective import Goals, Objective


def metric_view(history: History, objective: Objective, sign: int | None = None) -> History:
    """Return a study with several goals with one metric as its loss, for a surrogate of that metric.

    Args:
        history: The study, or a view of its first folds.
        objective: The metric, and which epoch counts.
        sign: What makes a loss of a value; that of the objective by default.
    """
    sign = objective.sign if sign is None else sign
    key = ("metric", objective.metric, objective.at, sign)
    return history.derived(key, lambda: _MetricFollower(history, objective, sign)).history


class _MetricFollower:
    """Keeps a view up to date whose loss is one metric."""

    def __init__(self, whole: History, objective: Objective, sign: int) -> None:
        self._whole = whole
        self._metric = objective.metric
        self._sign = sign
        self.history = WeightedHistory(whole, Goals((objective,)), None)
        limited = [limit.metric for limit in whole.goals.constraints] if whole.goals is not None else []
        place = limited.index(self._metric) if self._metric in limited else None
        self.history.show_parents(
            tuple(replace(each, trials=list(self._parent_trials(each, place))) for each in whole.parents)
        )

    def _parent_trials(self, parent: ParentTrials, place: int | None) -> Iterator[ParentTrial]:
        for trial in parent.trials:
            if place is None or trial.outcome is None or not len(trial.outcome.epochs):
                continue
            if np.isfinite(values := trial.outcome.limited[:, place]).all():
                yield replace(trial, curve=Curve.of(trial.outcome.epochs, self._sign * values, trial.outcome.seconds))

    def update(self, changed: Iterable[int]) -> None:
        """Follow the trials that have changed."""
        for number in sorted(changed):
            trial = self._whole[number]
            self.history.show(trial, self._curve(trial))

    def _curve(self, trial: TrialHistory) -> Curve:
        column, recorded = trial.values(self._metric), trial.recorded.get(self._metric)
        rows = list(zip(column.epochs, column.losses, column.seconds, strict=True))
        if not rows and recorded is not None:
            rows = [(max(1, trial.epochs), recorded, 0.0)]
        known = [(epoch, self._sign * value, seconds) for epoch, value, seconds in rows if np.isfinite(value)]
        epochs, losses, seconds = (np.array(part) for part in zip(*known, strict=True)) if known else (np.empty(0),) * 3
        return Curve.of(epochs, losses, seconds)
