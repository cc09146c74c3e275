"""Regret against epochs spent on LCBench, one worker, 20 full trainings' worth of epochs.

Usage: python benchmarks/multi_fidelity.py [--seeds 10] [--instances dev|ID,ID] [method ...]

Normalised regret = (best known - best so far) / (best known - median of random), from ``optima.json``; the mean over
seeds, then over instances.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from lcbench import DEV, EPOCHS, SPACE, accuracy
from numpy.typing import NDArray

import hpo_plugins as hpo

BUDGET = 20 * EPOCHS
FRACTIONS = (0.1, 0.25, 0.5, 1.0)
OPTIMA = Path(__file__).with_name("optima.json")
Observations = Iterator[float]


def ours(strategy: Callable[[], hpo.Random]) -> Callable[[str, int], Observations]:
    """Return a method that yields the accuracy after each epoch that the tuner spends."""

    def run(instance: str, seed: int) -> Observations:
        tuner = hpo.Tuner(SPACE, hpo.Maximize("val_accuracy"), strategy=strategy(), seed=seed)
        while (trial := tuner.ask()) is not None:
            curve = accuracy(instance, trial.params)
            for epoch in range(trial.start_epoch + 1, EPOCHS + 1):
                value = curve[epoch - 1]
                yield value
                if trial.report(epoch, {"val_accuracy": value}):
                    break
            trial.end()

    return run


METHODS: dict[str, Callable[[str, int], Observations]] = {
    "random": ours(hpo.Random),
    "hyperband": ours(lambda: hpo.Hyperband(max_resource=EPOCHS)),
    "hyperband, pause": ours(lambda: hpo.Hyperband(max_resource=EPOCHS, pause=True)),
}


def regret_curve(method: Callable[[str, int], Observations], instance: str, seed: int) -> NDArray[np.float64]:
    """Return the normalised regret after each epoch spent, shape ``(BUDGET,)``."""
    known = json.loads(OPTIMA.read_text())[instance]
    observed = method(instance, seed)
    best = np.maximum.accumulate([next(observed) for _ in range(BUDGET)])
    return (known["best"] - best) / (known["best"] - known["median"])


def main() -> None:
    """Print one row a method."""
    parser = argparse.ArgumentParser()
    parser.add_argument("methods", nargs="*", default=list(METHODS))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--instances", default="dev")
    arguments = parser.parse_args()
    instances = DEV if arguments.instances == "dev" else tuple(arguments.instances.split(","))
    print("| method | " + " | ".join(f"@{f:.0%}" for f in FRACTIONS) + " | CPU s a run |")
    print("|---" * (len(FRACTIONS) + 2) + "|")
    for name in arguments.methods:
        start = time.process_time()
        curves = np.array([[regret_curve(METHODS[name], i, s) for s in range(arguments.seeds)] for i in instances])
        seconds = (time.process_time() - start) / (len(instances) * arguments.seeds)
        shown = [f"{curves[:, :, int(f * BUDGET) - 1].mean():.3f}" for f in FRACTIONS]
        print(f"| {name} | " + " | ".join(shown) + f" | {seconds:.2f} |", flush=True)


if __name__ == "__main__":
    main()
