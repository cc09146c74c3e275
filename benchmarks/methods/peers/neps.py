"""NePS: Hyperband, and PriorBand, which is given beliefs: those of the shipped spaces, or the middle of each range.

It has an environment of its own: ``pip install neural-pipeline-search==0.17.*``. A trial that it promotes goes on from
where it was, and its result is the best value so far.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

import neps
import numpy as np
import torch

import hpo_plugins as hpo
from benchmarks.harness.interfaces import Ask, Clock, Method, Problem, Searcher
from benchmarks.problems.beliefs import believing
from hpo_plugins._fields import evolve
from hpo_plugins.space import Parameter

FIDELITY = "neps_epoch"


def search_space(space: Any, epochs: int) -> Any:
    """Return the space in the words of NePS, with its beliefs."""
    made = {name: _parameter(parameter) for name, parameter in space.items()}
    return neps.SearchSpace(made | {FIDELITY: neps.HPOInteger(1, epochs, is_fidelity=True)})


def _parameter(parameter: Parameter) -> Any:
    if isinstance(parameter, hpo.Categorical):
        prior = parameter.prior
        if isinstance(prior, tuple):
            prior = parameter.values[int(np.argmax(prior))]
        return neps.HPOCategorical(list(parameter.values), prior=prior, prior_confidence="medium")
    kind: Any = neps.HPOInteger if isinstance(parameter, hpo.Integer) else neps.HPOFloat
    return kind(
        parameter.low, parameter.high, log=parameter.resolved_scale == "log", prior=parameter.prior,
        prior_confidence=parameter.confidence,
    )  # fmt: skip


class Trial:
    """A trial of NePS, up to the epoch that it was given."""

    def __init__(self, search: neps.AskAndTell, trial: Any, best: dict[str, tuple[int, float]]) -> None:
        """Wrap it."""
        self._search, self._trial, self._best = search, trial, best
        self.params = {name: value for name, value in trial.config.items() if name != FIDELITY}
        before = trial.metadata.previous_trial_id
        self.start_epoch, self._value = best.get(before, (0, -np.inf)) if before else (0, -np.inf)
        self._last = int(trial.config[FIDELITY])

    def report(self, epoch: int, value: float) -> bool:
        """Return whether it has its epochs."""
        self._value = max(self._value, value)
        return epoch >= self._last

    def end(self) -> None:
        """Tell the best value."""
        self._best[self._trial.metadata.id] = self._last, self._value
        self._search.tell(self._trial, -float(self._value))


def centred(space: Mapping[str, Parameter]) -> dict[str, Parameter]:
    """Return the space with the middle of each range as belief; categories have none."""
    made: dict[str, Parameter] = {}
    for name, each in space.items():
        is_range = not isinstance(each, hpo.Categorical)
        made[name] = evolve(each, prior=each.from_unit(0.5), confidence="medium") if is_range else each
    return made


def around_the_centre(search: Searcher) -> Searcher:
    """Return a search that believes in the middle of each range."""
    return lambda problem, seed, clock: search(problem._replace(space=centred(problem.space)), seed, clock)


def algorithm(make: Callable[..., Any], **arguments: Any) -> Searcher:
    """Return the trials of an algorithm."""

    def start(problem: Problem, seed: int, clock: Clock) -> Ask:  # noqa: ARG001
        for set_seed in (random.seed, np.random.seed, torch.manual_seed):
            set_seed(seed)
        made = make(search_space(problem.space, problem.epochs), **arguments)
        search, best = neps.AskAndTell(made), dict[str, tuple[int, float]]()
        return lambda: Trial(search, search.ask(), best)

    return start


PRIORBAND = neps.algorithms.priorband
MULTI_FIDELITY: dict[str, Callable[..., Ask]] = {
    "neps hyperband": algorithm(neps.algorithms.hyperband),
    "neps priorband, centre": around_the_centre(algorithm(PRIORBAND)),
    "neps priorband, beliefs": believing(algorithm(PRIORBAND)),
    "neps priorband, mode first, beliefs": believing(algorithm(PRIORBAND, sample_prior_first=True)),
}
BLACK_BOX: dict[str, Method] = {}
