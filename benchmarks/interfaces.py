"""The interface of the compared searches, ours and those of other libraries."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, ParamSpec, Protocol, TypeVar

import numpy as np

from hpo_plugins.space import Parameter

P = ParamSpec("P")
T = TypeVar("T")

EVALUATIONS = 50
"""What a black-box search may spend."""


class Task(NamedTuple):
    """A function to minimise: ``observe(params, rng)`` is what a training reports, ``score(params)`` its mean."""

    space: Mapping[str, Parameter]
    observe: Callable[[dict[str, Any], np.random.Generator], float]
    score: Callable[[dict[str, Any]], float]


class Trial(Protocol):
    """What a multi-fidelity search hands out: a configuration, and the epochs that it has behind it."""

    params: dict[str, Any]
    start_epoch: int

    def report(self, epoch: int, accuracy: float) -> bool:
        """Take a result, and return whether the training ends here."""

    def end(self) -> None:
        """Learn that the training has ended."""


Method = Callable[[Task, int], Iterator[dict[str, Any]]]
"""From a task and a seed to the configurations that are evaluated, one after the other."""
Ask = Callable[[], Trial | None]
Searcher = Callable[[int], Ask]
"""From a seed to a function that hands out the next trial, or None while there is nothing to do."""


class Stopwatch:
    """Counts the calls of functions, and the CPU seconds spent in them."""

    def __init__(self) -> None:
        """Start at zero."""
        self.seconds, self.calls = 0.0, 0

    def __call__(self, function: Callable[P, T]) -> Callable[P, T]:
        """Return the function, counted."""

        def counted(*arguments: P.args, **named: P.kwargs) -> T:
            start = time.process_time()
            try:
                return function(*arguments, **named)
            finally:
                self.seconds += time.process_time() - start
                self.calls += 1

        return counted
