"""Measure the predictions of ``hpo.simulate`` for real searches: LCBench, after a pilot study of 20 trials.

Usage: python -m benchmarks simulation [--instances dev|ID,ID] [--repeats 5] [--trials 20]

For each data set, the pilot is a search with Hyperband. Each strategy is then simulated on tasks drawn from the pilot,
and run on the data set itself, both for the epochs of ten full training runs. Printed are, at 25, 50 and 100 % of them:

bias    mean of (simulated - real) normalised regret: below 0, simulations promise too much
error   mean of its absolute value, over data sets and strategies
order   mean over data sets of the rank correlation of the strategies' simulated and real values
epochs  simulated / real epochs per trial, the geometric mean: how early training runs are stopped
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import numpy as np
from scipy.stats import spearmanr

import hpo_plugins as hpo
from benchmarks.problems.lcbench import DEV, EPOCHS, OPTIMA, SPACE, curves
from hpo_plugins._fields import evolve
from hpo_plugins.simulation.search import Run, Search

FRACTIONS = (0.25, 0.5, 1.0)
BUDGET = 10 * EPOCHS
STRATEGIES = [
    hpo.Random(),
    hpo.Hyperband(max_resource=EPOCHS, search="random"),
    hpo.Hyperband(max_resource=EPOCHS),
    hpo.Hyperband(min_resource=9, max_resource=EPOCHS),
    hpo.Bayesian(max_resource=EPOCHS),
]


class RealTask:
    """A data set of LCBench, as simulated searches see a task."""

    last = EPOCHS

    def __init__(self, instance: str) -> None:
        """Remember which."""
        self._instance = instance

    def train(self, params: dict[str, Any]) -> Any:
        """Return the losses after each epoch."""
        return -curves(self._instance, [params])[0].astype(float)[:, 1]

    def seconds(self, params: dict[str, Any]) -> float:  # noqa: ARG002
        """Count epochs."""
        return 1.0


def pilot(instance: str, trials: int) -> hpo.Tuner:
    """Return an earlier study of the data set."""
    task = RealTask(instance)
    tuner = hpo.Tuner(
        SPACE, hpo.Maximize("accuracy"), strategy=hpo.Hyperband(max_resource=EPOCHS), max_trials=trials, seed=100,
        progress="off",
    )  # fmt: skip
    for trial in tuner:
        for epoch, loss in enumerate(task.train(trial.params), 1):
            if trial.report(epoch, {"accuracy": -loss}):
                break
    return tuner


def compare(instance: str, trials: int, repeats: int) -> tuple[Any, Any, Any]:
    """Return simulated and real regrets, shape ``(strategies, fractions)`` each, and the ratios of epochs per trial."""
    earlier = pilot(instance, trials)
    simulation = hpo.simulate(earlier, STRATEGIES, max_trials=BUDGET // 4, budget=BUDGET, repeats=repeats)
    simulated = [scenario.runs for scenario in simulation.scenarios]
    real: list[list[Run]] = []
    for strategy in STRATEGIES:
        config = evolve(earlier.study, strategy=strategy, max_trials=BUDGET // 4)
        task: Any = RealTask(instance)
        real.append([Search(evolve(config, seed=seed), task, 1, BUDGET).run() for seed in range(repeats)])
    known = json.loads(OPTIMA.read_text())[instance]

    def regrets(runs: Any) -> Any:
        best = np.array([[[run.best_at(f * BUDGET) for f in FRACTIONS] for run in each] for each in runs], dtype=float)
        return ((known["best"] - best) / (known["best"] - known["median"])).mean(axis=1)

    ratios = [
        np.mean([run.epochs / run.trials for run in ours]) / np.mean([run.epochs / run.trials for run in theirs])
        for ours, theirs in zip(simulated, real, strict=True)
    ]
    return regrets(simulated), regrets(real), np.array(ratios)


def main() -> None:
    """Print the comparison of each data set, then the means."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--instances", default="dev")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--trials", type=int, default=20)
    arguments = parser.parse_args()
    instances = DEV if arguments.instances == "dev" else tuple(arguments.instances.split(","))
    errors, orders, ratios = [], [], []
    for instance in instances:
        simulated, real, ratio = compare(instance, arguments.trials, arguments.repeats)
        errors.append(simulated - real)
        orders.append([spearmanr(simulated[:, k], real[:, k]).statistic for k in range(len(FRACTIONS))])
        ratios.append(ratio)
        print(instance, "simulated", simulated[:, -1].round(3), "real", real[:, -1].round(3), flush=True)
    shown = {
        "bias": np.mean(errors, axis=(0, 1)),
        "error": np.abs(errors).mean(axis=(0, 1)),
        "order": np.mean(orders, 0),
    }
    for name, values in shown.items():
        print(f"{name:6}", *(f"{value:7.3f}" for value in values))
    print("epochs", np.exp(np.log(ratios).mean(axis=0)).round(2))
