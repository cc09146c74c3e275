"""Conditional parameters: what it is worth that a search knows which ones are inactive.

Usage: python -m benchmarks conditional [--seeds 10] [--tasks 12,1501,54,181] [--json FILE] [method ...]

The space of ``rbv2_xgboost`` as its authors define it: ``gblinear`` has no tree parameters, and only ``dart`` has
``rate_drop`` and ``skip_drop``. The same strategies search it with ``when=`` and *flat*: there all parameters are
part of every configuration, and the training run ignores those that its booster does not have.

Normalised regret = (best so far - best known) / (median of random - best known); the mean over seeds and tasks.
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import hpo_plugins as hpo
from benchmarks.harness import results
from benchmarks.harness.interfaces import EVALUATIONS
from benchmarks.problems.black_box_tasks import XGBOOST, log_losses, offline_optimum
from hpo_plugins._fields import evolve
from hpo_plugins.space import Parameter, Space

TASKS = ("12", "1501", "54", "181")
MARKS = [5, 10, 20, 30, 50]
TREES = ["gbtree", "dart"]
OF_TREES = ("eta", "gamma", "max_depth", "min_child_weight", "colsample_bytree", "colsample_bylevel")
OF_DART = ("rate_drop", "skip_drop")
FLAT: dict[str, Parameter] = {
    "booster": hpo.Categorical(["gblinear", *TREES]),
    **XGBOOST,
    "rate_drop": hpo.Continuous(0.0, 1.0, scale="linear"),
    "skip_drop": hpo.Continuous(0.0, 1.0, scale="linear"),
}
CONDITIONAL = (
    FLAT
    | {name: evolve(FLAT[name], when={"booster": TREES}) for name in OF_TREES}
    | {name: evolve(FLAT[name], when={"booster": "dart"}) for name in OF_DART}
)
METHODS: dict[str, tuple[dict[str, Parameter], Callable[[], Any]]] = {
    "random": (CONDITIONAL, hpo.Random),
    "random, flat": (FLAT, hpo.Random),
    "bayesian": (CONDITIONAL, hpo.Bayesian),
    "bayesian, flat": (FLAT, hpo.Bayesian),
}


def losses(instance: str, configurations: list[dict[str, Any]]) -> np.ndarray:
    """Return the surrogate's losses; what a booster does not have is left out."""
    space = Space(CONDITIONAL)
    active = [
        {name: value for name, value in params.items() if space.conditions.is_active(name, params)}
        for params in configurations
    ]
    return log_losses(instance, active)


@functools.cache
def known(instance: str) -> dict[str, float]:
    """Return the best known score and the median of random ones."""
    return offline_optimum(Space(CONDITIONAL), functools.partial(losses, instance))


def run(method: str, instance: str, seed: int) -> results.Run:
    """Run a method on a task."""
    space, make = METHODS[method]
    tuner = hpo.Tuner(space, hpo.Minimize("loss"), strategy=make(), seed=seed, max_trials=EVALUATIONS, progress="off")
    scores, seconds, scale = [], 0.0, known(instance)
    while True:
        start = time.process_time()
        trial = tuner.ask()
        seconds += time.process_time() - start
        if trial is None:
            break
        scores.append(float(losses(instance, [trial.params])[0]))
        start = time.process_time()
        trial.report(1, {"loss": scores[-1]})
        trial.end()
        seconds += time.process_time() - start
    regrets = (np.minimum.accumulate(scores) - scale["best"]) / (scale["median"] - scale["best"])
    return results.Run(method, instance, seed, list(regrets), seconds, EVALUATIONS)


def main() -> None:
    """Print one row a method."""
    parser = argparse.ArgumentParser()
    parser.add_argument("methods", nargs="*")
    parser.add_argument("--tasks", default=",".join(TASKS))
    results.add_arguments(parser, seeds=10)
    arguments = parser.parse_intermixed_args()
    found = results.Results(
        suite="Conditional space",
        unit="evaluations",
        marks=[float(k) for k in range(1, EVALUATIONS + 1)],
        shown=[float(mark) for mark in MARKS],
        versions=results.versions({}),
    )
    print(found.header(), flush=True)
    chosen = list(results.chosen(arguments.methods, METHODS))
    for name in results.measure(found, chosen, tuple(arguments.tasks.split(",")), arguments, run):
        print(found.row(name), flush=True)
    print(f"\n{found.comparison()}")
