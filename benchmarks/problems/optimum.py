"""Find each instance's best and median accuracy offline, also where a corner diverges, and write ``optima.json``.

20,000 random configurations, then a local search from the best 20: none of it with a method that is compared.
Usage: python -m benchmarks optimum [instance ...]
"""

from __future__ import annotations

import argparse
import json

import numpy as np

from benchmarks.problems import conditions
from benchmarks.problems.lcbench import DEV, EPOCHS, OPTIMA, SPACE, curves
from hpo_plugins.space import Space


def optimum(instance: str, *, diverging: bool = False) -> dict[str, float]:
    """Return the best accuracy at any epoch, and the median over random configurations of the best of a curve.

    Args:
        instance: The instance.
        diverging: Whether no training run counts that diverges under the condition of that name.
    """
    space = Space(SPACE)
    rng = np.random.default_rng(0)
    points = rng.random((20_000, len(space)))
    epochs = np.arange(1, EPOCHS + 1)

    def best_of_curves(points: np.ndarray) -> np.ndarray:
        chunks = np.array_split(points, max(1, len(points) // 500))
        decoded = [[space.decode(p) for p in chunk] for chunk in chunks]
        best = np.concatenate(
            [curves(instance, configurations, epochs)[:, :, 1].max(axis=1) for configurations in decoded]
        )
        if diverging:
            best[[conditions.diverges(params) for configurations in decoded for params in configurations]] = 0
        return best

    values = best_of_curves(points)
    median = float(np.median(values[:1000]))
    leaders = np.argsort(-values)[:20]
    points, values = points[leaders], values[leaders]
    width = 0.2
    for _ in range(60):
        moved = np.clip(points + width * rng.standard_normal(points.shape) * (rng.random(points.shape) < 0.4), 0, 1)
        found = best_of_curves(moved)
        better = found > values
        points[better], values[better] = moved[better], found[better]
        width *= 0.94
    return {"best": float(values.max()), "median": median}


def main() -> None:
    """Find the values of the named instances, or of all."""
    parser = argparse.ArgumentParser()
    parser.add_argument("instances", nargs="*", default=DEV)
    arguments = parser.parse_args()
    known = json.loads(OPTIMA.read_text()) if OPTIMA.exists() else {}
    for name in arguments.instances:
        known[name] = optimum(name) | {"best, diverging": optimum(name, diverging=True)["best"]}
        print(name, known[name], flush=True)
        OPTIMA.write_text(json.dumps(known, indent=1) + "\n")
