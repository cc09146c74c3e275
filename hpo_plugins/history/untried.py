"""Random draws that no trial has tried."""

from __future__ import annotations

from hpo_plugins.history.history import History
from hpo_plugins.space import Params
from hpo_plugins.space.sobol import draw


def untried_draw(history: History, seed: int) -> Params:
    """Return the first random draw, from the trial's own on, that no trial has.

    Args:
        history: The study; a finite space must have an untried configuration.
        seed: Its seed.
    """
    size, index = history.space.size, len(history)
    while True:
        params = draw(history.space, seed, index if size is None else index % size)
        if not history.has_configuration(params):
            return params
        index += 1
