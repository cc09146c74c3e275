"""Two ways to choose a new configuration take turns, by how often each has brought a new best one.

Notation
    search    the maximiser of the expected improvement over the whole space: exploits what the surrogate has learned
    draws     random draws, or the best of a few: keep exploring where the surrogate has learned the wrong thing
    r, e      the new best losses that trials of one way have brought, and the epochs that they were trained
    R         the epochs of a full training run

Each way has turns in proportion to its new bests per epoch, ``(1 + r) / (R + e)``: as if it had trained one run in full
and found one new best before.

Where the surrogate predicts well, nearly every new best comes from the search, which soon has nearly all turns. Where
most configurations learn nothing, or many are the same, it exploits a plateau: its trials are trained longer and bring
no more new bests than draws, which then have most turns.

Which trial is whose follows from its number and the trials before it, so nothing is stored.

Reference:
    Hoffman, Brochu, de Freitas, "Portfolio Allocation for Bayesian Optimization", UAI 2011 (GP-Hedge: acquisition
    functions take turns according to their past gains).

Differs from it in: gains are the new bests observed per epoch of training rather than predicted means, and turns are
evenly spaced rather than drawn. See docs/decisions/0036 and 0047.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from hpo_plugins.history import History
from hpo_plugins.modeling.guides import believed_space
from hpo_plugins.modeling.memory_limit import fitting_draw
from hpo_plugins.modeling.observations import GOLDEN
from hpo_plugins.records import TrialState
from hpo_plugins.space import Params


@dataclass
class _Way:
    """What one way has brought, with the full run before it."""

    epochs: int
    bests: int = 1

    @property
    def rate(self) -> float:
        return self.bests / self.epochs


def drawn_configuration(history: History, seed: int, last: int, since: int) -> Params | None:
    """Return the draw whose turn it is to be the next trial, None on the search's turn.

    Draws continue the sequence of the initial design: a sequence that is used in part is spread badly.

    Args:
        history: The study.
        seed: Its seed.
        last: R.
        since: The first trial that either of them chose.
    """
    drawn = draws_before(history, last, since)
    return None if drawn is None else fitting_draw(history, seed, believed_space(history, last), since + drawn)


def draws_before(history: History, last: int, since: int, trial: int | None = None) -> int | None:
    """Return how many draws had their turn before a trial if it is a draw, None if it is the search's.

    Args:
        history: The study.
        last: R.
        since: The first trial that either of them chose.
        trial: The trial; by default, the next one.
    """
    trial = len(history) if trial is None else trial
    search, draws, before = _Way(last), _Way(last), 0

    def is_draw(number: int) -> bool:
        return number * GOLDEN % 1 >= search.rate / (search.rate + draws.rate)

    for number, (is_best, trained) in enumerate(islice(_outcomes(history), trial)):
        if number >= since:
            chosen_by_draw = is_draw(number)
            way = draws if chosen_by_draw else search
            way.epochs += trained
            way.bests += is_best
            before += chosen_by_draw
    return before if is_draw(trial) else None


def _outcomes(history: History) -> Iterator[tuple[bool, int]]:
    """Yield of each trial whether its loss was a new best one, and its epochs."""
    best = math.inf
    for trial in history:
        found = None if trial.state is TrialState.FAILED else trial.curve.loss(at=history.objective.at)
        loss = math.inf if found is None else found
        yield loss < best, trial.curve.epochs[-1] if len(trial.curve) else 1
        best = min(best, loss)
