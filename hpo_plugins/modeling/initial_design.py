"""The configurations of a search before the surrogate chooses: the centre, random draws, a parent's best ones."""

from __future__ import annotations

import numpy as np

from hpo_plugins.history import History
from hpo_plugins.history.untried import untried_draw
from hpo_plugins.modeling.transfer import transfer_candidate
from hpo_plugins.space import Params
from hpo_plugins.surrogate.encoding import InputEncoder

N_INITIAL = 8
"""Trials of the initial design if only final values are modelled.

With fewer, the surrogate explores the corners of a space of many parameters (docs/decisions/0004).
"""
N_INITIAL_CURVES = 4
"""The same if curves are modelled: then a trial of the initial design costs only a few epochs."""


def initial_configuration(history: History, seed: int, *, curves: bool) -> Params:
    """Return the next configuration of the initial design.

    If only final values are modelled, the first one is the centre of the space: ranges are made so that it is not bad,
    and it is better than the best of five random draws. Of curves, which begin with short trainings, more is learned
    from random draws. See docs/decisions/0004.

    Args:
        history: The study.
        seed: Its seed.
        curves: Whether curves are modelled.
    """
    space = history.space
    point = transfer_candidate(history, InputEncoder(space)) if len(history) < N_INITIAL_CURVES else None
    if point is None and not curves and not len(history):
        point = np.full(len(space), 0.5)
    return untried_draw(history, seed) if point is None else space.decode(point)
