"""Choose the next new configuration: the initial design's, or the one with the largest expected improvement.

With little data, the expected improvement peaks in the corners of the space, where uncertainty is largest. The
surrogate therefore chooses its first configurations from random draws only.

The first trial of a process is not to wait for an import: the surrogate, which loads scipy, is imported when there is
something to fit.
"""

from __future__ import annotations

import numpy as np

from hpo_plugins.history import History
from hpo_plugins.modeling.epoch_cost import Cost
from hpo_plugins.modeling.guides import believed_space, has_guides
from hpo_plugins.modeling.memory_limit import fitting_draw, memory_limit
from hpo_plugins.modeling.observations import known_points
from hpo_plugins.modeling.transfer import transfer_candidate
from hpo_plugins.space import Params
from hpo_plugins.surrogate.encoding import InputEncoder

N_INITIAL = 8
"""Trials of the initial design if only final values are modelled.

With fewer, the surrogate explores the corners of a space of many parameters (docs/decisions/0004).
"""
N_INITIAL_CURVES = 4
"""The same if curves are modelled: then a trial of the initial design costs only a few epochs."""


def suggest(
    history: History,
    seed: int,
    last: int | None = None,
    *,
    n_initial: int | None = None,
    cost: Cost = "epochs",
    avoid_stopped: bool = False,
) -> Params:
    """Return a new configuration: the one of largest expected improvement, or the initial design's next.

    Args:
        history: The study.
        seed: Its seed.
        last: R if curves are modelled, otherwise None.
        n_initial: Trials of the initial design; by default ``N_INITIAL_CURVES``, or ``N_INITIAL`` without curves.
        cost: What an epoch costs; if it is seconds, the expected improvement per second is largest.
        avoid_stopped: Whether to propose nothing beside a stopped training run.
    """
    known = len(known_points(history))
    n_initial = n_initial or (N_INITIAL if last is None else N_INITIAL_CURVES)
    needed = N_INITIAL_CURVES if has_guides(history) else n_initial
    if known < needed:
        return initial_configuration(history, seed, last)
    from hpo_plugins.modeling.proposals import proposed_configuration

    found = proposed_configuration(history, seed, last, n_initial=n_initial, cost=cost, avoid_stopped=avoid_stopped)
    return initial_configuration(history, seed, last) if found is None else found


def initial_configuration(history: History, seed: int, last: int | None) -> Params:
    """Return the next configuration of the initial design.

    The first one is the centre of the space: users choose ranges around good values (docs/decisions/0004, 0037). If the
    space comes with a belief, its mode is the first one, and the draws follow it as long as results do not contradict
    it.

    Args:
        history: The study.
        seed: Its seed.
        last: R if curves are modelled, otherwise None.
    """
    space = history.space
    point = transfer_candidate(history, InputEncoder(space)) if len(history) < N_INITIAL_CURVES else None
    if point is None and not len(history) and not space.belief:
        point = np.full(len(space), 0.5)
    if point is None or not space.accepts(space.decode(point)):
        return fitting_draw(history, seed, believed_space(history, last))
    limit = memory_limit(history)
    if limit is not None and limit.risk(point[None])[0] > limit.max_risk:
        return fitting_draw(history, seed, believed_space(history, last))
    return space.decode(point)
