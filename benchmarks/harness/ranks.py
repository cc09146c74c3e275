"""Mean ranks of methods over problems, with intervals: a pure function of the regrets.

A method's rank on a problem is that of its mean regret over seeds among all methods, 1 for the least; equal ones share
the mean of their ranks. The interval is the range of the middle 95 % of bootstrapped mean ranks: problems are drawn
with replacement, and for every problem drawn the seeds of each method.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

N_DRAWS = 1000
Array = NDArray[np.float64]
Regrets = Mapping[str, Mapping[str, ArrayLike]]
"""By method and problem: the regrets of all seeds, shape ``(n_seeds,)``."""


class MeanRank(NamedTuple):
    """A mean rank and its 95 % interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        """Return it as a cell of a table."""
        return f"{self.mean:.1f} ({self.low:.1f}-{self.high:.1f})"


def mean_ranks(regrets: Regrets, draws: int = N_DRAWS) -> dict[str, MeanRank]:
    """Return each method's mean rank over the problems.

    Args:
        regrets: The regrets; every method has the same problems, with any number of seeds.
        draws: Of the bootstrap, whose random numbers are the same in every call.

    Raises:
        ValueError: A method lacks a problem that another one has, or there are no regrets.
    """
    methods = list(regrets)
    problems = list(next(iter(regrets.values()), {}))
    if not problems:
        raise ValueError("There are no regrets to rank.")
    if odd := [method for method in methods if set(regrets[method]) != set(problems)]:
        raise ValueError(f"{odd[0]!r} was not run on the same problems as {methods[0]!r}; rank them over common ones.")
    means = [[np.mean(regrets[method][problem]) for problem in problems] for method in methods]
    exact = rankdata(means, axis=0).mean(axis=1)
    drawn = bootstrapped(regrets, problems, draws, np.random.default_rng(0))
    low, high = np.quantile(drawn, (0.025, 0.975), axis=0)
    return {
        name: MeanRank(*each) for name, *each in zip(methods, *(x.tolist() for x in (exact, low, high)), strict=True)
    }


def bootstrapped(regrets: Regrets, problems: list[str], draws: int, rng: np.random.Generator) -> Array:
    """Return mean ranks of redrawn problems and seeds, shape ``(draws, n_methods)``."""
    chosen = rng.integers(len(problems), size=(draws, len(problems)))
    means = np.empty((len(regrets), *chosen.shape))
    for number, problem in enumerate(problems):
        here = chosen == number
        for row, of_method in zip(means, regrets.values(), strict=True):
            seeds = np.asarray(of_method[problem], float)
            row[here] = seeds[rng.integers(len(seeds), size=(here.sum(), len(seeds)))].mean(axis=1)
    found: Array = rankdata(means, axis=0).mean(axis=2).T
    return found
