"""Regret against evaluations where a training gives one value: 50 evaluations, one worker.

Usage: python benchmarks/black_box.py [--seeds 10] [--tasks dev|NAME,NAME] [method ...]

Normalised regret = (best so far - best known) / (median of random - best known), by the mean score of what was
evaluated; the mean over seeds, then over tasks, with the median over tasks beside it.
"""

from __future__ import annotations

import argparse
import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")  # before numpy: one core each

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from black_box_tasks import DEV, Task, known, task
from numpy.typing import NDArray

import hpo_plugins as hpo

EVALUATIONS = 50
MARKS = (10, 20, 30, 50)
Method = Callable[[Task, int], Iterator[dict[str, Any]]]


def ours(make: Callable[[], hpo.Random]) -> Method:
    """Return a method that yields the configurations that the tuner evaluates."""

    def run(problem: Task, seed: int) -> Iterator[dict[str, Any]]:
        rng = np.random.default_rng(seed)
        tuner = hpo.Tuner(problem.space, hpo.Minimize("loss"), strategy=make(), seed=seed)
        while (trial := tuner.ask()) is not None:
            trial.report(1, {"loss": problem.observe(trial.params, rng)})
            trial.end()
            yield trial.params

    return run


METHODS: dict[str, Method] = {"random": ours(hpo.Random), "bayesian": ours(hpo.Bayesian)}


def regrets(method: Method, name: str, seed: int) -> NDArray[np.float64]:
    """Return the normalised regret after each evaluation."""
    problem, scale = task(name), known(name)
    run = method(problem, seed)
    scores = np.array([problem.score(next(run)) for _ in range(EVALUATIONS)])
    result: NDArray[np.float64] = (np.minimum.accumulate(scores) - scale["best"]) / (scale["median"] - scale["best"])
    return result


def main() -> None:
    """Print one row a method."""
    parser = argparse.ArgumentParser()
    parser.add_argument("methods", nargs="*", default=list(METHODS))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--tasks", default="dev")
    parser.add_argument("--each", action="store_true", help="print each task's regrets, too")
    arguments = parser.parse_args()
    tasks = DEV if arguments.tasks == "dev" else tuple(arguments.tasks.split(","))
    for name in tasks:
        known(name)
    print("| method | " + " | ".join(f"@{m}" for m in MARKS) + " | median over tasks @50 | CPU ms a suggestion |")
    print("|---" * (len(MARKS) + 3) + "|")
    for method in arguments.methods:
        start = time.process_time()
        curves = np.array([[regrets(METHODS[method], t, s) for s in range(arguments.seeds)] for t in tasks])
        milliseconds = (time.process_time() - start) / (len(tasks) * arguments.seeds * EVALUATIONS) * 1e3
        by_task = curves.mean(axis=1)[:, [mark - 1 for mark in MARKS]]
        if arguments.each:
            for name, row in zip(tasks, by_task, strict=True):
                print(f"|   {name} | " + " | ".join(f"{value:.3f}" for value in row) + " | | |")
        shown = [f"{value:.3f}" for value in by_task.mean(axis=0)] + [f"{np.median(by_task[:, -1]):.3f}"]
        print(f"| {method} | " + " | ".join(shown) + f" | {milliseconds:.1f} |", flush=True)


if __name__ == "__main__":
    main()
