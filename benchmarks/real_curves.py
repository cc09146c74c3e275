"""Regret against virtual seconds on real trainings: XGBoost, networks and a GRU, trained while a strategy searches.

Usage: python benchmarks/real_curves.py [--seeds 10] [--tasks NAME,NAME] [--processes 2] [--json FILE] [method ...]

The tasks are not part of this project: ``HPO_PLUGINS_REAL_CURVES`` names the folder with ``tasks.py`` (real learning
curves with a cost model, so that virtual time is reproducible). A strategy sees the seconds, and the budget is that of
20 mean full trainings, one worker. A training that is resumed does not pay again.

Normalised regret = (limit - best so far) / (limit - median of random), at most 2: the mean over seeds, then over tasks,
with its standard error over seeds. Trainings are kept in ``REAL_CURVES_CACHE``, so that a rerun is fast.
"""

from __future__ import annotations

import argparse
import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")  # before numpy: one core each

import json
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

import hpo_plugins as hpo
from hpo_plugins.simulation.search import Search
from hpo_plugins.study.config import StudyConfig

sys.path.insert(0, os.environ.get("HPO_PLUGINS_REAL_CURVES", ""))
FRACTIONS = (0.1, 0.25, 0.5, 1.0)
TRAININGS = 20
METHODS: dict[str, Callable[[int], Any]] = {
    "random": lambda _: hpo.Random(),
    "hyperband, random": lambda epochs: hpo.Hyperband(max_resource=epochs, search="random"),
    "hyperband, random, pause": lambda epochs: hpo.Hyperband(max_resource=epochs, search="random", pause=True),
    "hyperband": lambda epochs: hpo.Hyperband(max_resource=epochs),
    "hyperband, pause": lambda epochs: hpo.Hyperband(max_resource=epochs, pause=True),
    "bayesian, stop": lambda epochs: hpo.Bayesian(max_resource=epochs),
    "bayesian, pause": lambda epochs: hpo.Bayesian(max_resource=epochs, pause=True),
    "bayesian, full": lambda _: hpo.Bayesian(),
}


class _Losses:
    """The losses of a training, which is trained as far as it is asked for."""

    def __init__(self, values: Any, sign: float) -> None:
        self._values, self._sign = values, sign

    def __getitem__(self, index: int) -> float:
        return -self._sign * float(self._values[index])


class RealTask:
    """A task of real trainings, as simulated searches see one."""

    def __init__(self, name: str) -> None:
        """Load it."""
        import tasks

        self.real, self.constants = tasks.Real(name), tasks.constants(name)
        self.last = self.real.max_epoch
        self._trained: list[Any] = []

    @property
    def space(self) -> dict[str, Any]:
        """Its search space."""
        space: dict[str, Any] = {}
        for p in self.real.space:
            scale = "log" if p.get("log") else "linear"
            if p["type"] == "cat":
                space[p["name"]] = hpo.Categorical(p["choices"])
            else:
                space[p["name"]] = {"int": hpo.Integer, "float": hpo.Continuous}[p["type"]](p["low"], p["high"], scale)
        return space

    @property
    def budget(self) -> float:
        """The seconds of mean full trainings."""
        return TRAININGS * float(np.mean(self.real.recorded()["sec"].sum(axis=1)))

    def train(self, params: dict[str, Any]) -> Any:
        """Return the losses after each epoch."""
        values, _, _, training = self.real.curve(params)
        self._trained.append(training)
        return _Losses(values, self.real.sign)

    def seconds(self, params: dict[str, Any]) -> float:
        """Return how long an epoch takes."""
        return float(self.real.seconds(params))

    def remember(self) -> None:
        """Keep what was trained."""
        self.real.remember(self._trained)


def run(method: str, name: str, seed: int) -> list[float]:
    """Return the regrets of one search."""
    task: Any = RealTask(name)
    objective = hpo.Maximize("value") if task.real.mode == "max" else hpo.Minimize("value")
    config = StudyConfig(hpo.Tuner(task.space, objective, progress="off").space, objective, METHODS[method](task.last),
                         None, seed)  # fmt: skip
    found = Search(config, task, 1, task.budget).run()
    task.remember()
    limit, median = task.constants["limit"], task.constants["median"]
    regrets = []
    for fraction in FRACTIONS:
        best = found.best_at(fraction * task.budget)
        regrets.append(2.0 if best is None else min(2.0, (limit - task.real.sign * best) / (limit - median)))
    return regrets


def main() -> None:
    """Print one row per method."""
    parser = argparse.ArgumentParser()
    parser.add_argument("methods", nargs="*")
    parser.add_argument("--tasks")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    import tasks

    names = arguments.tasks.split(",") if arguments.tasks else tasks.TASKS
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    kept: dict[str, Any] = {}
    print(f"{'method':26} {'  '.join(f'{f:6.0%}' for f in FRACTIONS)}   at the end by task: {', '.join(names)}")
    with ProcessPoolExecutor(arguments.processes, get_context("spawn")) as pool:
        for method in arguments.methods or METHODS:
            jobs = {(name, seed): pool.submit(run, method, name, seed) for name in names for seed in seeds}
            found = np.array([[jobs[name, seed].result() for seed in seeds] for name in names])
            kept[method] = found.tolist()
            error = found.mean(axis=0).std(axis=0, ddof=1) / np.sqrt(len(seeds)) if len(seeds) > 1 else np.zeros(4)
            cells = (f"{mean:.3f}±{e:.3f}" for mean, e in zip(found.mean(axis=(0, 1)), error, strict=True))
            print(f"{method:26} {'  '.join(cells)}   {found[:, :, -1].mean(axis=1).round(3)}", flush=True)
            if arguments.json:
                arguments.json.write_text(json.dumps({"tasks": names, "seeds": list(seeds), "regret": kept}))


if __name__ == "__main__":
    main()
