"""How training runs that run at once should count in the choice of the next: 4, 16 or 64 workers, single values.

Usage: python -m benchmarks batches [--workers 4,16,64] [--seeds 2] [--rounds 6] [--processes 2] [method ...]

Methods:
    believer    running training runs have their predicted values as results (what the library does)
    nothing     they do not count; only their exact configurations are not suggested again
    best        they have the best value so far as their results (constant liar, Ginsbourger et al. 2010)
    worst       they have the worst value so far
    fantasies   expected improvement, averaged over eight joint draws of their results (Snoek et al. 2012)
    penalties   expected improvement times the probability that no running training run's ball of exclusion holds the
                point (local penalisation, Gonzalez et al. 2016)
    Thompson    the best candidate of one function drawn from the surrogate
    random      random search

The tasks are those of ``black_box.py``. A training run lasts a random time, which differs threefold and more, so
workers ask one by one; each has the time of ``--rounds`` mean training runs. *Distance* is how far a suggestion is from
the nearest configuration that runs, as a share of the cube's diagonal; *busy* is the workers' utilisation.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr, logsumexp

import hpo_plugins as hpo
from benchmarks.harness import results
from benchmarks.harness.interfaces import Curve, Problem
from benchmarks.harness.simulator import N_MARKS, Simulation
from benchmarks.methods import ours
from benchmarks.problems.black_box_tasks import DEV, known, task
from hpo_plugins.modeling import proposals
from hpo_plugins.modeling.model import Model
from hpo_plugins.surrogate.gp import Posterior
from hpo_plugins.surrogate.optimize import AcquisitionOptimizer, Proposals
from hpo_plugins.surrogate.sample_path import SamplePath

FRACTIONS = (1 / 3, 1 / 2, 2 / 3, 1.0)
N_FANTASIES = 8
Array = NDArray[np.float64]


class Proposal(NamedTuple):
    """The input of a variant: the surrogate, the running inputs, and the best loss known or expected."""

    model: Model
    running: Array
    best: float

    def optimizer(self, posterior: Posterior) -> AcquisitionOptimizer:
        """Return the library's own search for configurations, with another posterior."""
        rng = np.random.default_rng(len(self.model.observed.loss))
        return AcquisitionOptimizer(
            self.model.encoder, posterior, self.best, log_fidelity=None, cautious=False, rng=rng
        )

    def told(self, values: Array) -> Posterior:
        """Return the posterior if the training runs that run had these results."""
        p = self.model.posterior
        y = np.concatenate([p.residual, values])
        return Posterior(p.layout, p.theta, np.vstack([p.x, self.running]), y, p.mean, p.factor)


class Several(AcquisitionOptimizer):
    """The search for configurations, ranked by a criterion other than one posterior's improvement."""

    def __init__(self, base: AcquisitionOptimizer, value: Callable[[Array], Array]) -> None:
        """Take the other optimizer's candidates and climbs."""
        self.__dict__.update(base.__dict__)
        self._value = value

    def value(self, points: Array) -> Array:
        """Return the value of snapped points."""
        return self._value(points)


def _believer(proposal: Proposal) -> AcquisitionOptimizer:
    return proposal.optimizer(proposal.told(proposal.model.posterior.predict_mean(proposal.running)))


def _nothing(proposal: Proposal) -> AcquisitionOptimizer:
    return proposal.optimizer(proposal.model.posterior)


def _best(proposal: Proposal) -> AcquisitionOptimizer:
    return proposal.optimizer(proposal.told(np.full(len(proposal.running), proposal.model.best)))


def _worst(proposal: Proposal) -> AcquisitionOptimizer:
    return proposal.optimizer(proposal.told(np.full(len(proposal.running), proposal.model.y.max())))


def _fantasies(proposal: Proposal) -> AcquisitionOptimizer:
    posterior = proposal.model.posterior
    optimizers = []
    for number in range(N_FANTASIES):
        rng = np.random.default_rng([len(proposal.model.observed.loss), number])
        values = SamplePath(posterior, rng)(proposal.running)
        optimizers.append(proposal._replace(best=min(proposal.best, values.min())).optimizer(proposal.told(values)))
    # The climb follows the believer; candidates, their neighbours and the ends of climbs are ranked by the mean.
    return Several(_believer(proposal), lambda points: logsumexp([o.value(points) for o in optimizers], axis=0))


def _penalties(proposal: Proposal) -> AcquisitionOptimizer:
    """Gonzalez et al., "Batch Bayesian Optimization via Local Penalization", AISTATS 2016, equations 5 to 8."""
    base, encoder = _nothing(proposal), proposal.model.encoder
    posterior = proposal.model.posterior
    sampled = encoder.inputs(encoder.snap(np.random.default_rng(0).random((256, len(encoder.space)))))
    slope = float(np.sqrt((posterior.predict_with_gradient(sampled).mean_gradient ** 2).sum(axis=1)).max()) or 1e-9
    mean, deviation = posterior.predict(proposal.running)

    def value(points: Array) -> Array:
        x = encoder.inputs(points)
        distance = np.sqrt(((x[:, None] - proposal.running) ** 2).sum(axis=2))
        z = (slope * distance - (mean - proposal.best)) / deviation
        return base.value(points) + log_ndtr(z).sum(axis=1)

    return Several(base, value)


