"""Syne Tune up to 0.13, the last with its own Gaussian processes: ASHA, MOBSTER, Hyper-Tune, and Bayesian optimisation.

Its schedulers are driven as its tuner drives them. They come in two types: ``stopping``, the default, and
``promotion``, which pauses every training run at every rung.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import numpy as np
from syne_tune.backend.trial_status import Trial as SyneTuneTrial
from syne_tune.config_space import choice, lograndint, loguniform, randint, uniform
from syne_tune.optimizer.baselines import ASHA, MOBSTER, BayesianOptimization, HyperTune
from syne_tune.optimizer.scheduler import SchedulerDecision, TrialScheduler

from benchmarks.harness.interfaces import Ask, Clock, Method, Problem, Searcher, Task
from benchmarks.methods.peers import translate

logging.getLogger().setLevel(logging.WARNING)  # Syne Tune sets the root logger to tell every decision

METRIC, RESOURCE, LAST = "objective", "epoch", "epochs"


def config_space(space: Any) -> dict[str, Any]:
    """Return the space in Syne Tune's words."""
    return translate(
        space,
        lambda _, low, high, log: (loguniform if log else uniform)(low, high),
        lambda _, low, high, log: (lograndint if log else randint)(low, high),
        lambda _, values: choice(values),
    )


class Trial:
    """A trial of Syne Tune."""

    def __init__(self, scheduler: TrialScheduler, trial: SyneTuneTrial, start_epoch: int, problem: Problem) -> None:
        """Wrap it."""
        self._scheduler, self._trial = scheduler, trial
        self.params = {name: trial.config[name] for name in problem.space}
        self.start_epoch = self.epoch = start_epoch
        self._result: dict[str, Any] = {}
        self._decision = SchedulerDecision.CONTINUE

    def report(self, epoch: int, value: float) -> bool:
        """Return whether the scheduler stops or pauses it."""
        self.epoch = epoch
        self._result = {RESOURCE: epoch, METRIC: value}
        self._decision = self._scheduler.on_trial_result(self._trial, self._result)
        return self._decision != SchedulerDecision.CONTINUE

    def end(self) -> None:
        """Say that it was removed, or that it completed."""
        if self._decision == SchedulerDecision.CONTINUE:
            self._scheduler.on_trial_complete(self._trial, self._result)
        else:
            self._scheduler.on_trial_remove(self._trial)


def multi_fidelity(scheduler: Callable[..., TrialScheduler], kind: str) -> Searcher:
    """Return a scheduler's trials, new ones and promoted ones."""

    def start(problem: Problem, seed: int, clock: Clock) -> Ask:  # noqa: ARG001
        own = scheduler(
            {**config_space(problem.space), LAST: problem.epochs},
            metric=METRIC,
            mode="max",
            resource_attr=RESOURCE,
            max_resource_attr=LAST,
            type=kind,
            random_seed=seed,
        )
        started: list[tuple[SyneTuneTrial, Trial]] = []

        def ask() -> Trial | None:
            suggestion = own.suggest(len(started))
            if suggestion is None:
                return None
            if suggestion.spawn_new_trial_id:
                theirs = SyneTuneTrial(len(started), suggestion.config, datetime.now(UTC))
                own.on_trial_add(theirs)
                started.append((theirs, Trial(own, theirs, 0, problem)))
                return started[-1][1]
            number = suggestion.checkpoint_trial_id
            theirs, before = started[number]
            theirs.config = suggestion.config or theirs.config
            started[number] = (theirs, Trial(own, theirs, before.epoch, problem))
            return started[number][1]

        return ask

    return start


def gaussian_process(problem: Task, seed: int) -> Iterator[dict[str, Any]]:
    """Return what Bayesian optimisation evaluates."""
    rng = np.random.default_rng(seed)
    own = BayesianOptimization(config_space(problem.space), metric=METRIC, mode="min", random_seed=seed)
    number = 0
    while (suggestion := own.suggest(number)) is not None:
        trial = SyneTuneTrial(number, suggestion.config, datetime.now(UTC))
        own.on_trial_add(trial)
        result = {METRIC: problem.observe(trial.config, rng)}
        own.on_trial_result(trial, result)
        own.on_trial_complete(trial, result)
        number += 1
        yield trial.config


MULTI_FIDELITY: dict[str, Searcher] = {
    f"syne-tune {name}, {kind}": multi_fidelity(scheduler, kind)
    for name, scheduler in (("asha", ASHA), ("mobster", MOBSTER), ("hyper-tune", HyperTune))
    for kind in ("stopping", "promotion")
}
BLACK_BOX: dict[str, Method] = {"syne-tune gp": gaussian_process}
