"""Regret against evaluations for training runs with a single value: 50 evaluations, one worker.

Usage: python -m benchmarks black-box [--seeds 10] [--tasks dev|tables|NAME,NAME] [--json FILE] [method ...]

``tables`` are those of the tasks that need no data folder (``headline`` on the command line). Ours and every installed
peer (``peers/``) are compared; ``--json`` keeps the runs, for ``report.py``.

Normalised regret = (best so far - best known) / (median of random - best known), by the mean score of what was
evaluated; the mean over seeds, then over tasks, with the median over tasks beside it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import hpo_plugins as hpo
from benchmarks.harness import results
from benchmarks.harness.interfaces import EVALUATIONS, Method, Task
from benchmarks.methods import peers
from benchmarks.problems.black_box_tasks import DEV, TABULAR, known, task

MARKS = [5, 10, 20, 30, 50]


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


def methods() -> dict[str, Method]:
    """Return ours, and those of the installed peers."""
    own: dict[str, Method] = {"random": ours(hpo.Random), "bayesian": ours(hpo.Bayesian)}
    return own | peers.black_box_methods()


def run(method: str, name: str, seed: int) -> results.Run:
    """Run a method on a task."""
    problem, scale, spent = task(name), known(name), [0.0]

    def observe(params: dict[str, Any], rng: np.random.Generator) -> float:
        before = time.process_time()
        value = problem.observe(params, rng)
        spent[0] += time.process_time() - before
        return value

    start = time.process_time()
    asked = methods()[method](problem._replace(observe=observe), seed)
    evaluated = [next(asked) for _ in range(EVALUATIONS)]
    seconds = time.process_time() - start - spent[0]
    scores = np.minimum.accumulate([problem.score(params) for params in evaluated])
    regrets = list((scores - scale["best"]) / (scale["median"] - scale["best"]))
    return results.Run(method, name, seed, regrets, seconds, EVALUATIONS)


def main() -> None:
    """Print one row a method."""
    parser = argparse.ArgumentParser()
    parser.add_argument("methods", nargs="*")
    parser.add_argument("--tasks", default="dev")
    parser.add_argument("--each", action="store_true", help="print each task's regrets, too")
    results.add_arguments(parser, seeds=10)
    arguments = parser.parse_intermixed_args()
    chosen = list(results.chosen(arguments.methods, methods()))
    named = {"dev": DEV, "tables": TABULAR}
    tasks = named[arguments.tasks] if arguments.tasks in named else tuple(arguments.tasks.split(","))
    found = results.Results(
        suite={DEV: "Black box", TABULAR: "Black box, tables"}.get(tasks, "Black box, chosen tasks"),
        unit="evaluations",
        marks=[float(k) for k in range(1, EVALUATIONS + 1)],
        shown=[float(mark) for mark in MARKS],
        versions=results.versions(peers.versions()),
    )
    print(found.header(), flush=True)
    for name in results.measure(found, chosen, tasks, arguments, run):
        print(found.row(name), flush=True)
        if arguments.each:
            print(found.each(name), flush=True)
    print(f"\n{found.comparison()}")
