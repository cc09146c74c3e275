"""Measure the savings and losses of ``Converged()`` on LCBench.

    HPO_PLUGINS_BENCHMARK_DATA=... python -m benchmarks converged [--seeds 3]

A trial is one full training run; 100 are allowed. The mean number of trials until the criterion ends the search, and
the normalised regret then and after all 100: 0 for the best accuracy that any search found, 1 for the median of random.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from numpy.typing import NDArray

import hpo_plugins as hpo
from benchmarks.problems import lcbench
from hpo_plugins.space import Space
from hpo_plugins.space.sobol import draw

TRIALS = 100
SPACE = Space(lcbench.SPACE)
LAST = np.array([lcbench.EPOCHS])
STRATEGIES = {"Random": hpo.Random, "Bayesian": hpo.Bayesian}


def error(instance: str, params: dict[str, Any]) -> float:
    """Return the validation error in % of a full training run."""
    return 100.0 - float(lcbench.curves(instance, [params], LAST)[0, 0, 1])


def search(instance: str, strategy: Any, seed: int) -> tuple[NDArray[np.float64], int]:
    """Return the best error after each of all trials, and after how many the criterion was met."""
    tuner = hpo.Tuner(SPACE, hpo.Minimize("error"), strategy=strategy, max_trials=TRIALS, seed=seed)
    ended = TRIALS
    for trial in tuner:
        if ended == TRIALS and hpo.Converged().met(tuner._history()) is not None:  # noqa: SLF001 - as the tuner asks it
            ended = trial.number
        trial.report(1, {"error": error(instance, trial.params)})
    return np.minimum.accumulate(np.array([trial.value for trial in tuner.trials], dtype=float)), ended


def main() -> None:
    """Print a line for each strategy."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    print(f"{'strategy':>10} {'trials':>7} {'regret then':>12} {'after all':>10}")
    runs = {
        (name, instance, seed): search(instance, make(), seed)
        for instance in lcbench.DEV
        for name, make in STRATEGIES.items()
        for seed in range(given.seeds)
    }
    best = {i: min(curve[-1] for (_, at, _), (curve, _) in runs.items() if at == i) for i in lcbench.DEV}
    median = {i: np.median([error(i, draw(SPACE, 12345, number)) for number in range(100)]) for i in lcbench.DEV}
    for name in STRATEGIES:
        rows = [
            (ended, *((curve[at - 1] - best[i]) / (median[i] - best[i]) for at in (ended, TRIALS)))
            for (which, i, _), (curve, ended) in runs.items()
            if which == name
        ]
        trials, then, after = np.mean(rows, axis=0)
        print(f"{name:>10} {trials:>7.1f} {then:>12.4f} {after:>10.4f}")