def _thompson(proposal: Proposal) -> AcquisitionOptimizer:
    """Return a search whose values are those of a drawn function; the climb follows expected improvement."""
    history = proposal.model.history
    path = SamplePath(
        proposal.model.posterior, np.random.default_rng([len(proposal.model.observed.loss), len(history)])
    )
    base, seen = _nothing(proposal), dict[bytes, float]()

    def value(points: Array) -> Array:
        keys = [point.tobytes() for point in points]
        new = {key: point for key, point in zip(keys, points, strict=True) if key not in seen}
        if new:  # equal inputs must not be drawn twice
            drawn = path(proposal.model.encoder.inputs(np.array(list(new.values()))))
            seen.update(zip(new, map(float, drawn), strict=True))
        return -np.array([seen[key] for key in keys])

    return Several(base, value)


VARIANTS: dict[str, Callable[[Proposal], AcquisitionOptimizer] | None] = {
    "believer": _believer,
    "nothing": _nothing,
    "best": _best,
    "worst": _worst,
    "fantasies": _fantasies,
    "penalties": _penalties,
    "Thompson": _thompson,
    "random": None,
}


class Run(NamedTuple):
    """Regret at the fractions of the time, the distances to what ran, CPU ms a suggestion, utilisation."""

    regrets: Array
    distance: float
    milliseconds: float
    busy: float


def _problem(name: str, seed: int) -> Problem:
    problem, scale = task(name), known(name)
    rng = np.random.default_rng([seed, 1])

    def train(params: dict[str, Any]) -> Curve:
        seconds = np.array([rng.lognormal(0.0, 0.5)])
        return Curve([-problem.score(params)], seconds, [-problem.observe(params, rng)])

    return Problem(problem.space, 1, train, -scale["best"], -scale["median"], float(np.exp(0.5**2 / 2)))


def run(method: str, name: str, workers: int, rounds: int, seed: int) -> Run:
    """Run one search."""
    distances: list[float] = []
    variant = VARIANTS[method]

    def propose(model: Model, running: Sequence[int], excluded: Array) -> Proposals:
        points = model.points[list(running)]
        inputs = model.inputs(points, 1)
        means = model.posterior.predict_mean(inputs)
        assert variant is not None
        proposal = Proposal(model, inputs, float(np.min([model.best, *means])))
        found = (variant(proposal) if len(running) else _nothing(proposal)).run(
            model.points[model.incumbents(5)], excluded
        )
        if len(running) and len(found.points):
            gaps = np.sqrt(((points - found.points[0]) ** 2).mean(axis=1))
            distances.append(float(gaps.min()))
        return found

    problem = _problem(name, seed)
    strategy = hpo.Random() if variant is None else hpo.Bayesian()
    with mock.patch.object(proposals, "propose", propose):
        search = Simulation(
            problem,
            ours.ours(lambda _: strategy),
            seed,
            rounds * problem.training_seconds,
            workers=workers,
            in_seconds=True,
        )
        trace = search.run()
    marks = [max(0, round(fraction * N_MARKS) - 1) for fraction in FRACTIONS]
    distance = float(np.mean(distances)) if distances else float("nan")
    return Run(problem.regret(trace.best)[marks], distance, 1e3 * trace.seconds / trace.asked, trace.utilisation)


def main() -> None:
    """Print a table for each number of workers."""
    parser = argparse.ArgumentParser()
    parser.add_argument("methods", nargs="*")
    parser.add_argument("--workers", default="4,16,64")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    arguments = parser.parse_intermixed_args()
    chosen = results.chosen(arguments.methods, VARIANTS)
    with ProcessPoolExecutor(arguments.processes, get_context("spawn")) as pool:
        for workers in map(int, arguments.workers.split(",")):
            marks = " | ".join(f"@{fraction:.0%}" for fraction in FRACTIONS)
            print(
                f"\n{workers} workers, {arguments.rounds} mean trainings each, {len(DEV)} tasks x {arguments.seeds}\n"
            )
            print(f"| method | {marks} | distance | CPU ms a suggestion | busy |\n|{'---|' * (len(FRACTIONS) + 4)}")
            for method in chosen:
                jobs = [
                    [pool.submit(run, method, name, workers, arguments.rounds, seed) for seed in range(arguments.seeds)]
                    for name in DEV
                ]
                runs = [[job.result() for job in seeds] for seeds in jobs]
                regrets = np.array([[one.regrets for one in seeds] for seeds in runs])  # tasks, seeds, fractions
                mean, count = regrets.mean(axis=(0, 1)), regrets.shape[1]
                error = np.sqrt((regrets.var(axis=1, ddof=1) / count).sum(axis=0)) / len(regrets)
                cells = [f"{m:.3f} ± {e:.3f}" for m, e in zip(mean, error, strict=True)]
                distance, cpu, busy = (
                    np.mean([[getattr(one, field) for one in seeds] for seeds in runs])
                    for field in ("distance", "milliseconds", "busy")
                )
                print(f"| {method} | {' | '.join(cells)} | {distance:.3f} | {cpu:.0f} | {busy:.0%} |", flush=True)
