"""SMAC3: the random forest of its hyperparameter-optimisation facade, and Hyperband with and without it."""

from __future__ import annotations

import logging
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ConfigSpace import Categorical, ConfigurationSpace, Float, Integer
from smac import HyperbandFacade, HyperparameterOptimizationFacade, MultiFidelityFacade, Scenario
from smac.facade import AbstractFacade
from smac.runhistory.dataclasses import TrialInfo, TrialValue

from benchmarks.harness.interfaces import EVALUATIONS, Ask, Clock, Method, Problem, Searcher, Task
from benchmarks.methods.peers import translate


def _never_called(config: Any, seed: int = 0, budget: float = 0) -> float:  # noqa: ARG001 - SMAC reads the names
    return math.nan


class Search:
    """A facade with an ask-and-tell interface."""

    def __init__(self, facade: type[AbstractFacade], space: Any, seed: int, **scenario: Any) -> None:
        """Describe the space and the scenario."""
        self._folder = tempfile.TemporaryDirectory()
        own = ConfigurationSpace(seed=seed)
        parameters = translate(
            space,
            lambda name, low, high, log: Float(name, (low, high), log=log),
            lambda name, low, high, log: Integer(name, (low, high), log=log),
            Categorical,
        )
        own.add(list(parameters.values()))
        self._facade = facade(
            Scenario(own, deterministic=True, seed=seed, output_directory=Path(self._folder.name), **scenario),
            _never_called,
            logging_level=logging.ERROR,
        )

    def ask(self) -> TrialInfo:
        """Return what to evaluate, and with which budget."""
        return self._facade.ask()

    def tell(self, info: TrialInfo, cost: float) -> None:
        """Pass a result on."""
        self._facade.tell(info, TrialValue(cost=cost), save=False)


class Trial:
    """A configuration with a budget of epochs: it continues where an earlier budget ended."""

    def __init__(self, search: Search, info: TrialInfo, seen: list[float]) -> None:
        """Wrap it; ``seen`` is what the configuration reported so far."""
        self._search, self._info, self._seen = search, info, seen
        self.params = dict(info.config)
        self.start_epoch = len(seen)

    def report(self, epoch: int, value: float) -> bool:
        """Return whether the budget is spent."""
        self._seen.append(value)
        return epoch >= round(self._info.budget)

    def end(self) -> None:
        """Tell the best of what the budget brought."""
        self._search.tell(self._info, -max(self._seen))


def multi_fidelity(facade: type[AbstractFacade]) -> Searcher:
    """Return the trials of a facade with budgets."""

    def start(problem: Problem, seed: int, clock: Clock) -> Ask:  # noqa: ARG001
        search = Search(facade, problem.space, seed, min_budget=1, max_budget=problem.epochs)
        curves: dict[Any, list[float]] = {}

        def ask() -> Trial:
            info = search.ask()
            return Trial(search, info, curves.setdefault(info.config, []))

        return ask

    return start


def random_forest(problem: Task, seed: int) -> Iterator[dict[str, Any]]:
    """Return what the hyperparameter-optimisation facade evaluates."""
    rng = np.random.default_rng(seed)
    search = Search(HyperparameterOptimizationFacade, problem.space, seed, n_trials=EVALUATIONS)
    while True:
        info = search.ask()
        params = dict(info.config)
        search.tell(info, problem.observe(params, rng))
        yield params


MULTI_FIDELITY: dict[str, Searcher] = {
    "smac hyperband": multi_fidelity(HyperbandFacade),
    "smac multi-fidelity": multi_fidelity(MultiFidelityFacade),
}
BLACK_BOX: dict[str, Method] = {"smac": random_forest}
