"""The next new configuration: the initial design's, or the one of which the surrogate expects most."""

from __future__ import annotations

import numpy as np

from hpo_plugins.history import History
from hpo_plugins.history.untried import untried_draw
from hpo_plugins.modeling.epoch_cost import Cost, counts_seconds, seconds_per_epoch
from hpo_plugins.modeling.initial_design import N_INITIAL, N_INITIAL_CURVES, initial_configuration
from hpo_plugins.modeling.model import fit_model
from hpo_plugins.modeling.observations import known_points
from hpo_plugins.modeling.proposals import propose
from hpo_plugins.modeling.transfer import guiding_parents
from hpo_plugins.space import Params
from hpo_plugins.surrogate.threads import single_threaded


@single_threaded
def suggest(
    history: History, seed: int, last: int | None = None, *, n_initial: int | None = None, cost: Cost = "epochs"
) -> Params:
    """Return a new configuration: the one of largest expected improvement, or the initial design's next.

    Args:
        history: The study.
        seed: Its seed.
        last: R if curves are modelled, else None.
        n_initial: Trials of the initial design; by default ``N_INITIAL_CURVES``, or ``N_INITIAL`` without curves.
        cost: What an epoch costs; if it is seconds, the expected improvement per second is largest.
    """
    known = len(known_points(history))
    n_initial = n_initial or (N_INITIAL if last is None else N_INITIAL_CURVES)
    needed = N_INITIAL_CURVES if guiding_parents(history) else n_initial
    model = fit_model(history, last) if known >= needed else None
    if model is None or model.knows_nothing or (known < n_initial and not model.has_prior_mean):
        return initial_configuration(history, seed, curves=last is not None)
    points, value = propose(model, model.running(), model.points)
    if not len(points):
        return untried_draw(history, seed)
    seconds = seconds_per_epoch(history)
    if counts_seconds(cost, seconds):
        value = value - np.log(model.relative_epoch_cost(seconds, points, [None] * len(points)))
    return history.space.decode(points[int(np.argmax(value))])
