"""Learn the hyperpriors of the curve model from families of curves (empirical Bayes); try them on a family left out.

Usage: python -m benchmarks hyperpriors record FILE.json   (once: partial curves of random draws with rungs)
       python -m benchmarks hyperpriors learn FILE.json    (a table: each family with hyperpriors of the others)

Notation
    theta_c    the logarithmic hyperparameters of record c at their highest posterior density
    S_c        the diagonal of the inverse Hessian there (Laplace's approximation)

    mean       the mean of theta_c, over records and then over families, which count alike
    variance   the mean of (theta_c - mean)^2 + S_c

Both are repeated with the new priors (expectation maximisation). All length scales of a record count as draws from one
prior, and so do all warps. The expected improvement b has a normal posterior, which is exact.

Reference:
    Wang, Dahl, Swersky, Lee, Nado, Gilmer, Snoek, Ghahramani, "Pre-trained Gaussian Processes for Bayesian
    Optimization", JMLR 25, 2024 (priors of a process from other tasks).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness.interfaces import Curve, Problem
from benchmarks.methods.oracles import best_score
from benchmarks.model import quality
from benchmarks.problems.families import FAMILIES
from benchmarks.problems.real_tasks import RealTask
from hpo_plugins.modeling import model as modelling
from hpo_plugins.space import Space
from hpo_plugins.surrogate import hyperparameters
from hpo_plugins.surrogate.gp import cholesky, log_posterior
from hpo_plugins.surrogate.hyperparameters import Hyperpriors, Layout, Prior
from hpo_plugins.surrogate.kernel import covariance_with_backward

Array = NDArray[np.float64]
METHOD = "hyperband, random"
PARTS, SEEDS = (0.1, 0.3), (0, 1)
ITERATIONS = 3
STEP = 1e-3
"""Over which second derivatives are differences of gradients."""


def problems(family: str) -> dict[str, Problem]:
    """Return the problems of a family; those of real training runs answer with the nearest recorded one."""
    if family == "real":
        return {name: _table(RealTask(name)) for name in FAMILIES[family].names()}
    found = {}
    for name in FAMILIES[family].names():
        with FAMILIES[family].problem(name) as found[name]:
            pass
    return found


def _table(task: RealTask) -> Problem:
    space, rows, sign = Space(task.problem.space), task.recorded, task.real.sign
    points, values = np.asarray(rows["U"]), sign * np.asarray(rows["val"], dtype=np.float64)

    def train(params: dict[str, Any]) -> Curve:
        nearest = int(np.argmin(((points - space.encode(params)) ** 2).sum(axis=1)))
        score = np.where(np.isnan(values[nearest]), -math.inf, values[nearest])
        return Curve(score, np.cumsum(rows["sec"][nearest]), values[nearest])

    return task.problem._replace(train=train)


def record(path: Path, families: list[str]) -> None:
    """Write searches that were broken off, and the ends of their training runs and of random ones."""
    found = []
    for family in families:
        for name, problem in problems(family).items():
            space, rng = Space(problem.space), np.random.default_rng(0)
            new = [space.decode(rng.random(len(space))) for _ in range(quality.N_NEW)]
            new_ends = [best_score(problem, params) for params in new]
            for part in PARTS:
                for seed in SEEDS:
                    trials = quality.recorded(problem, METHOD, part, seed)
                    found.append({
                        "suite": family, "name": name, "part": part, "seed": seed,
                        "epochs": problem.epochs, "best": problem.best, "median": problem.median,
                        "trials": trials, "ends": [best_score(problem, row["params"]) for row in trials],
                        "new": new, "new_ends": new_ends,
                    })  # fmt: skip
            print(family, name, flush=True)
            path.write_text(json.dumps(found))


class Estimate(NamedTuple):
    """What a record says of one hyperparameter: its mean and its variance."""

    mean: float
    variance: float


@contextlib.contextmanager
def believing(priors: Hyperpriors) -> Iterator[None]:
    """Let all processes be made with other hyperpriors."""
    before = hyperparameters.HYPERPRIORS
    hyperparameters.HYPERPRIORS = priors
    modelling._fit.cache_clear()  # noqa: SLF001 - it keeps fits by their data
    try:
        yield
    finally:
        hyperparameters.HYPERPRIORS = before
        modelling._fit.cache_clear()  # noqa: SLF001


def names_of(layout: Layout) -> list[str]:
    """Return the field of ``Hyperpriors`` of each entry of theta."""
    count = int(layout.groups[-1]) + 1
    tail = ["time", "time_scale", "trend", "own", "own_scale"] if layout.curves else []
    return ["length"] * count + ["signal", "noise"] + ["warp"] * (2 * len(layout.warped)) + tail


def estimates(case: dict[str, Any], space: Space) -> Iterator[tuple[str, Estimate]]:
    """Yield what a record says of each hyperparameter."""
    model = modelling.fit_model(quality.history_of(space, case["epochs"], case["trials"]), case["epochs"])
    if model is None:
        return
    posterior = model.posterior
    layout, theta, x = posterior.layout, posterior.theta, posterior.x
    y = posterior.residual + posterior.prior_mean(x)
    offset = math.log(int(layout.groups[-1]) + 1) / 2
    for name, value, variance in zip(names_of(layout), theta, _variances(layout, theta, x, y), strict=True):
        yield name, Estimate(value - offset * (name == "length"), variance)
    known = layout.hyperpriors
    factor = cholesky(covariance_with_backward(layout, theta, x)[0])
    rest, left = np.linalg.solve(factor, np.array([y - known.improvement * (1 - x[:, -1]), 1 - x[:, -1]]).T).T
    explained = known.improvement_variance * float(left @ left)
    mean = known.improvement + known.improvement_variance * float(left @ rest)
    yield "improvement", Estimate(mean, known.improvement_variance * (1 - explained))


def _variances(layout: Layout, theta: Array, x: Array, y: Array) -> Array:
    """Return S, at most the variances of the priors: beyond a bound nothing is learned."""
    steps = STEP * np.eye(len(theta))
    hessian = np.array(
        [(log_posterior(layout, theta - e, x, y)[1] - log_posterior(layout, theta + e, x, y)[1]) for e in steps]
    ) / (2 * STEP)
    prior = np.array([p.deviation**2 for p in layout.priors])
    values, vectors = np.linalg.eigh((hessian + hessian.T) / 2)
    inverse = (vectors / np.maximum(values, 1 / prior.max())) @ vectors.T
    variances: Array = np.minimum(inverse.diagonal(), prior)
    return variances


def learn(cases: list[dict[str, Any]], spaces: dict[tuple[str, str], Space]) -> Hyperpriors:
    """Return the hyperpriors of the families of some records."""
    priors = hyperparameters.HYPERPRIORS
    for _ in range(ITERATIONS):
        found: dict[str, dict[str, list[Estimate]]] = defaultdict(lambda: defaultdict(list))
        with believing(priors):
            for case in cases:
                for name, estimate in estimates(case, spaces[case["suite"], case["name"]]):
                    found[name][case["suite"]].append(estimate)
        priors = _combined(priors, found)
    return priors


def _combined(priors: Hyperpriors, found: dict[str, dict[str, list[Estimate]]]) -> Hyperpriors:
    """Return the means and deviations over families, each of which counts the same."""
    changed: dict[str, Prior | float] = {}
    for name, by_family in found.items():
        families = [np.array(rows) for rows in by_family.values()]
        mean = float(np.mean([rows[:, 0].mean() for rows in families]))
        variance = float(np.mean([((rows[:, 0] - mean) ** 2 + rows[:, 1]).mean() for rows in families]))
        if name == "improvement":
            changed |= {"improvement": mean, "improvement_variance": variance}
        else:
            changed[name] = getattr(priors, name)._replace(mean=mean, deviation=math.sqrt(variance))
    return priors._replace(**changed)  # type: ignore[arg-type]  # each name has its type


def _row(label: str, cases: list[dict[str, Any]], spaces: dict[tuple[str, str], Space]) -> str:
    table = np.array([quality.evaluate(case, spaces[case["suite"], case["name"]]) for case in cases])
    error = np.nanstd(table, axis=0, ddof=1) / math.sqrt(len(table))
    cells = [f"{mean:.3f} ± {e:.3f}" for mean, e in zip(quality.summary(table)[:-1], error, strict=False)]
    return f"{label:>24} " + " ".join(cell.rjust(14) for cell in cells)


def main() -> None:
    """Record, or learn."""
    parser = argparse.ArgumentParser()
    parser.add_argument("action", choices=("record", "learn"))
    parser.add_argument("file", type=Path)
    parser.add_argument("--families", nargs="+", default=["taskset", "lcbench", "real"])
    arguments = parser.parse_args()
    if arguments.action == "record":
        record(arguments.file, arguments.families)
        return
    cases = [case for case in json.loads(arguments.file.read_text()) if case["suite"] in arguments.families]
    families = sorted({case["suite"] for case in cases})
    spaces = {(f, name): Space(problem.space) for f in families for name, problem in problems(f).items()}
    print(f"{'':>24} " + " ".join(name.rjust(14) for name in quality.COLUMNS))
    for family in families:
        rest, own = ([c for c in cases if (c["suite"] == family) is is_own] for is_own in (False, True))
        print(_row(f"{family}, now", own, spaces), flush=True)
        priors = learn(rest, spaces)
        with believing(priors):
            print(_row(f"{family}, of the others", own, spaces), flush=True)
    learned = learn(cases, spaces)
    for name, value in learned._asdict().items():
        before = getattr(hyperparameters.HYPERPRIORS, name)
        if isinstance(value, Prior):
            print(
                f"{name:>22} {before.mean:.2f} +- {before.deviation:.2f} -> {value.mean:.2f} +- {value.deviation:.2f}"
            )
        else:
            print(f"{name:>22} {before:.2f} -> {value:.2f}")
