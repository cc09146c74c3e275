"""Guides of a search: earlier studies and the user's belief, trusted as far as results agree with them.

Notation
    mu_p(x)    the loss that guide p predicts for configuration x: a parent's own process does, or the belief
    dev_i      how much worse trial i of the new study was than the others at the same epochs, standardised
    r          rank correlation of a prediction with dev, over the n trials of the new study
    w(r)       ``max(0, r (1 - (1 - r^2) / ((n - 2) r^2)))``: r, reduced by what chance alone would give

Each guide's mu_p is weighted by the w of its own agreement; their sum is standardised over the tried configurations
and multiplied by its own w. It becomes the prior mean of the surrogate, which models the difference from it. A guide
that is uninformative or contradicts the results has w = 0, and costs only the trials of the initial design that were
spent on what it recommends. Offsets and units of its losses have no effect.

Reference:
    Feurer, Letham, Hutter, Bakshy, "Practical Transfer Learning for Bayesian Optimization", arXiv 1802.02219, 2018
    (RGPE: one process per study, weighted by how well it ranks the new results).

Differs from it in: the guides are the prior mean of the new process rather than members of an ensemble beside it, so
that new results correct them immediately; a belief (``space.belief``) is one of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hpo_plugins.history import History
from hpo_plugins.modeling.observations import Observations, known_points, observe
from hpo_plugins.modeling.scale import LogScale
from hpo_plugins.modeling.transfer import guiding_parents, parent_process
from hpo_plugins.space import FloatArray, Space
from hpo_plugins.surrogate.believed_loss import BelievedLoss
from hpo_plugins.surrogate.encoding import InputEncoder
from hpo_plugins.surrogate.prior_mean import Predictor, PriorMean

MIN_TRIALS = 3
"""Minimum number of trials of the new study before a guide is trusted."""
MIN_JUDGES = 6
"""Number of trials from which on their results decide whether draws follow the belief (docs/decisions/0033)."""


def has_guides(history: History) -> bool:
    """Return whether something predicts losses: a belief, or parents with enough trials."""
    return bool(history.space.belief or guiding_parents(history))


def believed_space(history: History, last: int | None) -> Space:
    """Return what to draw from: the study's space, or the same one without a belief that its results contradict.

    Args:
        history: The study.
        last: R if curves are modelled, otherwise None.
    """
    space = history.space
    return space.without_belief if space.belief and trust_in_belief(history, last) == 0 else space


def trust_in_belief(history: History, last: int | None) -> float | None:
    """Return w of the belief: 0 if it ranks results no better than chance; None while there are too few results.

    Args:
        history: The study, whose space comes with a belief.
        last: R if curves are modelled, otherwise None.
    """
    encoder = InputEncoder(history.space)
    if len(history) < MIN_JUDGES or not encoder.columns:
        return None
    observed = observe(history, last)
    if np.isfinite(observed.loss).sum() < 2:
        return None
    compared = _deviations(observed, LogScale.of(observed.loss)(observed.loss))
    if len(compared.trials) < MIN_JUDGES:
        return None
    x = encoder.inputs(encoder.snap(known_points(history)[compared.trials]))
    return agreement(BelievedLoss(encoder).predict(x).mean, compared.deviations)


def learn_prior_mean(
    history: History, observed: Observations, y: FloatArray, points: FloatArray, encoder: InputEncoder
) -> PriorMean | None:
    """Return the prior mean that the guides give, on the scale of ``y``; None if none of them is trusted.

    Args:
        history: The study, with its parents.
        observed: The observations of the new study's trials.
        y: Its standardised losses, shape ``(n_observations,)``.
        points: The snapped configurations of all trials, shape ``(n_trials, d)``.
        encoder: Encodes configurations as inputs.
    """
    compared = _deviations(observed, y)
    if not has_guides(history) or len(compared.trials) < MIN_TRIALS:
        return None
    x = encoder.inputs(points[compared.trials])
    guides = _guides(history, encoder)
    means = np.array([guide.predict(x).mean for guide in guides])
    spreads = means.std(axis=1)
    trust = np.array([agreement(mean, compared.deviations) for mean in means])
    weights = np.divide(trust**2, spreads, out=np.zeros(len(guides)), where=spreads > 0)
    combined = weights @ means
    factor = agreement(combined, compared.deviations)
    if factor == 0:
        return None
    factor *= float(compared.deviations.std() / combined.std())
    return PriorMean(guides, [factor * float(weight) for weight in weights], -factor * float(combined.mean()))


def _guides(history: History, encoder: InputEncoder) -> Sequence[Predictor]:
    parents = [parent_process(history, parent, encoder) for parent in guiding_parents(history)]
    return [*parents, BelievedLoss(encoder)] if history.space.belief else parents


def agreement(predicted: FloatArray, deviations: FloatArray) -> float:
    """Return w(r) for predicted losses and observed deviations, shape ``(n,)`` each."""
    n = len(predicted)
    ranks = [average_ranks(column) - (n + 1) / 2 for column in (predicted, deviations)]
    size = float(np.sqrt((ranks[0] ** 2).sum() * (ranks[1] ** 2).sum()))
    r = float(ranks[0] @ ranks[1]) / size if size > 0 else 0.0
    return max(0.0, r - (1 - r * r) / ((n - 2) * r)) if r > 0 and n >= MIN_TRIALS else 0.0


def average_ranks(values: FloatArray) -> FloatArray:
    """Return the ranks from 1, equal values with their mean rank: ``scipy.stats.rankdata``, which is slow to import."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: FloatArray = (np.cumsum(counts) - (counts - 1) / 2)[places]
    return ranks


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
