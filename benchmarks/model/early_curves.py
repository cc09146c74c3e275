"""Measure the surrogate's predictions of final values early in a search, when most training runs are short.

Usage: python -m benchmarks early-curves [real|lcbench ...] [--seeds 4]

Random configurations are trained as far as successive halving goes: all for two epochs, the best 1 / 1.6 of them up to
the next epoch of the surrogate's grid, and so on; the last one is trained in full, or not. The surrogate predicts the
best value of every full training run: of these training runs ("own"), and of others ("new"). Scores are those of
``quality.py``, which has records of searches instead. Nothing is trained or searched, so a change of the surrogate
is judged in seconds.
"""

from __future__ import annotations

import argparse
import itertools
import warnings
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness.interfaces import Problem
from benchmarks.model import quality
from benchmarks.problems import lcbench, real_tasks
from hpo_plugins.modeling.model import fit_model
from hpo_plugins.modeling.observations import GRID_FACTOR, epoch_grid
from hpo_plugins.space import Space

FAMILIES = ("real", "lcbench")
TRIALS = (5, 10, 20, 40)
N_NEW = 80
N_RANDOM = 200
"""Random configurations of each of LCBench's data sets; the real ones have been trained in advance."""


class Curves(NamedTuple):
    """Full training runs of random configurations: ``points`` of shape ``(n, d)``, and ``values``, ``(n, epochs)``."""

    problem: Problem
    points: NDArray[np.float64]
    values: NDArray[np.float64]


def curves(family: str) -> Iterator[Curves]:
    """Yield the curves of every problem for development; more is better, and NaN is a failure."""
    if family == "real":
        for name in real_tasks.names():
            task = real_tasks.RealTask(name)
            yield Curves(task.problem, task.recorded["U"], task.real.sign * task.recorded["val"])
        return
    for name in lcbench.DEV:
        problem = lcbench.problem(name)
        space = Space(problem.space)
        points = np.random.default_rng(0).random((N_RANDOM, len(space)))
        trained = [problem.train(space.decode(point)).reported for point in points]
        yield Curves(problem, points, np.array([[row[epoch] for epoch in range(problem.epochs)] for row in trained]))


def halved(values: NDArray[np.float64], *, one_in_full: bool) -> NDArray[np.intp]:
    """Return how many epochs each training run gets, shape ``(n,)``, from their values, shape ``(n, epochs)``."""
    grid = epoch_grid(values.shape[1])
    epochs, left = np.full(len(values), grid[0]), np.arange(len(values))
    for reached, following in itertools.pairwise(grid):
        best = np.fmax.reduce(values[left, :reached], axis=1)
        order = np.argsort(-np.nan_to_num(best, nan=-np.inf), kind="stable")
        left = left[order[: max(1 if one_in_full else 0, int(len(left) / GRID_FACTOR))]]
        epochs[left] = following
    return epochs


def score(found: Curves, trials: int, seed: int, *, one_in_full: bool) -> list[float]:
    """Return the scores of own and new training runs."""
    problem, points, values = found
    space, order = Space(problem.space), np.random.default_rng(seed).permutation(len(points))
    own, new = order[:trials], order[trials : trials + N_NEW]
    epochs = halved(values[own], one_in_full=one_in_full)
    ends = np.fmax.reduce(values, axis=1)
    reported = [row[:count][np.isfinite(row[:count])].tolist() for row, count in zip(values[own], epochs, strict=True)]
    known = np.array([len(row) > 0 for row in reported])
    rows = [
        {"params": space.decode(np.clip(points[index], 0, 1)), "reported": row}
        for index, row in zip(own, reported, strict=True)
        if row
    ]
    model = fit_model(quality.history_of(space, problem.epochs, rows), problem.epochs)
    if model is None:
        return [np.nan] * len(quality.COLUMNS)
    case = {"epochs": problem.epochs, "best": problem.best, "median": problem.median}
    partial = epochs[known] < problem.epochs
    own_points, new_points = model.points[partial], model.encoder.snap(np.clip(points[new], 0, 1))
    return [
        *quality.scores(model, own_points, ends[own][known][partial].tolist(), case),
        *quality.scores(model, new_points, ends[new].tolist(), case),
    ]


def main() -> None:
    """Print a row a family, and one for each number of trials in it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("families", nargs="*", default=FAMILIES)
    parser.add_argument("--seeds", type=int, default=4)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", "Mean of empty slice|invalid value")  # of few trials, none may be good
    print(f"| curves | {' | '.join(quality.COLUMNS)} |\n|---{'|---' * len(quality.COLUMNS)}|")
    for family in arguments.families:
        rows: dict[str, list[list[float]]] = {}
        for found in curves(family):
            for trials in TRIALS:
                for one_in_full in (False, True):
                    label = f"{family}, {trials} trials, {'one in full' if one_in_full else 'all short'}"
                    for seed in range(arguments.seeds):
                        row = score(found, trials, 100 * seed + trials, one_in_full=one_in_full)
                        rows.setdefault(label, []).append(row)
        rows[f"{family}, all"] = [row for group in rows.values() for row in group]
        for label, group in rows.items():
            mean = quality.summary(np.array(group))
            print(f"| {label} | {' | '.join(f'{value:.3f}' for value in mean)} |", flush=True)
