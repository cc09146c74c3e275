"""Regret against cost on LCBench: the epochs of 20 full trainings, or simulated time on several workers.

Usage: python benchmarks/multi_fidelity.py [--seeds 10] [--instances dev|ID,ID] [--workers 1] [--json FILE] [method ...]

Ours and every installed peer (``peers/``) are compared; ``--json`` keeps the runs, for ``plot.py``.
With one worker the budget is counted in epochs. With more it is simulated time: an epoch lasts as long as the
surrogate says, and each worker has the time of five mean full trainings. A resumed training does not pay again.
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
from typing import Any, NamedTuple

import numpy as np
import peers
import results
from interfaces import Ask, Searcher, Stopwatch, Trial
from lcbench import DEV, EPOCHS, SPACE, curves
from numpy.typing import NDArray

import hpo_plugins as hpo

TRAININGS = 20
FRACTIONS = [0.1, 0.25, 0.5, 1.0]
OPTIMA = Path(__file__).with_name("optima.json")


class Curve(NamedTuple):
    """A training: after each epoch its accuracy in %, the cumulative seconds, and the accuracy that is reported."""

    accuracy: NDArray[np.float64]
    seconds: NDArray[np.float64]
    reported: NDArray[np.float64]


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

    def start(seed: int) -> Ask:
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
        return Curve(output[:, 1], np.maximum.accumulate(output[:, 0]), output[:, 1])

    return train


def best_by_budget(
    ask: Ask, train: Problem, budget: float, *, workers: int = 1, in_seconds: bool = False
) -> NDArray[np.float64]:
    """Return the best accuracy at 0.1 %, 0.2 %, ... of the budget.

    Args:
        ask: Hands out trials.
        train: The problem.
        budget: Of each worker.
        workers: How many trainings run at once.
        in_seconds: Whether an epoch costs what it lasts, else 1.
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
            if trial.report(epoch, float(curve.reported[epoch - 1])) or epoch == EPOCHS:
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
        heapq.heappush(free, (now + (curve.seconds[epoch] - before if in_seconds else 1.0), worker))
    return best


def full_training_seconds(train: Problem) -> float:
    """Return the mean duration of 200 random full trainings."""
    rng = np.random.default_rng(0)
    space = hpo.Tuner(SPACE, hpo.Maximize("val_accuracy"), seed=0).space
    return float(np.mean([train(space.decode(rng.random(len(space)))).seconds[-1] for _ in range(200)]))


def regret(instance: str, best: NDArray[np.float64]) -> list[float]:
    """Return the normalised regret at 1 %, 2 %, ... of the budget, from the best at 0.1 %, 0.2 %, ..."""
    known = json.loads(OPTIMA.read_text())[instance]
    curve = (known["best"] - np.maximum(best, 0)) / (known["best"] - known["median"])
    return [float(value) for value in curve[9::10]]


def run(searcher: Searcher, instance: str, seed: int, workers: int = 1) -> tuple[list[float], float, int]:
    """Return the regrets, the searcher's CPU seconds (with the simulation's own few), and how many trials it gave."""
    train, clock = lcbench(instance), Stopwatch()
    budget = TRAININGS * EPOCHS if workers == 1 else 5 * full_training_seconds(train)
    start = time.process_time()
    best = best_by_budget(searcher(seed), clock(train), budget, workers=workers, in_seconds=workers > 1)
    return regret(instance, best), time.process_time() - start - clock.seconds, clock.calls


def main() -> None:
    """Print one row a method."""
    parser = argparse.ArgumentParser()
    parser.add_argument("methods", nargs="*")
    parser.add_argument("--instances", default="dev")
    parser.add_argument("--workers", type=int, default=1)
    results.add_arguments(parser, seeds=10)
    arguments = parser.parse_args()
    methods = results.chosen(arguments.methods, METHODS | peers.multi_fidelity_methods())
    instances = DEV if arguments.instances == "dev" else tuple(arguments.instances.split(","))
    found = results.Results(
        suite=f"LCBench, workers: {arguments.workers}",
        unit="epochs" if arguments.workers == 1 else "simulated time",
        marks=[round(0.01 * k, 2) for k in range(1, 101)],
        shown=FRACTIONS,
        versions=results.versions(peers.versions()),
    )
    print(found.header(), flush=True)
    for name in results.measure(found, methods, instances, arguments, lambda m, i, s: run(m, i, s, arguments.workers)):
        print(found.row(name), flush=True)


if __name__ == "__main__":
    main()
