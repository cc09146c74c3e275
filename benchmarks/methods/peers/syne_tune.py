"""Syne Tune from 0.14 on: ASHA, BOHB, and conformal quantile regression with and without ASHA.

Its schedulers are driven as its tuner drives them. A training run that is not among the best at a rung is stopped; the
variant that pauses it ended with 0.13 (``syne_tune_013.py``).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import numpy as np
from syne_tune.backend.trial_status import Trial as SyneTuneTrial
from syne_tune.config_space import choice, lograndint, loguniform, randint, uniform
from syne_tune.optimizer.baselines import ASHA, ASHACQR, BOHB, CQR
from syne_tune.optimizer.scheduler import SchedulerDecision, TrialScheduler

import hpo_plugins as hpo
from benchmarks.harness.interfaces import Ask, Clock, Method, Problem, Searcher, Task
from benchmarks.methods.peers import translate
from hpo_plugins.space import Space

logging.getLogger().setLevel(logging.WARNING)  # Syne Tune sets the root logger to tell every decision

METRIC, RESOURCE = "objective", "epoch"


def config_space(space: Any) -> dict[str, Any]:
    """Return the space in Syne Tune's words."""
    return translate(
        space,
        lambda _, low, high, log: (loguniform if log else uniform)(low, high),
        lambda _, low, high, log: (lograndint if log else randint)(low, high),
        lambda _, values: choice(values),
    )


def centre(space: Any) -> dict[str, Any]:
    """Return the middle of all ranges, with which Syne Tune began up to 0.13, and the first of all categories."""
    params = Space(space).decode(np.full(len(space), 0.5))
    return params | {name: p.values[0] for name, p in space.items() if isinstance(p, hpo.Categorical)}


class Trial:
    """A trial of Syne Tune."""

    start_epoch = 0

    def __init__(self, scheduler: TrialScheduler, trial: SyneTuneTrial, problem: Problem) -> None:
        """Wrap it."""
        self._scheduler, self._trial = scheduler, trial
        self.params = {name: trial.config[name] for name in problem.space}
        self._result: dict[str, Any] = {}
        self._decision = SchedulerDecision.CONTINUE

    def report(self, epoch: int, value: float) -> bool:
        """Return whether the scheduler stops it."""
        self._result = {RESOURCE: epoch, METRIC: value}
        self._decision = self._scheduler.on_trial_result(self._trial, self._result)
        return self._decision != SchedulerDecision.CONTINUE

    def end(self) -> None:
        """Say that it was removed, or that it completed."""
        if self._decision == SchedulerDecision.CONTINUE:
            self._scheduler.on_trial_complete(self._trial, self._result)
        else:
            self._scheduler.on_trial_remove(self._trial)


def multi_fidelity(scheduler: Callable[..., TrialScheduler], *, centre_first: bool = False) -> Searcher:
    """Return a scheduler's trials, of which the middle of the ranges is the first if so wished."""

    def start(problem: Problem, seed: int, clock: Clock) -> Ask:  # noqa: ARG001
        np.random.seed(seed)  # noqa: NPY002 - its brackets are drawn from it
        own = scheduler(
            config_space(problem.space),
            metric=METRIC,
            do_minimize=False,
            time_attr=RESOURCE,
            max_t=problem.epochs,
            random_seed=seed,
            **({"points_to_evaluate": [centre(problem.space)]} if centre_first else {}),
        )
        started = 0

        def ask() -> Trial | None:
            nonlocal started
            suggestion = own.suggest()
            if suggestion is None:
                return None
            theirs = SyneTuneTrial(started, suggestion.config, datetime.now(UTC))
            own.on_trial_add(theirs)
            started += 1
            return Trial(own, theirs, problem)

        return ask

    return start


def quantile_regression(problem: Task, seed: int) -> Iterator[dict[str, Any]]:
    """Return what conformal quantile regression evaluates."""
    rng = np.random.default_rng(seed)
    own = CQR(config_space(problem.space), metric=METRIC, do_minimize=True, random_seed=seed)
    number = 0
    while (suggestion := own.suggest()) is not None:
        trial = SyneTuneTrial(number, suggestion.config, datetime.now(UTC))
        own.on_trial_add(trial)
        own.on_trial_complete(trial, {METRIC: problem.observe(trial.config, rng)})
        number += 1
        yield trial.config


MULTI_FIDELITY: dict[str, Searcher] = {
    "syne-tune asha": multi_fidelity(ASHA),
    "syne-tune asha, centre first": multi_fidelity(ASHA, centre_first=True),
    "syne-tune bohb": multi_fidelity(BOHB),
    "syne-tune asha cqr": multi_fidelity(ASHACQR),
}
BLACK_BOX: dict[str, Method] = {"syne-tune cqr": quantile_regression}
