"""Two ways to choose a new configuration take turns, in proportion to how often each has brought a new best one.

Notation
    search    the maximiser of the expected improvement over the whole space: exploits what the surrogate has learned
    draws     the best of a few random draws: keeps exploring where the surrogate has learned the wrong thing
    r, e      the new best losses that trials of one way have brought, and the epochs that they were trained
    share     of the search: its rate (1 + r) / (R + e) over the sum of both rates; at first it is a half

Where the surrogate predicts well, nearly every new best comes from the search, which soon has nearly all turns. Where
most configurations learn nothing, or many are the same, it exploits a plateau: its trials are trained longer and bring
no more new bests than draws, which then have most turns.

Which trial is whose follows from its number and the trials before it, so nothing is stored.

Reference:
    Hoffman, Brochu, de Freitas, "Portfolio Allocation for Bayesian Optimization", UAI 2011 (GP-Hedge: acquisition
    functions take turns according to their past gains).

Differs from it in: gains are the new bests observed per epoch of training rather than predicted means, and turns are
evenly spaced rather than drawn. See docs/decisions/0036.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from hpo_plugins.history import History
from hpo_plugins.records import TrialState

GOLDEN = (math.sqrt(5) - 1) / 2
"""Multiples of it are evenly spread over the unit interval, modulo 1 (van der Corput)."""


def is_draws_turn(history: History, last: int, since: int) -> bool:
    """Return whether the next trial is the best of a few random draws, instead of the search's choice.

    Args:
        history: The study.
        last: R.
        since: The first trial that either of them chose.
    """
    bests, epochs = {True: 1.0, False: 1.0}, {True: float(last), False: float(last)}

    def is_draw(number: int) -> bool:
        rates = {way: bests[way] / epochs[way] for way in (True, False)}
        return number * GOLDEN % 1 >= rates[False] / (rates[True] + rates[False])

    for number, (is_best, trained) in enumerate(_outcomes(history)):
        if number >= since:
            way = is_draw(number)
            bests[way] += is_best
            epochs[way] += trained
    return is_draw(len(history))


def _outcomes(history: History) -> Iterator[tuple[bool, int]]:
    """Yield of each trial whether its loss was a new best one, and its epochs."""
    best = math.inf
    for trial in history:
        found = None if trial.state is TrialState.FAILED else trial.curve.loss(at=history.objective.at)
        loss = math.inf if found is None else found
        yield loss < best, trial.curve.epochs[-1] if len(trial.curve) else 1
        best = min(best, loss)
