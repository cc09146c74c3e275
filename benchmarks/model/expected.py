"""Measure what is expected of the best trial (``TrialRecord.expected``) against training runs with other seeds.

Usage: python -m benchmarks expected [--tasks NAME,...] [--draws 100] [--folder FOLDER] [--searches 0]

Tasks are the small training runs and, if ``HPO_PLUGINS_REAL_CURVES`` is set, the real ones. Each configuration of a
fixed Sobol set is trained once, the best ones again with other seeds; ``--folder`` keeps the values. A draw is what a
search may leave: 8 to 60 of the configurations, in every other draw half of them among the best, each with the value of
one of its seeds. With ``--searches``, whole searches are run as well, and their best configurations trained again.

cover   share of other seeds' values within the 90 % interval, expected +- 1.645 standard deviations
bias    mean of (other seeds' value - expected) as losses: above 0, too much is promised
seen    the same for the value that was seen instead of the expected one
std     median of the expected standard deviation
exact   share of draws whose training runs seem to repeat exactly; they count for cover and bias

bias, seen and std are in units of the standard deviation between seeds of the best configurations.
"""

from __future__ import annotations

import argparse
import functools
import os
import re
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import qmc

import hpo_plugins as hpo
from benchmarks.problems import real_tasks, small_trainings
from hpo_plugins.modeling.noisy_runs import NORMAL_90, expected_loss
from hpo_plugins.space import Space

Array = NDArray[Any]
SIZES = (8, 12, 20, 40, 60)
N_CONFIGURATIONS = 64
N_AGAIN = 16
"""Of the small tasks' configurations, how many are trained again; of the real ones, three times as many."""
N_SEEDS = 3
NARROW = (", narrow", "")
ALL = ("real", *(f"{kind}{width}" for kind in small_trainings.KINDS for width in NARROW))
SEARCHES = {
    "hyperband": lambda last: hpo.Hyperband(max_resource=last),
    "bayesian": lambda last: hpo.Bayesian(max_resource=last),
    "bayesian, full": lambda _: hpo.Bayesian(),
    "random": lambda _: hpo.Random(),
}


class Task(NamedTuple):
    """A task: its space, the epochs of a training run, and the losses of a training run with a seed."""

    name: str
    space: Space
    epochs: int
    losses: Callable[[dict[str, Any], str], Array]


def task(name: str) -> Task:
    """Return a task by its name."""
    kind, _, width = name.partition(", ")
    if kind in small_trainings.KINDS:
        known = small_trainings.KINDS[kind]

        def small(params: dict[str, Any], seed: str) -> Array:
            losses = np.full(small_trainings.EPOCHS, np.nan)
            run = known.losses(params, zlib.crc32(seed.encode()))
            for epoch in range(small_trainings.EPOCHS):
                losses[epoch] = next(run)
                if not np.isfinite(losses[epoch]):
                    break
            return losses

        return Task(name, Space(known.narrow if width else known.wide), small_trainings.EPOCHS, small)
    real = real_tasks.RealTask(name)

    def run(params: dict[str, Any], seed: str) -> Array:
        training = real_tasks.library().Training(real.real, params, seed)
        training.up_to(real.real.max_epoch)
        return -real.real.sign * np.array(training.values)

    return Task(name, Space(real.problem.space), real.real.max_epoch, run)


class Known(NamedTuple):
    """The losses of a task: points ``(n, d)``, curves ``(n, epochs)``, which were trained again, and their curves."""

    points: Array
    losses: Array
    chosen: Array
    again: Array


