"""Regret against what was spent on LCBench: 20 full trainings' worth of epochs, or simulated time on several workers.

Usage: python benchmarks/multi_fidelity.py [--seeds 10] [--instances dev|ID,ID] [--workers 1] [method ...]

With one worker the budget is counted in epochs. With more it is simulated time: an epoch lasts as long as the
surrogate says, and each worker has the time of five mean full trainings. A training that goes on does not pay again.
Normalised regret = (best known - best so far) / (best known - median of random), from ``optima.json``; the mean over
seeds, then over instances, with the median over instances beside it.
"""

from __future__ import annotations

import argparse
import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")  # before numpy: one core each

import heapq
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from lcbench import DEV, EPOCHS, SPACE, curves
from numpy.typing import NDArray

import hpo_plugins as hpo

TRAININGS = 20
FRACTIONS = (0.1, 0.25, 0.5, 1.0)
OPTIMA = Path(__file__).with_name("optima.json")


class Curve(NamedTuple):
    """A training: accuracy in % and cumulative seconds after each epoch."""

    accuracy: NDArray[np.float64]
    seconds: NDArray[np.float64]


class Trial(Protocol):
    """What a searcher hands out: a configuration, and the epochs that it has behind it."""

    params: dict[str, Any]
    start_epoch: int

    def report(self, epoch: int, accuracy: float) -> bool:
        """Take a result, and return whether the training ends here."""

    def end(self) -> None:
        """Learn that the training has ended."""


Searcher = Callable[[int], Callable[[], Trial | None]]
"""From a seed to a function that hands out the next trial, or None while there is nothing to do."""
Problem = Callable[[dict[str, Any]], Curve]


class OurTrial:
    """A trial of ``hpo_plugins``."""

    def __init__(self, trial: hpo.Trial) -> None:
        """Wrap it."""
        self._trial = trial
        self.params, self.start_epoch, self.end = trial.params, trial.start_epoch, trial.end

    def report(self, epoch: int, accuracy: float) -> bool:
        """Pass it on."""
        return self._trial.report(epoch, {"val_accuracy": accuracy})


def ours(strategy: Callable[[], Any]) -> Searcher:
    """Return our tuner with a strategy."""

    def start(seed: int) -> Callable[[], Trial | None]:
        tuner = hpo.Tuner(SPACE, hpo.Maximize("val_accuracy"), strategy=strategy(), seed=seed)

        def ask() -> Trial | None:
            trial = tuner.ask()
            return None if trial is None else OurTrial(trial)

        return ask

    return start


METHODS: dict[str, Searcher] = {
    "random": ours(hpo.Random),
    "hyperband, random": ours(lambda: hpo.Hyperband(max_resource=EPOCHS, search="random")),
    "hyperband": ours(lambda: hpo.Hyperband(max_resource=EPOCHS)),
    "hyperband, pause": ours(lambda: hpo.Hyperband(max_resource=EPOCHS, pause=True)),
    "bayesian, full": ours(hpo.Bayesian),
    "bayesian, stop": ours(lambda: hpo.Bayesian(max_resource=EPOCHS)),
    "bayesian, pause": ours(lambda: hpo.Bayesian(max_resource=EPOCHS, pause=True)),
}


def lcbench(instance: str) -> Problem:
    """Return an instance of LCBench."""

    def train(params: dict[str, Any]) -> Curve:
        output = curves(instance, [params])[0].astype(float)
        return Curve(output[:, 1], np.maximum.accumulate(output[:, 0]))

    return train


def best_by_budget(ask: Callable[[], Trial | None], train: Problem, workers: int, budget: float) -> list[float]:
    """Return the best accuracy at 0.1 %, 0.2 %, ... of the budget.

    Args:
        ask: Hands out trials.
        train: The problem.
        workers: How many trainings run at once. With one, an epoch costs 1, else what it lasts.
        budget: Of each worker.
    """
    marks = np.linspace(0, budget, 1001)[1:]
    best = np.full(1000, -np.inf)
    free = [(0.0, worker) for worker in range(workers)]  # when each next has something to say
    running: dict[int, tuple[Trial, Curve, int]] = {}
    while free:
        now, worker = heapq.heappop(free)
        if now > budget * (1 + 1e-9):
            continue
        if worker in running:
            trial, curve, epoch = running[worker]
            first = int(np.searchsorted(marks, now * (1 - 1e-12)))
            best[first:] = np.maximum(best[first:], curve.accuracy[epoch - 1])
            if trial.report(epoch, float(curve.accuracy[epoch - 1])) or epoch == EPOCHS:
                trial.end()
                del running[worker]
        if worker not in running:
            started = ask()
            if started is None:
                raise SystemExit("The search ended before its budget.")
            running[worker] = (started, train(started.params), started.start_epoch)
        trial, curve, epoch = running[worker]
        before = curve.seconds[epoch - 1] if epoch else 0.0
        running[worker] = (trial, curve, epoch + 1)
        heapq.heappush(free, (now + (1.0 if workers == 1 else curve.seconds[epoch] - before), worker))
    return list(best)


def full_training_seconds(train: Problem) -> float:
    """Return the mean duration of 200 random full trainings."""
    rng = np.random.default_rng(0)
    space = hpo.Tuner(SPACE, hpo.Maximize("val_accuracy"), seed=0).space
    return float(np.mean([train(space.decode(rng.random(len(space)))).seconds[-1] for _ in range(200)]))


def regret_curve(searcher: Searcher, instance: str, seed: int, workers: int = 1) -> NDArray[np.float64]:
    """Return the normalised regret at 0.1 %, 0.2 %, ... of the budget, shape ``(1000,)``."""
    known = json.loads(OPTIMA.read_text())[instance]
    train = lcbench(instance)
    budget = TRAININGS * EPOCHS if workers == 1 else 5 * full_training_seconds(train)
    best = np.array(best_by_budget(searcher(seed), train, workers, budget))
    return (known["best"] - np.maximum(best, 0)) / (known["best"] - known["median"])


def main() -> None:
    """Print one row a method."""
    parser = argparse.ArgumentParser()
    parser.add_argument("methods", nargs="*", default=list(METHODS))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--instances", default="dev")
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    instances = DEV if arguments.instances == "dev" else tuple(arguments.instances.split(","))
    print("| method | " + " | ".join(f"@{f:.0%}" for f in FRACTIONS) + " | medians over instances | CPU s a run |")
    print("|---" * (len(FRACTIONS) + 3) + "|")
    at = [round(1000 * fraction) - 1 for fraction in FRACTIONS]
    for name in arguments.methods:
        start = time.process_time()
        runs = [
            [regret_curve(METHODS[name], i, s, arguments.workers) for s in range(arguments.seeds)] for i in instances
        ]
        seconds = (time.process_time() - start) / (len(instances) * arguments.seeds)
        by_instance = np.array(runs).mean(axis=1)[:, at]
        means = " | ".join(f"{value:.3f}" for value in by_instance.mean(axis=0))
        medians = " ".join(f"{value:.3f}" for value in np.median(by_instance, axis=0))
        print(f"| {name} | {means} | {medians} | {seconds:.2f} |", flush=True)


if __name__ == "__main__":
    main()
