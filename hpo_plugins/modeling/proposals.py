"""Propose new configurations by their expected improvement.

If curves are modelled, random draws keep their turns, as many as they have earned (``turns``).
"""

from __future__ import annotations

import math
import threading
from collections.abc import Hashable

import numpy as np
from cachetools import LRUCache, cached
from scipy.spatial import KDTree

from hpo_plugins.history import History
from hpo_plugins.modeling.epoch_cost import Cost, counts_seconds, seconds_per_epoch
from hpo_plugins.modeling.feasibility import choices_key, feasibility, probably_feasible
from hpo_plugins.modeling.guides import believed_space
from hpo_plugins.modeling.memory_limit import fitting_draw, memory_limit
from hpo_plugins.modeling.model import Model, fit_model
from hpo_plugins.modeling.turns import drawn_configuration
from hpo_plugins.space import FloatArray, Params
from hpo_plugins.surrogate.optimize import AcquisitionOptimizer, Proposals
from hpo_plugins.surrogate.threads import single_threaded

N_CAUTIOUS_TRIALS = 12
"""If curves are modelled, the trials after which new configurations are sought everywhere, corners included.

A compromise: real training runs gain from more of them, LCBench, whose optima are in corners, from fewer
(docs/decisions/0003).
"""
MAX_REACH = 0.05
"""Two configurations whose coordinates in the unit cube differ by less, all of them, are neighbours."""
MAX_SHARE = 0.01
"""Maximum part of the space in which nothing is proposed for being near a stopped training run: in few dimensions,
neighbours are nearer (docs/decisions/0029)."""


@single_threaded
def proposed_configuration(
    history: History, seed: int, last: int | None, *, n_initial: int, cost: Cost, avoid_stopped: bool
) -> Params | None:
    """Return the configuration of largest expected improvement; None if the surrogate knows too little.

    Args:
        history: The study.
        seed: Its seed.
        last: R if curves are modelled, otherwise None.
        n_initial: Trials of the initial design.
        cost: What an epoch costs; if it is seconds, the expected improvement per second is largest.
        avoid_stopped: Whether to propose nothing beside a stopped training run.
    """
    model = fit_model(history, last)
    if model is None or model.knows_nothing or (len(model.points) < n_initial and not model.has_prior_mean):
        return None
    if last is not None and len(model.points) >= N_CAUTIOUS_TRIALS:
        drawn = drawn_configuration(model.history, seed, last, max(n_initial, N_CAUTIOUS_TRIALS))
        if drawn is not None:
            return drawn
    found = propose(model, model.running(), model.points)
    points, value = _apart_from_stopped(model, found) if avoid_stopped else found
    if not len(points):
        return fitting_draw(history, seed, believed_space(history, last))
    seconds = seconds_per_epoch(history)
    if counts_seconds(cost, seconds):
        value = value - np.log(model.relative_epoch_cost(seconds, points, [None] * len(points)))
    return history.space.decode(points[int(np.argmax(value))])


def _key(model: Model, running: tuple[int, ...], excluded: FloatArray, *, cautious: bool = False) -> Hashable:
    return model.data_key, running, excluded.tobytes(), memory_limit(model.history), choices_key(model), cautious


@cached(LRUCache(maxsize=8), key=_key, lock=threading.Lock())
def propose(model: Model, running: tuple[int, ...], excluded: FloatArray, *, cautious: bool = False) -> Proposals:
    """Return new configurations in descending order of expected improvement.

    Args:
        model: The surrogate.
        running: Trials whose results are still to come: they count with their predicted losses.
        excluded: Configurations not to return, shape ``(n, d)``.
        cautious: Whether to seek them among a few random draws only, as for the first trials if curves are modelled.
    """
    last = model.last or 1
    competitors = np.array(running, dtype=np.intp)
    posterior = model.posterior.condition_on_mean(model.inputs(model.points[competitors], last))
    if model.last is not None:  # the best so far may have trained for few epochs, and be expected to improve
        competitors = np.append(competitors, np.intersect1d(model.incumbents(20), model.improvable()))
    competitors = competitors[probably_feasible(model, model.points[competitors])]
    means = posterior.predict_mean(model.inputs(model.points[competitors], last))
    best = float(np.min([model.best, *means]))
    rng = np.random.default_rng(len(model.observed.loss))
    fidelity = None if model.last is None else 1.0
    cautious = cautious or (model.last is not None and len(model.points) < N_CAUTIOUS_TRIALS)
    optimizer = AcquisitionOptimizer(
        model.encoder,
        posterior,
        best,
        log_fidelity=fidelity,
        cautious=cautious,
        rng=rng,
        risk=memory_limit(model.history),
        feasibility=feasibility(model),
    )
    return optimizer.run(model.points[model.incumbents(5)], excluded)


def _apart_from_stopped(model: Model, found: Proposals) -> Proposals:
    """Return the proposals that are no neighbours of a stopped training run; all if there are no others.

    What stopped it would stop a neighbour, too, whatever the surrogate expects of the last epoch.
    """
    stopped = np.delete(model.points, model.improvable(), axis=0)
    if not len(stopped) or not len(found.points) or model.history.space.size is not None:
        return found
    reach = min(MAX_REACH, 0.5 * (MAX_SHARE / len(stopped)) ** (1 / stopped.shape[1]))
    distances = KDTree(stopped).query(found.points, p=math.inf, distance_upper_bound=reach)[0]
    apart = np.isinf(distances)
    return Proposals(found.points[apart], found.log_improvement[apart]) if apart.any() else found
