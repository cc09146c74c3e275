"""Strategies where the surrogate has nothing to learn, or much too much: are they ever worse than random?

Usage: python -m benchmarks edges [--seeds 10] [--processes 2] [--json FILE] [case ...]

The function is a bowl whose curves fall as a power of the epoch; the budget is that of 20 full training runs of 27
epochs, one worker. Printed per case: the normalised regret at the end, mean over seeds, and how much worse than random
it is in standard errors of the difference.

constant     every report is the same number; scored is the bowl that nobody sees
two values   reports are 1 in a fiftieth of the space, otherwise 0
NaN          training runs of half of the space diverge after some epochs; the optimum is at the border
one          a single parameter
thirty       thirty parameters, of which three matter
categories   a parameter of 200 categories, of which ten are good, and two numbers
first        the first training run reports what no other quite reaches; all are scored by the bowl
many         1,000 trials' worth of budget: 1,000 full training runs of 3 epochs
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import hpo_plugins as hpo
from benchmarks.harness import results
from benchmarks.harness.interfaces import Curve, Problem
from benchmarks.harness.simulator import Simulation
from benchmarks.methods.ours import MULTI_FIDELITY
from hpo_plugins.space import Space

STRATEGIES = ("random", "bayesian, full", "bayesian, stop", "bayesian, pause", "hyperband", "hyperband, random")
EPOCHS, TRAININGS = 27, 20
CENTRE = 0.3
Array = np.ndarray[Any, np.dtype[np.float64]]


class Case(NamedTuple):
    """A search space, the bowl over its unit cube, what of a training run's scores is reported, and the budget."""

    space: dict[str, Any]
    depth: Callable[[Array], float]
    report: Callable[[Array, Array, int], Array] = lambda _, score, __: score
    epochs: int = EPOCHS
    trainings: int = TRAININGS


def numbers(count: int) -> dict[str, Any]:
    """Return a space of numbers."""
    return {f"x{k}": hpo.Continuous(0.0, 1.0, scale="linear") for k in range(count)}


def bowl(point: Array) -> float:
    """Return the squared distance from the optimum in the first parameters."""
    return float(((point[:3] - CENTRE) ** 2).sum())


def one_in_fifty(point: Array, score: Array, number: int) -> Array:  # noqa: ARG001
    """Report whether the configuration is in a small box."""
    return np.full(len(score), float((np.abs(point[:3] - CENTRE) < 0.136).all()))


def half_nan(point: Array, score: Array, number: int) -> Array:  # noqa: ARG001
    """Diverge after up to ten epochs where the first parameter is above the optimum."""
    over = np.arange(len(score)) >= 1 + int(1e6 * point[1]) % 10
    return np.where(over, np.nan, score) if point[0] > CENTRE else score


def first_is_best(point: Array, score: Array, number: int) -> Array:  # noqa: ARG001
    """Let the first training run report what no other quite reaches."""
    return np.maximum(score, 0.02 - 0.5 / np.arange(1, len(score) + 1)) if number == 0 else score


GOOD = {f"c{k}" for k in range(0, 200, 20)}
CATEGORIES = [f"c{k}" for k in range(200)]


def categories(point: Array) -> float:
    """Return the bowl of two numbers, and a step for the categories that are not good."""
    return bowl(point[1:]) + 0.5 * (CATEGORIES[min(int(point[0] * 200), 199)] not in GOOD)


CASES = {
    "constant": Case(numbers(4), bowl, lambda _, score, __: np.full(len(score), 0.5)),
    "two values": Case(numbers(3), bowl, one_in_fifty),
    "NaN": Case(numbers(4), bowl, half_nan),
    "one": Case(numbers(1), bowl),
    "thirty": Case(numbers(30), bowl),
    "categories": Case({"kind": hpo.Categorical(CATEGORIES)} | numbers(2), categories),
    "first": Case(numbers(4), bowl, first_is_best),
    "many": Case(numbers(6), bowl, epochs=3, trainings=1000),
}


def problem_of(case: Case) -> Problem:
    """Return the case as a problem; every training run is numbered in the order in which it is first asked for."""
    space, numbers_of = Space(case.space), dict[str, int]()
    falls = np.arange(1, case.epochs + 1)

    def scores(point: Array) -> Array:
        return -case.depth(point) - 0.5 * falls ** -(0.6 + 0.4 * point[-1])

    def train(params: dict[str, Any]) -> Curve:
        number = numbers_of.setdefault(repr(params), len(numbers_of))
        point = space.encode(params)
        score = scores(point)
        reported = case.report(point, score, number)
        if case is CASES["two values"]:
            score = reported
        return Curve(np.where(np.isnan(reported), -np.inf, score), falls.astype(float), reported)

    rng = np.random.default_rng(0)
    finals = [float(np.max(train(space.decode(rng.random(len(space)))).score)) for _ in range(1000)]
    numbers_of.clear()
    best = 1.0 if case is CASES["two values"] else float(-0.5 * case.epochs**-1.0)
    median = float(np.median([final for final in finals if np.isfinite(final)]))
    return Problem(case.space, case.epochs, train, best, min(median, best - 1e-9), float(case.epochs))


def run(method: str, name: str, seed: int) -> results.Run:
    """Run a strategy on a case."""
    problem, case = problem_of(CASES[name]), CASES[name]
    trace = Simulation(
        problem, MULTI_FIDELITY[method], seed, case.trainings * case.epochs, workers=1, in_seconds=False
    ).run()
    return results.Run(method, name, seed, problem.regret(trace.best)[9::10].tolist(), trace.seconds, trace.asked)


def main() -> None:
    """Print one row a case."""
    parser = argparse.ArgumentParser()
    parser.add_argument("cases", nargs="*", help=", ".join(CASES))
    results.add_arguments(parser, seeds=10)
    arguments = parser.parse_intermixed_args()
    names = list(results.chosen(arguments.cases, CASES))
    found = results.Results("Edges", "epochs", [0.01 * k for k in range(1, 101)], [1.0], results.versions({}))
    for _ in results.measure(found, STRATEGIES, names, arguments, run):
        pass
    print("| case | " + " | ".join(STRATEGIES) + " |\n" + "|---" * (len(STRATEGIES) + 1) + "|")
    for name in names:
        ends = {method: found.of(method)[name][:, -1] for method in STRATEGIES}
        base, cells = ends[STRATEGIES[0]], []
        for method, own in ends.items():
            error = (
                np.hypot(*(values.std(ddof=1) / np.sqrt(len(values)) for values in (own, base))) if len(own) > 1 else 0
            )
            worse = (own.mean() - base.mean()) / error if error else 0.0
            cells.append(f"{own.mean():.3f}" + ("" if method == STRATEGIES[0] else f" ({worse:+.1f})"))
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
