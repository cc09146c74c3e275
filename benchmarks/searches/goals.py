"""Several goals on LCBench: the hypervolume of error and cost, and the error under a limit of the cost.

    python -m benchmarks goals --seeds 3

The error is that of the best epoch in %. The cost is the number of parameters in millions, reported at the first epoch,
or the mean seconds of an epoch so far, which falls by half and more in a training run. Optuna's trials are full
training runs, as it cannot prune with several objectives.

Notation
    hypervolume     of the box from the best error and cost known to the median error and the 0.9 quantile of the cost
                    of 500 random configurations, relative to that of all runs of all methods together
    limit           the 0.1 quantile of the cost: a tenth of the space meets it
    regret          of the best error that meets it: 0 is the best known of all methods, 1 the median of random ones
                    that meet it
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any, NamedTuple

import numpy as np
import optuna
from numpy.typing import NDArray

import hpo_plugins as hpo
from benchmarks.methods.peers.optuna import distributions
from benchmarks.problems import lcbench
from hpo_plugins.history.pareto import hypervolume
from hpo_plugins.space import Space

optuna.logging.set_verbosity(optuna.logging.ERROR)
Array = NDArray[np.float64]
EPOCHS = lcbench.EPOCHS
MARKS = (2.5, 5.0, 10.0, 20.0)
"""Full training runs at which fronts are compared."""
EVALUATIONS = (10, 25, 50)
"""Trials after which feasible values are compared."""
AFTER = 20
"""Trials after which the epochs of infeasible trials are counted."""


class Scale(NamedTuple):
    """What random configurations of an instance reach: errors and costs, shape ``(500, 2)``."""

    random: Array

    @property
    def reference(self) -> Array:
        """The worst corner of the box."""
        return np.array([np.median(self.random[:, 0]), np.quantile(self.random[:, 1], 0.9)])

    @property
    def limit(self) -> float:
        """The cost that a tenth of the space meets."""
        return float(np.quantile(self.random[:, 1], 0.1))


@functools.cache
def scale(instance: str, cost: str) -> Scale:
    """Return the scale of an instance."""
    space, rng = Space(lcbench.SPACE), np.random.default_rng(0)
    every = [metrics(instance, cost, space.decode(rng.random(len(space)))) for _ in range(500)]
    return Scale(np.array([[errors.min(), costs[-1]] for errors, costs in every]))


def metrics(instance: str, cost: str, params: dict[str, Any]) -> tuple[Array, Array]:
    """Return the error in % and the cost after each epoch, shape ``(52,)`` each."""
    curve = lcbench.training(instance, params)
    costs = np.asarray(curve.seconds) / np.arange(1, EPOCHS + 1)
    return 100.0 - np.asarray(curve.score), np.full(EPOCHS, parameters(params)) if cost == "parameters" else costs


def parameters(params: dict[str, Any]) -> float:
    """Return the millions of weights of a funnel of layers, from 50 inputs to ``max_units`` and down to 10 outputs."""
    inner = np.linspace(params["max_units"], 10, params["num_layers"] + 1)[:-1]
    widths = np.array([50, *inner, 10]).round()
    return float((widths[:-1] * widths[1:]).sum()) / 1e6


class Steps(NamedTuple):
    """What a search had found: epochs spent, trials started, and the points of all trials, after each trial."""

    epochs: list[int]
    points: list[Array]


OURS: dict[str, Callable[[], hpo.Strategy]] = {
    "bayesian, stop": lambda: hpo.Bayesian(max_resource=EPOCHS, cost="epochs"),
    "bayesian, pause": lambda: hpo.Bayesian(max_resource=EPOCHS, cost="epochs", pause=True),
    "hyperband": lambda: hpo.Hyperband(max_resource=EPOCHS, cost="epochs"),
    "bayesian": hpo.Bayesian,
    "random": hpo.Random,
}
PEERS: dict[str, Callable[..., optuna.samplers.BaseSampler]] = {
    "optuna tpe": optuna.samplers.TPESampler,
    "optuna gp": optuna.samplers.GPSampler,
}


def ours(instance: str, cost: str, name: str, seed: int, *, is_limited: bool) -> tuple[Steps, float]:
    """Run a search of this library; return what it found, and the share of late epochs on infeasible trials."""
    limit = scale(instance, cost).limit
    both = [hpo.Minimize("error"), hpo.Minimize("cost")]
    tuner = hpo.Tuner(
        lcbench.SPACE, both[:1] if is_limited else both, strategy=OURS[name](), seed=seed, progress="off",
        max_trials=EVALUATIONS[-1] if is_limited else None,
        constraints=[hpo.AtMost("cost", limit)] if is_limited else (),
    )  # fmt: skip
    steps, spent, left_at = Steps([], []), 0, int(MARKS[-1] * EPOCHS)
    while is_limited or spent < left_at:
        trial = tuner.ask()
        if trial is None:
            break
        errors, costs = metrics(instance, cost, trial.params)
        for epoch in range(trial.start_epoch + 1, EPOCHS + 1):
            spent += 1
            own = {"cost": costs[epoch - 1]} if epoch == 1 or cost == "seconds" else {}
            if trial.report(epoch, {"error": errors[epoch - 1], **own}):
                break
        trial.end()
        steps.epochs.append(spent)
        points = [(each.values["error"], each.values["cost"]) for each in tuner.trials if each.values]
        steps.points.append(np.array(points).reshape(-1, 2))
    late = [each for each in tuner.trials if each.number >= AFTER]
    share = sum(each.epochs for each in late if not each.feasible) / max(1, sum(each.epochs for each in late))
    return steps, share


def theirs(instance: str, cost: str, name: str, seed: int, *, is_limited: bool) -> tuple[Steps, float]:
    """Run a search of Optuna with full training runs."""
    limit = scale(instance, cost).limit
    constraints = (lambda trial: (trial.user_attrs["cost"] - limit,)) if is_limited else None
    sampler = PEERS[name](seed=seed, constraints_func=constraints)
    study = optuna.create_study(sampler=sampler, directions=["minimize"] * (1 if is_limited else 2))
    steps, points = Steps([], []), list[tuple[float, float]]()
    for count in range(EVALUATIONS[-1] if is_limited else int(MARKS[-1])):
        trial = study.ask(distributions(lcbench.SPACE))
        errors, costs = metrics(instance, cost, trial.params)
        points.append((float(errors.min()), float(costs[-1])))
        trial.set_user_attr("cost", points[-1][1])
        study.tell(trial, points[-1][:1] if is_limited else points[-1])
        steps.epochs.append((count + 1) * EPOCHS)
        steps.points.append(np.array(points))
    late = np.array(points[AFTER:]).reshape(-1, 2)
    return steps, float((late[:, 1] > limit).mean()) if len(late) else 0.0


def run(task: tuple[str, str, str, int, bool]) -> tuple[Steps, float]:
    """Run one search."""
    instance, cost, name, seed, is_limited = task
    return (ours if name in OURS else theirs)(instance, cost, name, seed, is_limited=is_limited)


def fronts(
    found: dict[tuple[str, str, int], Steps], cost: str, instances: list[str], names: list[str], seeds: int
) -> None:
    """Print the hypervolumes at the marks."""
    print(f"| method | {' | '.join(f'{mark:g} runs' for mark in MARKS)} |\n|---{'|---' * len(MARKS)}|")
    rows: dict[str, list[list[float]]] = {name: [] for name in names}
    for instance in instances:
        box = scale(instance, cost)
        union = np.vstack([steps.points[-1] for key, steps in found.items() if key[0] == instance])
        ideal = np.minimum(union.min(axis=0), box.random.min(axis=0))
        whole = hypervolume((union - ideal) / (box.reference - ideal), np.ones(2))
        for name in names:
            for seed in range(seeds):
                steps = found[instance, name, seed]
                own = []
                for mark in MARKS:
                    done = [p for spent, p in zip(steps.epochs, steps.points, strict=True) if spent <= mark * EPOCHS]
                    z = (done[-1] - ideal) / (box.reference - ideal) if done else np.empty((0, 2))
                    own.append(hypervolume(z, np.ones(2)) / whole)
                rows[name].append(own)
    for name, values in rows.items():
        print(f"| {name} | {' | '.join(_cell(np.array(values)[:, i]) for i in range(len(MARKS)))} |")


def limited(
    found: dict[tuple[str, str, int], tuple[Steps, float]],
    cost: str,
    instances: list[str],
    names: list[str],
    seeds: int,
) -> None:
    """Print the regrets under the limit."""
    print(f"\n| method | {' | '.join(f'{count} trials' for count in EVALUATIONS)} | epochs | late epochs, infeasible |")
    print(f"|---{'|---' * (len(EVALUATIONS) + 2)}|")
    rows: dict[str, list[list[float]]] = {name: [] for name in names}
    for instance in instances:
        box = scale(instance, cost)
        feasible = box.random[box.random[:, 1] <= box.limit, 0]
        every = np.vstack([steps.points[-1] for key, (steps, _) in found.items() if key[0] == instance])
        best, median = every[every[:, 1] <= box.limit, 0].min(), float(np.median(feasible))
        for name in names:
            for seed in range(seeds):
                steps, share = found[instance, name, seed]
                own = []
                for count in EVALUATIONS:
                    points = steps.points[min(count, len(steps.points)) - 1][:count]
                    errors = points[points[:, 1] <= box.limit, 0]
                    value = errors.min() if len(errors) else np.quantile(feasible, 0.9)
                    own.append((value - best) / (median - best))
                rows[name].append([*own, steps.epochs[-1] / EPOCHS, share])
    for name, values in rows.items():
        cells = [_cell(np.array(values)[:, i]) for i in range(len(EVALUATIONS))]
        means = np.array(values).mean(axis=0)
        print(f"| {name} | {' | '.join(cells)} | {means[-2]:.1f} runs | {means[-1]:.1%} |")


def _cell(values: Array) -> str:
    return f"{values.mean():.3f} ± {values.std() / max(1, len(values) - 1) ** 0.5:.3f}"


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--instances", nargs="+", default=["3945", "126026", "167104", "146212"])
    parser.add_argument("--methods", nargs="+", default=[*OURS, *PEERS])
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--part", choices=["both", "fronts", "limit"], default="both")
    parser.add_argument("--cost", choices=["parameters", "seconds"], default="parameters")
    given = parser.parse_args()
    parts = [part for part, name in ((False, "fronts"), (True, "limit")) if given.part in ("both", name)]
    keys = [(i, name, seed) for i in given.instances for name in given.methods for seed in range(given.seeds)]
    for is_limited in parts:
        tasks = [(key[0], given.cost, *key[1:], is_limited) for key in keys]
        if given.processes == 1:
            done = list(map(run, tasks))
        else:
            with ProcessPoolExecutor(given.processes, get_context("spawn")) as pool:
                done = list(pool.map(run, tasks))
        found = dict(zip(keys, done, strict=True))
        arguments = (given.cost, given.instances, given.methods, given.seeds)
        if is_limited:
            limited(found, *arguments)
        else:
            fronts({key: steps for key, (steps, _) in found.items()}, *arguments)


if __name__ == "__main__":
    main()
