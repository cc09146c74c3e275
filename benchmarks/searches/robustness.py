"""How strategies cope with difficult training runs: LCBench, one worker, the budget of 20 full training runs.

Usage: python -m benchmarks robustness [--seeds 10] [--problems dev|ID,ID] [--json FILE] [condition ...]
       python -m benchmarks robustness --read FILE.json ...

The first command prints a line per condition (``conditions.py``), and below it every instance on which a strategy is
worse than random at the full budget. The second prints the same from stored runs. What is scored is the accuracy
without the noise; regret 0 is the best accuracy that the condition allows.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.harness import results
from benchmarks.harness.simulator import Simulation
from benchmarks.methods.ours import MULTI_FIDELITY
from benchmarks.problems import conditions
from benchmarks.problems.conditions import CONDITIONS
from benchmarks.problems.lcbench import DEV
from benchmarks.searches.multi_fidelity import FRACTIONS, MARKS, TRAININGS

STRATEGIES = ("random", "hyperband", "bayesian, stop", "bayesian, pause")
RANDOM = STRATEGIES[0]


def run(method: str, instance: str, seed: int) -> results.Run:
    """Run a strategy under a condition, ``method`` being ``condition: strategy``."""
    condition, strategy = method.split(": ")
    problem, in_seconds = conditions.problem(instance, condition), CONDITIONS[condition].in_seconds
    budget = TRAININGS * (problem.training_seconds if in_seconds else problem.epochs)
    trace = Simulation(
        problem, MULTI_FIDELITY[strategy], seed, budget, workers=1, in_seconds=in_seconds
    ).run()  # fmt: skip
    return results.Run(method, instance, seed, problem.regret(trace.best)[9::10].tolist(), trace.seconds, trace.asked)


def name_of(condition: str, strategy: str) -> str:
    """Return the name under which the runs of a strategy under a condition are kept."""
    return f"{condition}: {strategy}"


def header() -> str:
    """Return the table's first two lines."""
    shown = " ".join(f"@{mark:.0%}" for mark in FRACTIONS)
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


def report_worse(found: results.Results, shown: list[str]) -> None:
    """Print what is worse than random."""
    worse = [line for condition in shown for line in worse_than_random(found, condition)]
    print("\nWorse than random at the full budget: " + ("nowhere." if not worse else "\n- " + "\n- ".join(worse)))


def main() -> None:
    """Print one row a condition."""
    parser = argparse.ArgumentParser()
    parser.add_argument("conditions", nargs="*", help=", ".join(CONDITIONS))
    parser.add_argument("--problems", default="dev")
    parser.add_argument("--read", nargs="+", type=Path, default=[], help="print the runs of these files")
    results.add_arguments(parser, seeds=10)
    arguments = parser.parse_intermixed_args()
    print(header(), flush=True)
    if arguments.read:
        found = results.read(arguments.read)
        shown = [c for c in CONDITIONS if name_of(c, STRATEGIES[-1]) in found.methods]
        for condition in shown:
            print(row(found, condition))
        report_worse(found, shown)
        return
    shown = list(results.chosen(arguments.conditions, CONDITIONS))
    instances = DEV if arguments.problems == "dev" else tuple(arguments.problems.split(","))
    found = results.Results(
        suite="LCBench, disturbed", unit="epochs", marks=MARKS, shown=FRACTIONS, versions=results.versions({})
    )
    methods = [name_of(condition, strategy) for condition in shown for strategy in STRATEGIES]
    for method in results.measure(found, methods, instances, arguments, run):
        condition, strategy = method.split(": ")
        if strategy == STRATEGIES[-1]:
            print(row(found, condition), flush=True)
    report_worse(found, shown)
