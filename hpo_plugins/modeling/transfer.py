"""Transfer from earlier studies: their best configurations, and the losses that they predict (see ``guides``)."""

from __future__ import annotations

import threading
from collections.abc import Hashable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from cachetools import LRUCache, cached

from hpo_plugins.history import History, ParentTrials
from hpo_plugins.modeling.scale import LogScale
from hpo_plugins.records import TrialState
from hpo_plugins.space import FloatArray
from hpo_plugins.surrogate.encoding import InputEncoder

if TYPE_CHECKING:
    from hpo_plugins.surrogate.gp import Posterior

MAX_PARENT_TRIALS = 100
"""Maximum number of a parent's trials to learn from, the best ones."""
MIN_TRIALS = 3
"""Minimum number of trials of a parent that guides a search."""
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
def parent_process(history: History, parent: int, encoder: InputEncoder) -> Posterior:
    """Return a parent's own process, fitted to its best trials; it is fitted once, since parents never change."""
    from hpo_plugins.surrogate.gp import Posterior, fit

    points, losses = _best_trials(history, history.parents[parent])
    layout = encoder.layout(curves=False)
    x, y = encoder.inputs(encoder.snap(points)), LogScale.of(losses)(losses)
    return Posterior(layout, fit(layout, x, y), x, y)
