"""Optuna: TPE, with its Hyperband where training runs report epochs, and the Gaussian process."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.pruners import BasePruner, HyperbandPruner, NopPruner
from optuna.samplers import BaseSampler, GPSampler, TPESampler

from benchmarks.harness.interfaces import Ask, Clock, Method, Problem, Searcher, Task
from benchmarks.methods.peers import translate

optuna.logging.set_verbosity(optuna.logging.ERROR)
Sampler = Callable[..., BaseSampler]


def distributions(space: Any) -> dict[str, BaseDistribution]:
    """Return the space in Optuna's words."""
    return translate(
        space,
        lambda _, low, high, log: FloatDistribution(low, high, log=log),
        lambda _, low, high, log: IntDistribution(low, high, log=log),
        lambda _, values: CategoricalDistribution(values),
    )


class Trial:
    """A trial of Optuna: its value is the best that it reported, unless it was pruned."""

    start_epoch = 0

    def __init__(self, study: optuna.Study, trial: optuna.Trial) -> None:
        """Wrap it."""
        self._study, self._trial, self.params = study, trial, trial.params
        self._best, self._pruned = -math.inf, False

    def report(self, epoch: int, value: float) -> bool:
        """Report, and return whether to prune the trial."""
        self._best = max(self._best, value)
        self._trial.report(value, epoch)
        self._pruned = self._trial.should_prune()
        return self._pruned

    def end(self) -> None:
        """Tell how it ended."""
        if self._pruned:
            self._study.tell(self._trial, state=optuna.trial.TrialState.PRUNED)
        else:
            self._study.tell(self._trial, self._best)


def multi_fidelity(sampler: Sampler, pruner: Callable[[int], BasePruner]) -> Searcher:
    """Return a study's trials."""

    def start(problem: Problem, seed: int, clock: Clock) -> Ask:  # noqa: ARG001
        study = optuna.create_study(sampler=sampler(seed=seed), pruner=pruner(problem.epochs), direction="maximize")
        space = distributions(problem.space)
        return lambda: Trial(study, study.ask(space))

    return start


def black_box(sampler: Sampler) -> Method:
    """Return what a study evaluates."""

    def run(problem: Task, seed: int) -> Iterator[dict[str, Any]]:
        rng = np.random.default_rng(seed)
        study = optuna.create_study(sampler=sampler(seed=seed))
        space = distributions(problem.space)
        while True:
            trial = study.ask(space)
            study.tell(trial, problem.observe(trial.params, rng))
            yield trial.params

    return run


MULTI_FIDELITY = {
    "optuna tpe + hyperband": multi_fidelity(TPESampler, lambda epochs: HyperbandPruner(max_resource=epochs)),
    "optuna gp, full": multi_fidelity(GPSampler, lambda _: NopPruner()),
}
BLACK_BOX = {"optuna tpe": black_box(TPESampler), "optuna gp": black_box(GPSampler)}