def train(task: Task, folder: Path) -> Known:
    """Return the training runs of a task, from the folder if they are there."""
    key, is_small = task.name.replace(", narrow", ",n"), task.name.partition(",")[0] in small_trainings.KINDS
    path = folder / f"{key}.npz"
    if path.exists():
        stored = np.load(path)
        return Known(stored["U"], stored["loss"], stored["i"], stored["again"])
    if is_small:
        points = qmc.Sobol(len(task.space), seed=1).random(N_CONFIGURATIONS)
        losses = np.array([task.losses(task.space.decode(point), f"{key}{i}0") for i, point in enumerate(points)])
        count = N_AGAIN
    else:
        real = real_tasks.RealTask(task.name)
        points, losses = real.recorded["U"], -real.real.sign * real.recorded["val"]
        count = 3 * N_AGAIN
    chosen = np.argsort(values(losses, "best"))[:count]
    again = np.array(
        [
            [
                task.losses(task.space.decode(points[i]), f"{key}{i}{seed + 1}" if is_small else f"again {seed}")
                for seed in range(N_SEEDS)
            ]
            for i in chosen
        ]
    )
    np.savez(path, U=points, loss=losses, i=chosen, again=again)
    return Known(points, losses, chosen, again)


def values(curves: Array, at: str) -> Array:
    """Return the losses of training runs; infinite for those that diverged."""
    found = np.nan_to_num(curves, nan=np.inf)
    result: Array = np.where(np.isinf(found).any(-1), np.inf, found.min(-1) if at == "best" else found[..., -1])
    return result


class Draw(NamedTuple):
    """What a search may leave, and the losses of its best configuration with seeds that it has not seen."""

    points: Array
    losses: Array
    best: int
    others: Array


