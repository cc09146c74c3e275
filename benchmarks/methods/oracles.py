"""Oracles that mark the limits of search: they learn a configuration's final value after its first epoch.

Notation
    perfect ranking   random draws of one epoch each, as many as a full training run costs; then the best of all draws
    that
                      has not been trained is trained in full, and so on: no scheduler without a model can be better
    known finals      our ``Bayesian`` without epochs receives a configuration's best value after one epoch, which
    counts
                      at once: what a perfect forecast of curves would allow
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

import hpo_plugins as hpo
from benchmarks.harness.interfaces import Problem
from hpo_plugins.space import Space
from hpo_plugins.space.sobol import draw

MAX_KNOWN = 150
"""Configurations whose best value is asked for: each is a full training run, and more gain little."""

Steps = Iterator[tuple[float, float]]
"""Costs in epochs, and the score that each brings."""


def best_score(problem: Problem, params: dict[str, Any]) -> float:
    """Return the best score of a full training run."""
    score = problem.train(params).score
    return max(float(score[epoch]) for epoch in range(problem.epochs))


def perfect_ranking(problem: Problem, seed: int) -> Steps:
    """Yield the steps of the perfect ranking."""
    space, number, waiting = Space(problem.space), 0, list[float]()
    while True:
        for _ in range(problem.epochs):
            params = draw(space, seed, number)
            waiting.append(best_score(problem, params))
            yield 1, float(problem.train(params).score[0])
            number += 1
        waiting.sort()
        yield problem.epochs - 1, waiting.pop()


def known_finals(problem: Problem, seed: int) -> Steps:
    """Yield the steps of a search that receives final values after one epoch."""
    tuner = hpo.Tuner(problem.space, hpo.Maximize("value"), strategy=hpo.Bayesian(), seed=seed, max_trials=MAX_KNOWN)
    for trial in tuner:
        score = best_score(problem, trial.params)
        trial.report(1, {"value": score})
        yield 1, score
    while True:
        yield 1, -math.inf


ORACLES: dict[str, Callable[[Problem, int], Steps]] = {
    "oracle: perfect ranking": perfect_ranking,
    "oracle: known finals": known_finals,
}


def best_by_mark(steps: Steps, budget: float, marks: int) -> NDArray[np.float64]:
    """Return the best score at equal parts of a budget of epochs, shape ``(marks,)``."""
    best, spent = np.full(marks, -math.inf), 0.0
    for cost, score in steps:
        spent += cost
        if spent > budget:
            return best
        first = math.ceil(spent / budget * marks) - 1
        best[first:] = np.maximum(best[first:], score)
    return best
