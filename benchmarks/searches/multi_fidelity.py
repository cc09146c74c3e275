"""Regret against cost where training runs report epochs, in one of the families of problems.

Usage: python -m benchmarks real|lcbench|taskset|small [--problems "dev|NAME;NAME"] [--seeds 10] [--workers 1]
           [--processes 2] [--json FILE] [method ...]

Ours, every installed peer (``peers/``) and the oracles (``oracles.py``) are compared; ``--json`` keeps the runs, for
``report.py``.

The budget is that of 20 mean full training runs, or of 5 for each of several workers: in epochs, but in simulated
seconds for real training runs and for several workers: an epoch lasts as long as the surrogate, or the cost model of
the real training runs, says. The strategies see this time pass. A training run that is resumed does not pay again; one
that diverges ends.

Normalised regret = (best known - best so far) / (best known - median of random), at most 2.
"""

from __future__ import annotations

import argparse
import functools

from benchmarks.harness import results
from benchmarks.harness.interfaces import Searcher
from benchmarks.harness.simulator import N_MARKS, Simulation
from benchmarks.methods import oracles, ours, peers
from benchmarks.problems.families import FAMILIES

TRAININGS = 20
PER_WORKER = 5
"""Mean full training runs of which each of several workers has the time."""
FRACTIONS = [0.05, 0.1, 0.25, 0.5, 1.0]
MARKS = [round(0.01 * k, 2) for k in range(1, 101)]


def methods() -> dict[str, Searcher]:
    """Return ours, and those of the installed peers."""
    return ours.MULTI_FIDELITY | peers.multi_fidelity_methods()


def run(family: str, workers: int, method: str, name: str, seed: int) -> results.Run:
    """Run a method on a problem."""
    with FAMILIES[family].problem(name) as problem:
        if method in oracles.ORACLES:
            best = oracles.best_by_mark(oracles.ORACLES[method](problem, seed), TRAININGS * problem.epochs, N_MARKS)
            return results.Run(method, name, seed, problem.regret(best)[9::10].tolist(), 0.0, 1)
        in_seconds = FAMILIES[family].in_seconds or workers > 1
        trainings = TRAININGS if workers == 1 else PER_WORKER
        budget = trainings * (problem.training_seconds if in_seconds else problem.epochs)
        search = Simulation(problem, methods()[method], seed, budget, workers=workers, in_seconds=in_seconds)
        trace = search.run()
        regrets = problem.regret(trace.best)[9::10].tolist()
        return results.Run(method, name, seed, regrets, trace.seconds, trace.asked, trace.utilisation)


def main() -> None:
    """Print one row a method, then the comparison with the best peer."""
    parser = argparse.ArgumentParser()
    parser.add_argument("family", choices=FAMILIES)
    parser.add_argument("methods", nargs="*")
    parser.add_argument("--problems", default="dev")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--each", action="store_true", help="print each problem's regrets, too")
    results.add_arguments(parser, seeds=10)
    arguments = parser.parse_intermixed_args()
    chosen = list(results.chosen(arguments.methods, {**methods(), **oracles.ORACLES}))
    family = FAMILIES[arguments.family]
    problems = family.names() if arguments.problems == "dev" else tuple(arguments.problems.split(";"))
    in_epochs = not family.in_seconds and arguments.workers == 1
    found = results.Results(
        suite=f"{family.title}, workers: {arguments.workers}",
        unit="epochs" if in_epochs else "simulated time",
        marks=MARKS,
        shown=FRACTIONS,
        versions=results.versions(peers.versions()),
    )
    print(found.header(), flush=True)
    one = functools.partial(run, arguments.family, arguments.workers)
    for name in results.measure(found, chosen, problems, arguments, one):
        print(found.row(name), flush=True)
        if arguments.each:
            print(found.each(name), flush=True)
    print(f"\n{found.comparison()}")
