"""A thousand short trials on Ray: trials a second, how busy the workers are, the memory of the driver.

Usage: python -m benchmarks ray-workers [--trials 1000] [--workers 4] [--epochs 5] [--milliseconds 20] [--peer]

A training run sleeps for an epoch's time, so that two cores are not what limits it, and its workers ask for no CPU:
what is measured is what handing out, reporting and ending cost. *Busy* is the part of the workers' time that is spent
in epochs, from the first trial's start to the end of the last. *Memory* is what the driver's resident set grew by. With
``--peer``, Ray Tune runs the same training runs with ASHA, in the same cluster, after it.
"""

from __future__ import annotations

import argparse
import logging
import os
import time
import warnings
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")

import ray
from hpo_plugins.integrations.ray import RayWorkers

import hpo_plugins as hpo


def memory() -> float:
    """Return this process's resident set in MB."""
    return int(Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0]) / 1024


def loss(x: float, epoch: int) -> float:
    """Return a curve that falls to a floor."""
    return (x - 0.3) ** 2 + 1 / epoch


def ours(trials: int, workers: int, epochs: int, seconds: float) -> int:
    """Search with Hyperband, and return how many epochs were trained."""

    def train(trial: hpo.Trial) -> None:
        for epoch in range(1, epochs + 1):
            time.sleep(seconds)
            if trial.report(epoch, {"loss": loss(trial["x"], epoch)}):
                break

    tuner = hpo.Tuner(
        {"x": hpo.Continuous(0, 1)},
        hpo.Minimize("loss"),
        strategy=hpo.Hyperband(max_resource=epochs, search="random"),
        max_trials=trials,
        seed=0,
        progress="off",
    )
    tuner.run(train, workers=RayWorkers(workers, num_cpus=0))
    assert len(tuner.trials) == trials
    return sum(trial.epochs for trial in tuner.trials)


def tunes(trials: int, workers: int, epochs: int, seconds: float) -> int:
    """Search with Ray Tune's ASHA, and return how many epochs were trained."""
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler

    def train(config: dict[str, Any]) -> None:
        for epoch in range(1, epochs + 1):
            time.sleep(seconds)
            tune.report({"loss": loss(config["x"], epoch)})

    results = tune.Tuner(
        tune.with_resources(train, {"cpu": 0.001}),
        param_space={"x": tune.uniform(0, 1)},
        tune_config=tune.TuneConfig(
            metric="loss",
            mode="min",
            num_samples=trials,
            max_concurrent_trials=workers,
            scheduler=ASHAScheduler(max_t=epochs, grace_period=1, reduction_factor=3),
        ),
        run_config=tune.RunConfig(verbose=0),
    ).fit()
    assert len(results) == trials
    return sum(int(result.metrics["training_iteration"]) for result in results if result.metrics)


def main() -> None:
    """Print a row a library."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--milliseconds", type=float, default=20.0)
    parser.add_argument("--peer", action="store_true")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.filterwarnings("ignore")
    ray.init(num_cpus=max(2, arguments.workers), logging_level=logging.ERROR, log_to_driver=False)
    ours(8, arguments.workers, 1, 0.0)  # processes of the pool start
    seconds = arguments.milliseconds / 1000
    print(f"{arguments.trials:,} trials of up to {arguments.epochs} epochs of {arguments.milliseconds:g} ms, ", end="")
    print(f"{arguments.workers} workers, Ray {ray.__version__}\n")
    print(
        "| library | seconds | trials a second | epochs | busy | memory of the driver, MB |\n|---|---|---|---|---|---|"
    )
    for name, search in {"hpo-plugins": ours, **({"Ray Tune": tunes} if arguments.peer else {})}.items():
        before, start = memory(), time.perf_counter()
        epochs = search(arguments.trials, arguments.workers, arguments.epochs, seconds)
        wall, grown = time.perf_counter() - start, memory() - before
        busy = epochs * seconds / (wall * arguments.workers)
        print(
            f"| {name} | {wall:.1f} | {arguments.trials / wall:.1f} | {epochs} | {busy:.0%} | {grown:+.0f} |",
            flush=True,
        )
