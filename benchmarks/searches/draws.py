"""Scrambled Sobol draws against independent ones: the regret of the best of n full training runs on LCBench.

Usage: python -m benchmarks draws [--seeds 30]

Normalised regret as in ``multi_fidelity.py``, where 1 is the median configuration; the mean over the instances and
seeds, and below it the share of (instance, seed) pairs in which Sobol's best was the better one.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from benchmarks.problems.lcbench import DEV, OPTIMA, SPACE, curves
from hpo_plugins.space import Params, Space
from hpo_plugins.space.sobol import draw

TRAININGS = (5, 10, 20, 64)
KNOWN = json.loads(OPTIMA.read_text())
Draws = Callable[[Space, int, int], list[Params]]


def sobol(space: Space, seed: int, count: int) -> list[Params]:
    """Return what ``Random`` draws."""
    return [draw(space, seed, number) for number in range(count)]


def plain(space: Space, seed: int, count: int) -> list[Params]:
    """Return independent draws over the same scales."""
    return [space.decode(point) for point in np.random.default_rng(seed).random((count, len(space)))]


def regrets(draws: Draws, instance: str, seed: int) -> NDArray[np.float64]:
    """Return the normalised regret of the best of the first n training runs, for each n of ``TRAININGS``."""
    known = KNOWN[instance]
    accuracies = curves(instance, draws(Space(SPACE), seed, max(TRAININGS)))[:, :, 1].max(axis=1)
    best = np.maximum.accumulate(accuracies)[np.array(TRAININGS) - 1]
    regret: NDArray[np.float64] = (known["best"] - best) / (known["best"] - known["median"])
    return regret


def main() -> None:
    """Print one row a way of drawing."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=30)
    seeds = parser.parse_args().seeds
    results = {
        draws.__name__: np.array([regrets(draws, instance, seed) for instance in DEV for seed in range(seeds)])
        for draws in (sobol, plain)
    }
    print(f"{len(DEV)} instances, {seeds} seeds.\n")
    print("| best of | " + " | ".join(map(str, TRAININGS)) + " |")
    print("|---" * (len(TRAININGS) + 1) + "|")
    for name, found in results.items():
        print(f"| {name} | " + " | ".join(f"{mean:.3f}" for mean in found.mean(axis=0)) + " |")
    wins = (results["sobol"] < results["plain"]).mean(axis=0)
    print("| sobol is better in | " + " | ".join(f"{share:.0%}" for share in wins) + " |")
