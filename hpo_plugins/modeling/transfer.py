"""What earlier studies say about a new one: a first guess of its losses, believed as far as its results bear it out.

Notation
    mu_p(x)    what parent p's own process expects at configuration x
    dev_i      how much worse trial i of the new study was than the others at the same epochs, standardised
    r          rank correlation of a guess with dev, over the n trials of the new study
    w(r)       ``max(0, r (1 - (1 - r^2) / ((n - 2) r^2)))``: r less what chance alone would give

Each parent's mu_p has the weight w of its own agreement; what they say together is standardised on the tried
configurations, and shrunk by w once more. The surrogate then models what losses differ by from that. A parent that has
nothing to say, or says the opposite, has w = 0, and the surrogate is what it would be without it: it costs the trials
of the opening that were spent on its best configurations. Offsets and units of a parent's losses play no role.

Reference:
    Feurer, Letham, Hutter, Bakshy, "Practical Transfer Learning for Bayesian Optimization", arXiv 1802.02219, 2018:
    one process a study, weighted by how well it orders the new results. Differs: the parents' processes are the mean
    of the new one instead of members of an ensemble beside it, so that new results correct them at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hpo_plugins.history import History, ParentTrials
from hpo_plugins.modeling.observations import Observations, Standardization
from hpo_plugins.records import TrialState
from hpo_plugins.space import FloatArray

if TYPE_CHECKING:
    from hpo_plugins.surrogate.encoding import Features
    from hpo_plugins.surrogate.gp import Posterior
    from hpo_plugins.surrogate.prior_mean import Guess

MOST = 100
"""Trials of one parent that are learned from, the best ones."""
LEAST = 3
"""Trials, of a parent and of the new study, before that parent is believed."""
APART = 0.1
"""How far a parent's configuration must be from those tried to be tried too, in some coordinate of the unit cube."""


def guides(history: History) -> list[int]:
    """Return which of the history's parents guide, and have trials enough to say something."""
    return [
        index
        for index, parent in enumerate(history.parents)
        if not parent.identical and len(_known(history, parent)[1]) >= LEAST
    ]


def lead(history: History, features: Features) -> FloatArray | None:
    """Return a configuration that was good for a parent and is new here, or None when it is not a parent's turn.

    It is every other time; the trials between are draws that owe nothing to any parent, by which parents are judged:
    one whose last configuration did worse than a draw has no second turn.
    """
    parents = guides(history)
    turn, odd = divmod(len(history), 2)
    if not parents or odd:
        return None
    if turn >= len(parents):
        before = history.loss(2 * (turn - len(parents)))
        draws = [loss for number in range(1, len(history), 2) if (loss := history.loss(number)) is not None]
        if before is not None and draws and min(draws) < before:
            return None
    points, _ = _known(history, history.parents[parents[turn % len(parents)]])
    taken = features.snap(history.points())
    for point in features.snap(points):
        if not len(taken) or np.abs(taken - point).max(axis=1).min() > APART:
            found: FloatArray = point
            return found
    return None


def learn_guess(
    history: History, seen: Observations, y: FloatArray, points: FloatArray, features: Features
) -> Guess | None:
    """Return the guess that the parents give, on the scale of ``y``; None when none of them is believed.

    Args:
        history: The study, which knows its parents.
        seen: What is known of the new study's trials.
        y: Its standardised losses.
        points: All snapped configurations, by trial.
        features: The space's columns.
    """
    from hpo_plugins.surrogate.prior_mean import Guess

    parents = guides(history)
    trials, deviations = _deviations(seen, y)
    if not parents or len(trials) < LEAST:
        return None
    x = features.inputs(points[trials])
    processes = [_process(history, parent, features) for parent in parents]
    means = np.array([process.at(x)[0] for process in processes])
    spreads = means.std(axis=1)
    weights = np.array([agreement(mean, deviations) for mean in means])
    shares = np.divide(weights**2, spreads, out=np.zeros(len(parents)), where=spreads > 0)
    together = shares @ means
    factor = agreement(together, deviations)
    if factor == 0:
        return None
    factor *= float(deviations.std() / together.std())
    return Guess(processes, [factor * float(share) for share in shares], -factor * float(together.mean()))


def agreement(guess: FloatArray, deviations: FloatArray) -> float:
    """Return w: the rank correlation of a guess with what was found, less what chance alone would give."""
    from scipy.stats import rankdata

    n = len(guess)
    ranks = [rankdata(column) - (n + 1) / 2 for column in (guess, deviations)]
    size = float(np.sqrt((ranks[0] ** 2).sum() * (ranks[1] ** 2).sum()))
    r = float(ranks[0] @ ranks[1]) / size if size > 0 else 0.0
    return max(0.0, r - (1 - r * r) / ((n - 2) * r)) if r > 0 and n >= LEAST else 0.0


def _known(history: History, parent: ParentTrials) -> tuple[FloatArray, FloatArray]:
    """Return the points and losses of a parent's best trials, shapes ``(k, d)`` and ``(k,)``, the best first."""
    found = [
        (loss, index)
        for index, trial in enumerate(parent.trials)
        if trial.state is not TrialState.FAILED and (loss := trial.curve.loss(at=history.objective.at)) is not None
    ]
    best = sorted(found)[:MOST]
    points = np.array([parent.trials[index].point for _, index in best]).reshape(len(best), len(history.space))
    return points, np.array([loss for loss, _ in best])


_processes: dict[tuple[str, int, str], Posterior] = {}


def _process(history: History, parent: int, features: Features) -> Posterior:
    """Return a parent's process; it never changes, so it is fitted once."""
    from hpo_plugins.surrogate.gp import Posterior, fit

    key = (history.parents_digest, parent, repr(history.space))
    if key not in _processes:
        while len(_processes) >= 16:
            _processes.pop(next(iter(_processes)))
        points, losses = _known(history, history.parents[parent])
        layout = features.layout(curves=False)
        x, y = features.inputs(features.snap(points)), Standardization.of(losses)(losses)
        _processes[key] = Posterior(layout, fit(layout, x, y), x, y)
    return _processes[key]


def _deviations(seen: Observations, y: FloatArray) -> tuple[NDArray[np.intp], FloatArray]:
    """Return the trials that can be compared with others, and how much worse each was at the same epochs."""
    apart = np.full(len(y), np.nan)
    for epoch in np.unique(seen.epoch):
        here = seen.epoch == epoch
        if here.sum() > 1:
            apart[here] = y[here] - y[here].mean()
    compared = np.isfinite(apart)
    trials, place = np.unique(seen.trial[compared], return_inverse=True)
    total = np.bincount(place, weights=apart[compared], minlength=len(trials))
    return trials, total / np.maximum(np.bincount(place, minlength=len(trials)), 1)