def draws(known: Known, at: str, count: int, seed: int) -> Iterator[Draw]:
    """Yield draws whose best configuration was trained with other seeds."""
    rng, losses = np.random.default_rng(seed), values(known.losses, at)
    seeds = {int(i): np.append(losses[i], row) for i, row in zip(known.chosen, values(known.again, at), strict=True)}
    leaders = np.argsort(losses)[: max(16, len(losses) // 6)]
    for number in range(count):
        size = int(rng.choice([size for size in SIZES if size < len(losses)]))
        near = rng.choice(leaders, min(size // 2, 8, len(leaders)) if number % 2 else 0, replace=False)
        rest = np.setdiff1d(np.arange(len(losses)), near)
        chosen = np.append(near, rng.choice(rest, size - len(near), replace=False)).astype(int)
        picked = {i: int(rng.integers(len(seeds[i]))) for i in chosen if i in seeds}
        drawn = np.array([seeds[i][picked[i]] if i in seeds else losses[i] for i in chosen])
        chosen, drawn = chosen[np.isfinite(drawn)], drawn[np.isfinite(drawn)]
        best = int(drawn.argmin())
        if (winner := chosen[best]) in seeds and len(drawn) >= min(SIZES) - 2:
            yield Draw(known.points[chosen], drawn, best, np.delete(seeds[winner], picked[winner]))


class Row(NamedTuple):
    """The figures of a task, or their means."""

    draws: float
    cover: float
    bias: float
    seen: float
    std: float
    exact: float


def figures(others: list[Array], expected: list[tuple[float, float]], seen: list[float], unit: float) -> Row:
    """Return the figures of one task."""
    inside = [np.abs(o - m) <= NORMAL_90 * s for o, (m, s) in zip(others, expected, strict=True)]
    bias = [np.mean(o[np.isfinite(o)] - m) for o, (m, _) in zip(others, expected, strict=True)]
    luck = [np.mean(o[np.isfinite(o)] - s) for o, s in zip(others, seen, strict=True)]
    std = np.array([s for _, s in expected])
    cover = float(np.mean([np.mean(i) for i in inside]))
    return Row(len(std), cover, float(np.mean(bias)) / unit, float(np.mean(luck)) / unit, float(np.median(std)) / unit,
               float((std == 0).mean()))  # fmt: skip


def measure(name: str, at: str, count: int, folder: Path) -> Row:
    """Return the figures of a task over draws."""
    made = task(name)
    known = train(made, folder)
    found = list(draws(known, at, count, zlib.crc32(name.encode())))
    expected = [expected_loss(made.space, d.points, d.losses, d.best) for d in found]
    return figures([d.others for d in found], expected, [d.losses[d.best] for d in found], noise(known, at))


def noise(known: Known, at: str) -> float:
    """Return the standard deviation between seeds of the best configurations, the root of the mean square."""
    best = values(known.again, at)[:N_AGAIN]
    return float(np.sqrt(best[np.isfinite(best).all(axis=1)].var(axis=1, ddof=1).mean()))


def search(made: Task, method: str, seed: int) -> tuple[hpo.TrialRecord, Array]:
    """Return the best trial of a search for the epochs of 20 full training runs, and losses with other seeds."""
    tuner = hpo.Tuner(
        dict(made.space), hpo.Minimize("loss"), strategy=SEARCHES[method](made.epochs), seed=seed, progress="off",
        max_trials=200,
    )  # fmt: skip
    left = 20 * made.epochs
    while left > 0 and (trial := tuner.ask()) is not None:
        for epoch, loss in enumerate(made.losses(trial.params, f"search {seed} {trial.number}"), start=1):
            left -= 1
            if trial.report(epoch, {"loss": float(loss)}):
                break
        trial.end()
    best = tuner.best_trial
    again = [made.losses(best.params, f"again {seed} {s}")[: best.epochs] for s in range(N_SEEDS)]
    return best, values(np.array(again), "best")


def measure_searches(name: str, folder: Path, count: int) -> dict[str, Row]:
    """Return the figures of a task over whole searches, by method; those without an expectation are left out."""
    made, rows = task(name), {}
    unit = noise(train(made, folder), "best")
    for method in SEARCHES:
        found = [search(made, method, seed) for seed in range(count)]
        known = [(b, o) for b, o in found if b.expected is not None and b.expected_std is not None]
        if known:
            expected = [(b.expected or 0.0, b.expected_std or 0.0) for b, _ in known]
            rows[method] = figures([o for _, o in known], expected, [b.value or 0.0 for b, _ in known], unit)
    return rows


def show(label: str, row: Row) -> None:
    """Print a line of a table."""
    cells = (f"{row.draws:.0f}", f"{row.cover:.3f}", f"{row.bias:+.2f}", f"{row.seen:+.2f}", f"{row.std:.2f}",
             f"{row.exact:.2f}")  # fmt: skip
    print("|", " | ".join((label, *cells)), "|", flush=True)


def table(title: str, label: str, rows: Iterator[tuple[str, Row]]) -> None:
    """Print a table as its rows are measured, and their mean."""
    print(f"\n{title}\n\n| {label} | draws | cover | bias | seen | std | exact |\n|---|---|---|---|---|---|---|")
    found = []
    for name, row in rows:
        show(name, row)
        found.append(row)
    if found:
        mean = Row(*(float(column) for column in np.mean(found, axis=0)))
        show("mean", mean._replace(draws=sum(row.draws for row in found)))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--tasks", default="all")
    parser.add_argument("--draws", type=int, default=100)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "expected")
    parser.add_argument("--searches", type=int, default=0, help="searches of each strategy on each task")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    names = ALL if arguments.tasks == "all" else tuple(re.split(r",(?! )", arguments.tasks))
    if "real" in names:
        real = real_tasks.names() if "HPO_PLUGINS_REAL_CURVES" in os.environ else ()
        names = (*real, *(name for name in names if name != "real"))
    if arguments.searches:
        rows = functools.partial(measure_searches, folder=arguments.folder, count=arguments.searches)
        found = ((f"{name}, {method}", row) for name in names for method, row in rows(name).items())
        table("Whole searches", "task, strategy", found)
        return
    for at in ("best", "last"):
        of = ((name, measure(name, at, arguments.draws, arguments.folder)) for name in names)
        table(f'at="{at}"', "task", of)


if __name__ == "__main__":
    main()
