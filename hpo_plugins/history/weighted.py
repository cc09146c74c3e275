"""A study with several goals as strategies see it: one loss, under one weighting of the objectives.

Notation
    n, m     epochs of a trial; objectives
    ideal    the best value known of each objective, as a loss, shape ``(m,)``
    extent   how much an objective differs among the best trials, shape ``(m,)``
    z        (loss - ideal) / extent
    w        the weights of one direction, shape ``(m,)``; they sum to 1

    loss = max_j w_j z_j + 0.05 sum_j w_j z_j            the augmented Chebyshev distance (Knowles 2006)

Each trial has a direction, which its number and the study's seed give: it is suggested and judged by the distance in
this direction. Directions are spread evenly, so the trials approach the whole front. The extent is that of the front,
so the weights mean the same whatever the units are; an objective in which all trials are equal has no weight.

Limits change the loss of epochs that do not meet them:
    1. If another epoch of the trial does, they are no better than the best of those.
    2. If the training is over and no epoch does, the trial ranks behind all others, by how far it violates them.
    3. While the training goes on, or was stopped for another reason, its epochs count as they are: the metric may come
       to meet its limit. A training run that will not is stopped (``coordination/limits.py``).
A surrogate needs losses without the jumps of the second rule, which say nothing of the objective nearby: ``modelled``.

What else was tried is in docs/decisions/0035.

Reference:
    Knowles, "ParEGO: A Hybrid Algorithm with On-Line Landscape Approximation for Expensive Multiobjective Optimization
    Problems", IEEE Transactions on Evolutionary Computation 10, 2006.

Differs from the paper in: directions come from the trial's number instead of at random, so that a process that takes
over a study makes the same suggestions; losses are scaled by the front instead of by all trials.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from hpo_plugins.history.curve import Curve
from hpo_plugins.history.history import History
from hpo_plugins.history.outcomes import Outcome
from hpo_plugins.history.parents import ParentTrial
from hpo_plugins.history.pareto import chebyshev, non_dominated
from hpo_plugins.history.trial_history import TrialHistory
from hpo_plugins.history.weighted_history import WeightedHistory
from hpo_plugins.objective import Goals
from hpo_plugins.space import FloatArray

N_DIRECTIONS = 16
"""Number of directions; each has a history of its own, which is updated when it is asked."""
MIN_ENDED = 4
"""Trials that have ended, without which the running ones determine the scale, too."""
MIN_EXTENT = 0.1
"""Least extent of an objective, relative to the distance from the best value to the median of all trials."""


class Scaling(NamedTuple):
    """The scale of the objectives.

    Attributes:
        ideal: Shape ``(m,)``.
        extent: Shape ``(m,)``; 0 for an objective in which all trials are equal.
        losses: The losses of the trials that count, shape ``(n_trials, m)``.
    """

    ideal: FloatArray
    extent: FloatArray
    losses: FloatArray

    @property
    def key(self) -> tuple[bytes, ...]:
        """What the losses of a view depend on; one objective is not scaled."""
        worst = self.losses.max(axis=0, initial=-np.inf)
        extent = self.extent if len(self.ideal) > 1 else worst
        return (self.ideal.tobytes(), extent.tobytes(), worst.tobytes())


def scaling_of(outcomes: list[Outcome], n_objectives: int) -> Scaling:
    """Return the scale that some trials give.

    Args:
        outcomes: What they have reached.
        n_objectives: m.
    """
    reached = [outcome for outcome in outcomes if outcome.row is not None]
    feasible = [outcome for outcome in reached if outcome.is_feasible is not False]
    losses = np.array([outcome.loss for outcome in feasible or reached]).reshape(-1, n_objectives)
    if not len(losses):
        return Scaling(np.zeros(n_objectives), np.zeros(n_objectives), losses)
    ideal = losses.min(axis=0)
    front = losses[non_dominated(losses)]
    extent = np.maximum(front.max(axis=0) - ideal, MIN_EXTENT * (np.median(losses, axis=0) - ideal))
    return Scaling(ideal, np.where(extent > 0, extent, losses.max(axis=0) - ideal), losses)


@functools.lru_cache(maxsize=256)
def weights_of(direction: int, count: int) -> tuple[float, ...]:
    """Return the weights of a direction, which sum to 1: those of the directions are spread evenly over the simplex.

    Args:
        direction: From 0 to below ``N_DIRECTIONS``.
        count: Number of weights.
    """
    shift = 0.5 / N_DIRECTIONS  # no direction looks at one objective only
    inner = sorted(_radical_inverse(direction, base) + shift for base in (2, 3, 5, 7, 11, 13)[: count - 1])
    if count > 7:
        inner = np.sort(np.random.default_rng([direction, count]).random(count - 1)).tolist()
    edges = np.array([0.0, *inner, 1.0])
    return tuple(np.maximum(np.diff(edges), shift / count).tolist())


def _radical_inverse(index: int, base: int) -> float:
    """Return the van der Corput sequence, in [0, 1)."""
    value, share = 0.0, 1.0
    while index:
        index, digit = divmod(index, base)
        share /= base
        value += digit * share
    return value


def direction_of(seed: int, number: int) -> int:
    """Return the direction of a trial."""
    return (seed + number) % N_DIRECTIONS


def seen_by(history: History, seed: int, number: int) -> History:
    """Return a study as a strategy sees it that suggests or judges a trial; without several goals, the study itself.

    Args:
        history: The study, or a view of its first folds.
        seed: Its seed.
        number: The trial, which may be the next one.
    """
    goals = history.goals
    if goals is None:
        return history
    direction = direction_of(seed, number) if len(goals.objectives) > 1 else 0
    return history.derived(("direction", direction), lambda: _Follower(history, goals, direction)).history


class _Follower:
    """Keeps the views of one direction up to date: as strategies see it, and as surrogates see it."""

    def __init__(self, whole: History, goals: Goals, direction: int) -> None:
        self._whole = whole
        self._goals = goals
        self._direction = direction
        self._scaling: Scaling | None = None
        self._is_of_ended = False
        modelled = WeightedHistory(whole, goals, None)
        self.history = WeightedHistory(whole, goals, modelled if goals.constraints else None)
        self._views = (self.history, modelled) if goals.constraints else (self.history,)

    def update(self, changed: Iterable[int]) -> None:
        """Follow the trials that have changed, and all others if the scale has."""
        numbers, whole = set(changed), self._whole
        before, scaling = self._scaling, self._new_scaling(numbers)
        weights = self._weights(scaling)
        if before is None or scaling.key != before.key:
            self._show_parents(scaling, weights)
            is_several = len(self._goals.objectives) > 1
            numbers |= {n for n in range(len(whole)) if is_several or whole.outcome(n).is_hopeless}
        self._scaling = scaling
        for number in sorted(numbers):
            self._show(whole[number], whole.outcome(number), scaling, weights)

    def _show(self, trial: TrialHistory, outcome: Outcome, scaling: Scaling, weights: FloatArray) -> None:
        """Show a trial under these weights."""
        losses = distances(outcome, scaling, weights)
        for view in self._views:
            is_behind = outcome.is_hopeless and view is self.history
            view.show(trial, _curve(outcome, behind_all(outcome, scaling, weights) if is_behind else losses))

    def _new_scaling(self, changed: set[int]) -> Scaling:
        """Return the scale after trials have changed; running ones change nothing once enough have ended."""
        is_same = self._is_of_ended and not any(self._whole[number].state.is_final for number in changed)
        if self._scaling is not None and is_same:
            return self._scaling
        return scaling_of(self._reference(), len(self._goals.objectives))

    def _show_parents(self, scaling: Scaling, weights: FloatArray) -> None:
        """Show the parents' trials under these weights."""
        if not self._whole.parents:
            return
        for view in self._views:
            shown = [
                replace(parent, trials=[_shown(each, view is self.history, scaling, weights) for each in known])
                for parent in self._whole.parents
                if (known := [each for each in parent.trials if self._is_known(each)])
            ]
            view.show_parents(tuple(shown))

    def _is_known(self, trial: ParentTrial) -> bool:
        """Return whether a parent's trial has a loss in this view."""
        return len(self._goals.objectives) == 1 or (trial.outcome is not None and trial.outcome.row is not None)

    def _reference(self) -> list[Outcome]:
        """Return the outcomes that determine the scale: those of ended trials or, while these are few, of all."""
        whole = self._whole
        every = [whole.outcome(number) for number in range(len(whole))]
        ended = [outcome for trial, outcome in zip(whole, every, strict=True) if trial.state.is_final]
        earlier = [trial.outcome for trial in whole.identical_trials if trial.outcome is not None]
        self._is_of_ended = len(earlier) + len(ended) >= MIN_ENDED
        return earlier + (ended if self._is_of_ended else every)

    def _weights(self, scaling: Scaling) -> FloatArray:
        """Return the weights by objective; those in which all trials are equal have none."""
        weights = np.zeros(len(self._goals.objectives))
        differing = [index for index in self._goals.order if scaling.extent[index] > 0] or list(self._goals.order)
        weights[differing] = weights_of(self._direction, len(differing))
        return weights


