"""Many workers, simulated: the real coordinator, storage and strategies on a virtual clock, by ``hpo.simulate``.

Usage: python -m benchmarks many-workers [--trials 100000] [--workers 1,8,64,512,1000] [--strategy random]

Training runs are made-up curves of 27 epochs, whose epochs take a second times a factor of 1 to 4 that depends on the
configuration. *Utilisation* is the share of the workers' time in which they train, until the search ends; the tail, in
which the last training runs end one after another, counts against it. *Speed-up* is the time of one worker with the
same number of trials, divided by that of all. CPU is what a turn (acquire, reports, end) costs this process.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np

import hpo_plugins as hpo

EPOCHS = 27
SPACE = {"x": hpo.Continuous(0, 1), "rate": hpo.Continuous(1e-4, 1.0, "log"), "depth": hpo.Integer(1, 16)}
STRATEGIES = {
    "random": hpo.Hyperband(max_resource=EPOCHS, search="random"),
    "random, pause": hpo.Hyperband(max_resource=EPOCHS, search="random", pause=True),
    "bayesian": hpo.Hyperband(max_resource=EPOCHS),
}


def train(params: dict[str, Any]) -> tuple[np.ndarray, float]:
    """Return losses that fall like 1 / epoch to a floor that depends on the configuration, and an epoch's seconds."""
    floor = abs(np.log10(params["rate"]) + 2) + (params["x"] - 0.3) ** 2
    return floor + 1 / np.arange(1, EPOCHS + 1), 1 + 3 * params["x"]


def main() -> None:
    """Print one row for each number of workers."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=100_000)
    parser.add_argument("--workers", default="1,8,64,512,1000")
    parser.add_argument("--strategy", choices=STRATEGIES, default="random")
    arguments = parser.parse_args()
    strategy = STRATEGIES[arguments.strategy]
    tuner = hpo.Tuner(SPACE, hpo.Minimize("loss"), strategy=strategy, progress="off")
    print(f"{arguments.trials:,} trials, Hyperband, {arguments.strategy}\n")
    print("| workers | utilisation | speed-up | CPU ms a turn |\n|---|---|---|---|")
    alone = None
    for workers in map(int, arguments.workers.split(",")):
        start = time.process_time()
        (scenario,) = hpo.simulate(
            tuner, [strategy], train=train, workers=workers, max_trials=arguments.trials, repeats=1
        ).scenarios
        cpu = (time.process_time() - start) / scenario.trials
        alone = scenario.seconds if alone is None else alone
        speed_up = alone / scenario.seconds
        print(f"| {workers} | {scenario.utilisation:.2%} | {speed_up:.1f} | {1000 * cpu:.2f} |", flush=True)
