"""Transfer from earlier studies: a prior mean for the surrogate, trusted as far as the new results agree with it.

Notation
    mu_p(x)    the loss that parent p's own process predicts for configuration x
    dev_i      how much worse trial i of the new study was than the others at the same epochs, standardised
    r          rank correlation of a prediction with dev, over the n trials of the new study
    w(r)       ``max(0, r (1 - (1 - r^2) / ((n - 2) r^2)))``: r, reduced by what chance alone would give

Each parent's mu_p is weighted by the w of its own agreement; their sum is standardised over the tried configurations
and multiplied by its own w. It becomes the prior mean of the surrogate, which models the difference from it. A parent
that is uninformative or contradicts the results has w = 0, and costs only the trials of the initial design that were
spent on its best configurations. Offsets and units of a parent's losses have no effect.

Reference:
    Feurer, Letham, Hutter, Bakshy, "Practical Transfer Learning for Bayesian Optimization", arXiv 1802.02219, 2018
    (RGPE: one process per study, weighted by how well it ranks the new results).

Differs from it in: the parents' processes are the prior mean of the new one rather than members of an ensemble beside
it, so that new results correct them immediately.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable
from typing import NamedTuple

import numpy as np
from cachetools import LRUCache, cached
from numpy.typing import NDArray
from scipy.stats import rankdata

from hpo_plugins.history import History, ParentTrials
from hpo_plugins.modeling.observations import Observations
from hpo_plugins.modeling.scale import LogScale
from hpo_plugins.records import TrialState
from hpo_plugins.space import FloatArray
from hpo_plugins.surrogate.encoding import InputEncoder
from hpo_plugins.surrogate.gp import Posterior, fit
from hpo_plugins.surrogate.prior_mean import PriorMean

MAX_PARENT_TRIALS = 100
"""Maximum number of a parent's trials to learn from, the best ones."""
MIN_TRIALS = 3
"""Minimum number of trials, of a parent and of the new study, before that parent is trusted."""
MIN_DISTANCE = 0.1
"""Minimum distance, in some coordinate of the unit cube, of a parent's configuration from those tried."""


def guiding_parents(history: History) -> list[int]:
    """Return the indices of the parents that guide the search and have enough trials."""
    return [
        index
        for index, parent in enumerate(history.parents)
        if not parent.identical and len(_best_trials(history, parent).losses) >= MIN_TRIALS
    ]


def transfer_candidate(history: History, encoder: InputEncoder) -> FloatArray | None:
    """Return a new configuration that was good for a parent, shape ``(d,)``; None if it is no parent's turn.

    Every other trial of the initial design comes from a parent. The trials between are random draws, by which parents
    are judged: one whose last configuration did worse than a draw has no second turn.
    """
    parents = guiding_parents(history)
    own = [trial.row.number for trial in history if trial.row.point is None]  # not the user's own configurations
    turn, is_draw = divmod(len(own), 2)
    if not parents or is_draw:
        return None
    if turn >= len(parents):
        before = history.loss(own[2 * (turn - len(parents))])
        draws = [loss for number in own[1::2] if (loss := history.loss(number)) is not None]
        if before is not None and draws and min(draws) < before:
            return None
    points = _best_trials(history, history.parents[parents[turn % len(parents)]]).points
    tried = encoder.snap(history.points())
    for point in encoder.snap(points):
        if not len(tried) or np.abs(tried - point).max(axis=1).min() > MIN_DISTANCE:
            candidate: FloatArray = point
            return candidate
    return None


def learn_prior_mean(
    history: History, observed: Observations, y: FloatArray, points: FloatArray, encoder: InputEncoder
) -> PriorMean | None:
    """Return the prior mean that the parents give, on the scale of ``y``; None if none of them is trusted.

    Args:
        history: The study, with its parents.
        observed: The observations of the new study's trials.
        y: Its standardised losses, shape ``(n_observations,)``.
        points: The snapped configurations of all trials, shape ``(n_trials, d)``.
        encoder: Encodes configurations as inputs.
    """
    parents = guiding_parents(history)
    compared = _deviations(observed, y)
    if not parents or len(compared.trials) < MIN_TRIALS:
        return None
    x = encoder.inputs(points[compared.trials])
    processes = [_parent_process(history, parent, encoder) for parent in parents]
    means = np.array([process.predict(x).mean for process in processes])
    spreads = means.std(axis=1)
    trust = np.array([agreement(mean, compared.deviations) for mean in means])
    weights = np.divide(trust**2, spreads, out=np.zeros(len(parents)), where=spreads > 0)
    combined = weights @ means
    factor = agreement(combined, compared.deviations)
    if factor == 0:
        return None
    factor *= float(compared.deviations.std() / combined.std())
    return PriorMean(processes, [factor * float(weight) for weight in weights], -factor * float(combined.mean()))


def agreement(predicted: FloatArray, deviations: FloatArray) -> float:
    """Return w(r) for predicted losses and observed deviations, shape ``(n,)`` each."""
    n = len(predicted)
    ranks = [rankdata(column) - (n + 1) / 2 for column in (predicted, deviations)]
    size = float(np.sqrt((ranks[0] ** 2).sum() * (ranks[1] ** 2).sum()))
    r = float(ranks[0] @ ranks[1]) / size if size > 0 else 0.0
    return max(0.0, r - (1 - r * r) / ((n - 2) * r)) if r > 0 and n >= MIN_TRIALS else 0.0


class _BestTrials(NamedTuple):
    """The best trials of a parent, the best first: ``points`` of shape ``(k, d)`` and ``losses`` of shape ``(k,)``."""

    points: FloatArray
    losses: FloatArray


def _best_trials(history: History, parent: ParentTrials) -> _BestTrials:
    found = [
        (loss, index)
        for index, trial in enumerate(parent.trials)
        if trial.state is not TrialState.FAILED and (loss := trial.curve.loss(at=history.objective.at)) is not None
    ]
    best = sorted(found)[:MAX_PARENT_TRIALS]
    points = np.array([parent.trials[index].point for _, index in best]).reshape(len(best), len(history.space))
    return _BestTrials(points, np.array([loss for loss, _ in best]))


def _key(history: History, parent: int, encoder: InputEncoder) -> Hashable:  # noqa: ARG001 - made for the space
    return history.parents_digest, parent, history.space


@cached(LRUCache(maxsize=16), key=_key, lock=threading.Lock())
def _parent_process(history: History, parent: int, encoder: InputEncoder) -> Posterior:
    """Return a parent's own process; it is fitted once, since parents never change."""
    points, losses = _best_trials(history, history.parents[parent])
    layout = encoder.layout(curves=False)
    x, y = encoder.inputs(encoder.snap(points)), LogScale.of(losses)(losses)
    return Posterior(layout, fit(layout, x, y), x, y)


class _Deviations(NamedTuple):
    """The trials that can be compared with others, and how much worse each was at the same epochs."""

    trials: NDArray[np.intp]
    deviations: FloatArray


def _deviations(observed: Observations, y: FloatArray) -> _Deviations:
    deviation = np.full(len(y), np.nan)
    for epoch in np.unique(observed.epoch):
        here = observed.epoch == epoch
        if here.sum() > 1:
            deviation[here] = y[here] - y[here].mean()
    compared = np.isfinite(deviation)
    trials, index = np.unique(observed.trial[compared], return_inverse=True)
    total = np.bincount(index, weights=deviation[compared], minlength=len(trials))
    return _Deviations(trials, total / np.maximum(np.bincount(index, minlength=len(trials)), 1))