def _shown(trial: ParentTrial, ranks: bool, scaling: Scaling, weights: FloatArray) -> ParentTrial:
    """Return a parent's trial with the losses of a view, which ranks trials or models their losses."""
    outcome = trial.outcome
    if outcome is None or outcome.row is None:
        return trial
    is_behind = ranks and outcome.is_hopeless
    losses = behind_all(outcome, scaling, weights) if is_behind else distances(outcome, scaling, weights)
    return replace(trial, curve=_curve(outcome, losses))


def distances(outcome: Outcome, scaling: Scaling, weights: FloatArray) -> FloatArray:
    """Return the losses of a trial's epochs under weights, shape ``(n,)``; with one objective, they are its own.

    Epochs that do not meet the limits are no better than the best one that does.
    """
    losses = _distance(outcome.losses, scaling, weights)
    meets = outcome.meets
    if meets.any() and not meets.all():
        losses = np.where(meets, losses, np.maximum(losses, losses[meets].min()))
    return losses


def behind_all(outcome: Outcome, scaling: Scaling, weights: FloatArray) -> FloatArray:
    """Return the losses of a trial that meets the limits nowhere: it ranks behind all others, by its violation."""
    others = _distance(scaling.losses, scaling, weights)
    best, worst = (float(others.min()), float(others.max())) if len(others) else (0.0, 0.0)
    own = worst + (1.0 + outcome.worst_violation.min()) * ((worst - best) or abs(worst) or 1.0)
    return np.full(len(outcome.epochs), own)


def _distance(losses: FloatArray, scaling: Scaling, weights: FloatArray) -> FloatArray:
    if losses.shape[1] == 1:
        return np.asarray(losses[:, 0])
    z = (losses - scaling.ideal) / np.where(scaling.extent > 0, scaling.extent, 1.0)
    # In a fixed order, so that another order of the objectives changes not even rounding.
    order = np.argsort(weights, kind="stable")
    return chebyshev(z[:, order], weights[order])


def _curve(outcome: Outcome, losses: FloatArray) -> Curve:
    return Curve.of(outcome.epochs, losses, outcome.seconds)
