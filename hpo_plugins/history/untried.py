"""Random draws that no trial has tried."""

from __future__ import annotations

from hpo_plugins.history.history import History
from hpo_plugins.space import Params, Space
from hpo_plugins.space.sobol import draw


def untried_draw(history: History, seed: int, space: Space | None = None, first: int | None = None) -> Params:
    """Return the first random draw, from the trial's own on or from ``first`` on, that no trial has.

    If the space comes with a belief, its mode comes before all draws.

    Args:
        history: The study; a finite space must have an untried configuration.
        seed: Its seed.
        space: What to draw from: the space of the study, by default, or the same one without the belief.
        first: The number of the first draw; by default, the number of trials.
    """
    space = history.space if space is None else space
    size, index = space.size, len(history) if first is None else first
    if space.belief and not history.has_configuration(params := draw(space, seed, 0)):
        return params
    while True:
        params = draw(space, seed, index if size is None else index % size)
        if not history.has_configuration(params):
            return params
        index += 1
