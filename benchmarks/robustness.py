"""How strategies cope with difficult trainings: LCBench, one worker, the epochs of 20 full trainings.

Usage: python benchmarks/robustness.py [--seeds 5] [--instances dev|ID,ID] [--json FILE] [condition ...]
       python benchmarks/robustness.py --read FILE.json ...

The first command prints a line per condition, and below it every instance on which a strategy is worse than random at
the full budget. The second prints the same from stored runs. What is scored is the accuracy without the noise
of the best training so far; the scale is that of the undisturbed instance. Where optima lie among configurations that
diverge, no method can reach zero: compare with random, which suffers the same.
"""

from __future__ import annotations

import argparse
import logging
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import multi_fidelity
import numpy as np
import results
from interfaces import Searcher, Stopwatch
from lcbench import DEV, EPOCHS, SPACE
from multi_fidelity import METHODS, TRAININGS, Curve, Problem, best_by_budget, full_training_seconds, regret

from hpo_plugins.space import Space

STRATEGIES = ("random", "hyperband", "bayesian, stop", "bayesian, pause")
RANDOM = STRATEGIES[0]
SHOWN = (0.25, 0.5, 1.0)
PERIOD = np.arange(1, EPOCHS + 1)
UNIT = Space(SPACE)


def _hash(params: dict[str, Any]) -> int:
    """Return a number that depends on nothing but the configuration."""
    return zlib.crc32(repr(sorted(params.items())).encode())


def _unit(params: dict[str, Any], name: str) -> float:
    """Return where on its scale a parameter is, from 0 to 1."""
    return SPACE[name].to_unit(params[name])


def plain(_: dict[str, Any], curve: Curve) -> Curve:
    """Return the curve as it is."""
    return curve


def noisy(params: dict[str, Any], curve: Curve) -> Curve:
    """Report the accuracy with Gaussian noise of one percentage point, seeded by the configuration."""
    noise = np.random.default_rng(_hash(params)).standard_normal(EPOCHS)
    return curve._replace(reported=np.clip(curve.reported + noise, 0, 100))


def crossing(params: dict[str, Any], curve: Curve) -> Curve:
    """Let half of the configurations learn late: their value at epoch e is that of epoch e * e / 52."""
    if _hash(params) % 2:
        return curve
    late = np.interp(PERIOD**2 / EPOCHS, PERIOD, curve.accuracy)
    return curve._replace(accuracy=late, reported=late)


def diverging(params: dict[str, Any], curve: Curve) -> Curve:
    """Report NaN from some epoch on where learning rate and momentum are both in the upper part of their scales."""
    if _unit(params, "learning_rate") < 0.6 or _unit(params, "momentum") < 0.5:
        return curve
    over = np.arange(EPOCHS) >= 1 + _hash(params) % 20
    return curve._replace(
        accuracy=np.where(over, -np.inf, curve.accuracy), reported=np.where(over, np.nan, curve.reported)
    )


def costly(params: dict[str, Any], curve: Curve) -> Curve:
    """Let an epoch last up to ten times as long: the wider the network, the longer."""
    return curve._replace(seconds=curve.seconds * 10 ** _unit(params, "max_units"))


class Condition(NamedTuple):
    """What is done to every curve, and whether the budget is time."""

    words: str
    change: Callable[[dict[str, Any], Curve], Curve]
    in_seconds: bool = False


CONDITIONS = {
    "plain": Condition("undisturbed", plain),
    "noise": Condition("noise of 1 % on every report", noisy),
    "crossing": Condition("half of the curves rise late and cross", crossing),
    "diverging": Condition("the metric diverges in a corner of the space", diverging),
    "costs": Condition("costs differ tenfold, budget in time", costly, in_seconds=True),
}


def disturbed(instance: str, condition: Condition) -> Problem:
    """Return an instance under a condition."""
    train = multi_fidelity.lcbench(instance)
    return lambda params: condition.change(params, train(params))


def run(searcher: Searcher, instance: str, seed: int, condition: Condition) -> tuple[list[float], float, int]:
    """Return the regrets, no CPU seconds (they are measured elsewhere), and the number of trials."""
    train, clock = disturbed(instance, condition), Stopwatch()
    budget = TRAININGS * (full_training_seconds(train) if condition.in_seconds else EPOCHS)
    best = best_by_budget(searcher(seed), clock(train), budget, in_seconds=condition.in_seconds)
    return regret(instance, best), 0.0, clock.calls


def name_of(condition: str, strategy: str) -> str:
    """Return the name under which the runs of a strategy under a condition are kept."""
    return f"{condition}: {strategy}"


def header() -> str:
    """Return the table's first two lines."""
    shown = " ".join(f"@{mark:.0%}" for mark in SHOWN)
    return "| condition | " + " | ".join(f"{name} {shown}" for name in STRATEGIES) + " |" + "\n|---|---|---|---|---|"


def row(found: results.Results, condition: str) -> str:
    """Return a condition's line."""
    cells = [
        " ".join(f"{value:.3f}" for value in found.at(found.by_problem(name_of(condition, s)).values()).mean(axis=0))
        for s in STRATEGIES
    ]
    return f"| {CONDITIONS[condition].words} | " + " | ".join(cells) + " |"


def worse_than_random(found: results.Results, condition: str) -> list[str]:
    """Return, in words, each instance on which a strategy ends above random, by the mean over seeds."""
    random = found.by_problem(name_of(condition, RANDOM))
    return [
        f"{CONDITIONS[condition].words}: {strategy} on {instance}, {curve[-1]:.3f} against {random[instance][-1]:.3f}"
        for strategy in STRATEGIES[1:]
        for instance, curve in found.by_problem(name_of(condition, strategy)).items()
        if curve[-1] > random[instance][-1]
    ]


def report_worse(found: results.Results, conditions: list[str]) -> None:
    """Print what is worse than random."""
    worse = [line for condition in conditions for line in worse_than_random(found, condition)]
    print("\nWorse than random at the full budget: " + ("nowhere." if not worse else "\n- " + "\n- ".join(worse)))


def main() -> None:
    """Print one row a condition."""
    parser = argparse.ArgumentParser()
    parser.add_argument("conditions", nargs="*", help=", ".join(CONDITIONS))
    parser.add_argument("--instances", default="dev")
    parser.add_argument("--read", nargs="+", type=Path, default=[], help="print the runs of these files")
    results.add_arguments(parser, seeds=5)
    arguments = parser.parse_args()
    logging.getLogger("hpo_plugins").setLevel(logging.ERROR)  # that trainings diverge is meant
    print(header(), flush=True)
    if arguments.read:
        found = results.read(arguments.read)
        conditions = [c for c in CONDITIONS if name_of(c, STRATEGIES[-1]) in found.methods]
        for condition in conditions:
            print(row(found, condition))
        report_worse(found, conditions)
        return
    conditions = list(results.chosen(arguments.conditions, CONDITIONS))
    instances = DEV if arguments.instances == "dev" else tuple(arguments.instances.split(","))
    found = results.Results(
        suite="LCBench, disturbed",
        unit="epochs",
        marks=[round(0.01 * k, 2) for k in range(1, 101)],
        shown=list(SHOWN),
        versions=results.versions({}),
    )
    for condition in conditions:
        methods = {name_of(condition, strategy): METHODS[strategy] for strategy in STRATEGIES}
        disturbance = CONDITIONS[condition]
        for _ in results.measure(found, methods, instances, arguments, lambda m, i, s, c=disturbance: run(m, i, s, c)):
            pass
        print(row(found, condition), flush=True)
    report_worse(found, conditions)


if __name__ == "__main__":
    main()
