"""Interfaces of the compared searches, ours and those of other libraries, and of their problems."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from hpo_plugins.space import Parameter

EVALUATIONS = 50
"""The budget of a black-box search."""


class Task(NamedTuple):
    """A function to minimise: ``observe(params, rng)`` is what a training run reports, ``score(params)`` its mean."""

    space: Mapping[str, Parameter]
    observe: Callable[[dict[str, Any], np.random.Generator], float]
    score: Callable[[dict[str, Any]], float]


class Values(Protocol):
    """One value per epoch, computed when it is asked for."""

    def __getitem__(self, index: int, /) -> float:
        """Return the value after epoch ``index + 1``."""


class Curve(NamedTuple):
    """A training run, larger is better: true values, cumulative seconds and reported values (NaN if it diverged)."""

    score: Values
    seconds: NDArray[np.float64]
    reported: Values


class Problem(NamedTuple):
    """Training runs to search among.

    Attributes:
        space: Their configurations.
        epochs: Of a full training run.
        train: Returns the training run of a configuration.
        best: The best score known, which has regret 0.
        median: The median score of random configurations, which has regret 1.
        training_seconds: The mean duration of full training runs of random configurations.
        worst: The largest regret that counts.
        setting: What is known before the search, as arguments of ``hpo.spaces``.
    """

    space: Mapping[str, Parameter]
    epochs: int
    train: Callable[[dict[str, Any]], Curve]
    best: float
    median: float
    training_seconds: float
    worst: float = 2.0
    setting: Mapping[str, int] = {}

    def regret(self, score: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the normalised regret, at most ``worst``."""
        return np.minimum((self.best - score) / (self.best - self.median), self.worst)


class Trial(Protocol):
    """An assignment of a multi-fidelity search: a configuration, and its number of trained epochs."""

    params: dict[str, Any]
    start_epoch: int

    def report(self, epoch: int, value: float) -> bool:
        """Take a result, larger is better, and return whether the training run ends here."""

    def end(self) -> None:
        """Learn that the training run has ended."""


Clock = Callable[[], float]
"""Returns the simulated time."""
Method = Callable[[Task, int], Iterator[dict[str, Any]]]
"""From a task and a seed to the configurations that are evaluated, one after the other."""
Ask = Callable[[], Trial | None]
Searcher = Callable[[Problem, int, Clock], Ask]
"""From a problem, a seed and a clock to a function that hands out the next trial, or None if there is nothing to do."""
