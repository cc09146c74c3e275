"""Many workers, simulated: the real coordinator, storage and strategies on a virtual clock.

Usage: python benchmarks/many_workers.py [--trials 100000] [--workers 1,8,64,512,1000] [--strategy random]

Trainings are made-up curves of 27 epochs, whose epochs take a second times a factor of 1 to 4 that depends on the
configuration. *Utilisation* is the share of the workers' time in which they train, until the search ends; the tail, in
which the last trainings end one after another, counts against it. *Speed-up* is the time of one worker with the same
number of trials, divided by that of all. CPU is what a turn (acquire, reports, end) costs this process.
"""

from __future__ import annotations

import argparse
import logging
import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")  # before numpy: one core each

import time
from typing import Any

import numpy as np

import hpo_plugins as hpo
from hpo_plugins.simulation.search import Search
from hpo_plugins.space import Space
from hpo_plugins.study.config import StudyConfig

EPOCHS = 27
SPACE = Space({"x": hpo.Continuous(0, 1), "rate": hpo.Continuous(1e-4, 1.0, "log"), "depth": hpo.Integer(1, 16)})
STRATEGIES = {
    "random": lambda: hpo.Hyperband(max_resource=EPOCHS, search="random"),
    "random, pause": lambda: hpo.Hyperband(max_resource=EPOCHS, search="random", pause=True),
    "bayesian": lambda: hpo.Hyperband(max_resource=EPOCHS),
}


class MadeUpTask:
    """Trainings whose losses fall like 1 / epoch to a floor that the configuration decides about."""

    last = EPOCHS

    def train(self, params: dict[str, Any]) -> np.ndarray:
        """Return the losses after each epoch."""
        floor = abs(np.log10(params["rate"]) + 2) + (params["x"] - 0.3) ** 2
        return floor + 1 / np.arange(1, EPOCHS + 1)

    def seconds(self, params: dict[str, Any]) -> float:
        """Return how long an epoch takes."""
        return float(1 + 3 * params["x"])


class Counted(Search):
    """A search that adds up how long its workers train."""

    busy = 0.0

    def _train_epoch(self, worker: int) -> None:
        self.busy += self._running[worker].seconds
        super()._train_epoch(worker)


def main() -> None:
    """Print one row for each number of workers."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=100_000)
    parser.add_argument("--workers", default="1,8,64,512,1000")
    parser.add_argument("--strategy", choices=STRATEGIES, default="random")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    print(f"{arguments.trials:,} trials, Hyperband, {arguments.strategy}\n")
    print("| workers | utilisation | speed-up | CPU ms a turn |\n|---|---|---|---|")
    alone = None
    for workers in map(int, arguments.workers.split(",")):
        config = StudyConfig(
            SPACE, hpo.Minimize("loss"), STRATEGIES[arguments.strategy](), None, seed=0, max_trials=arguments.trials
        )
        search = Counted(config, MadeUpTask(), workers, None)  # type: ignore[arg-type]  # as a drawn task
        start = time.process_time()
        run = search.run()
        cpu = (time.process_time() - start) / run.trials
        alone = run.seconds if alone is None else alone
        share = search.busy / (workers * run.seconds)
        print(f"| {workers} | {share:.2%} | {alone / run.seconds:.1f} | {1000 * cpu:.2f} |", flush=True)


if __name__ == "__main__":
    main()
