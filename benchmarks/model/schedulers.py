"""Rules of successive halving, replayed on recorded training runs: which one finds good configurations with few epochs?

Usage: python -m benchmarks schedulers [--orders 40]

``HPO_PLUGINS_REAL_CURVES`` and ``HPO_PLUGINS_BENCHMARK_DATA`` name the folders of real curves (``real_tasks.py``) and
of LCBench (``lcbench.py``). Configurations come in random order, one worker trains, and the epochs of 20 full training
runs are spent. Nothing is trained, so hundreds of searches take seconds, and differences of .01 can be distinguished.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import hpo_plugins as hpo
from benchmarks.harness.interfaces import Curve
from benchmarks.problems import conditions, real_tasks
from benchmarks.problems.lcbench import DEV, EPOCHS, OPTIMA, SPACE, curves
from hpo_plugins.strategies.hyperband import first_rung_pays

ETA = 3
TRAININGS = 20
FRACTIONS = (0.1, 0.25, 0.5, 1.0)
N_WAITING = 3
N_LCBENCH = 400


class Recorded(NamedTuple):
    """Full training runs of one task: the best value so far by epoch, shape ``(n, R)``; NaN from where one diverged."""

    values: NDArray[np.float64]
    limit: float
    median: float


class Spent(Exception):
    """The budget is spent."""


class Replay:
    """Training runs of one task in one order; counts epochs, and notes when the best value improved."""

    def __init__(self, task: Recorded, order: NDArray[np.intp]) -> None:
        """Train nothing yet."""
        self.values, self._task = task.values[order], task
        self.last = task.values.shape[1]
        self._budget = TRAININGS * self.last
        self._spent, self._best = 0, [(0, -math.inf)]

    def train(self, number: int, start: int, end: int) -> float:
        """Return the value of a training run at an epoch, ``-inf`` if it has diverged.

        Raises:
            Spent: The budget is spent.
        """
        for epoch in range(start, end):
            self._spent += 1
            value = self.values[number, epoch]
            if math.isnan(value):
                return -math.inf
            if value > self._best[-1][1]:
                self._best.append((self._spent, value))
            if self._spent >= self._budget:
                raise Spent
        return float(self.values[number, end - 1])

    def regrets(self) -> list[float]:
        """Return the normalised regret at the fractions of the budget, at most 2."""
        found = [max(v for s, v in self._best if s <= fraction * self._budget) for fraction in FRACTIONS]
        scale = self._task.limit - self._task.median
        return [min(2.0, (self._task.limit - value) / scale) for value in found]


def rungs(least: int, last: int) -> list[int]:
    """Return the epochs below ``last`` at which training runs are compared."""
    return list(itertools.takewhile(lambda epoch: epoch < last, (least * ETA**k for k in itertools.count())))


def sizes(n_rungs: int) -> list[int]:
    """Return how many training runs of a round start in each bracket."""
    return [math.ceil((n_rungs + 1) / (s + 1) * ETA**s) for s in range(n_rungs, -1, -1)]


def in_order(n_rungs: int) -> Iterator[int]:
    """Yield the bracket of each training run: one bracket after the other."""
    return itertools.cycle([bracket for bracket, size in enumerate(sizes(n_rungs)) for _ in range(size)])


def in_turn(n_rungs: int) -> Iterator[int]:
    """Yield the bracket of each training run: always the one that is furthest below its share."""
    shares = sizes(n_rungs)
    total, dealt = sum(shares), [0] * len(shares)
    for number in itertools.count(1):
        bracket = max(range(len(shares)), key=lambda s: shares[s] * number / total - dealt[s])
        dealt[bracket] += 1
        yield bracket


def in_turn_later(n_rungs: int) -> Iterator[int]:
    """Yield the first bracket ``ETA ** 3`` times, then the brackets in turn."""
    return itertools.chain(itertools.repeat(0, ETA**3), in_turn(n_rungs))


def in_one(n_rungs: int) -> Iterator[int]:  # noqa: ARG001
    """Yield the first bracket always."""
    return itertools.repeat(0)


def in_full(replay: Replay) -> None:
    """Stop no training run."""
    for number in range(len(replay.values)):
        replay.train(number, 0, replay.last)


def says_something(first: list[float], second: list[float | None]) -> bool:
    """Return whether judging at the first rung pays: as in ``Hyperband``, with losses of which less is better."""
    pairs = [(-a, -b) for a, b in zip(first, second, strict=False) if b is not None][: 2 * ETA * ETA]
    return len(pairs) >= 2 * ETA and first_rung_pays(pairs, ETA)


def stopping(
    replay: Replay,
    brackets: Callable[[int], Iterator[int]],
    n_compared: int,
    least: int = 1,
    *,
    first_must_say: bool = False,
) -> None:
    """Stop each training run at the first rung of its bracket at which it is not among the best third.

    Args:
        replay: The training runs.
        brackets: Assigns them to brackets.
        n_compared: At how many rungs the first to come do not continue before there are three.
        least: The first rung.
        first_must_say: Whether it judges only if it says something about the second.
    """
    second: list[float | None] = []  # by training, its value at the second rung
    epochs = rungs(least, replay.last)
    seen: list[list[float]] = [[] for _ in epochs]
    for number, bracket in zip(range(len(replay.values)), brackets(len(epochs)), strict=False):
        at = 0
        for k, epoch in enumerate(epochs):
            value, at = replay.train(number, at, epoch), epoch
            rank = 1 + sum(other > value for other in seen[k])
            seen[k].append(value)
            if k == 1:
                second += [None] * (number - len(second)) + [value]
            if first_must_say and k == 0 and value > -math.inf and not says_something(seen[0], second):
                continue
            at_least = 0 if k < n_compared and len(seen[k]) < ETA else 1
            if value == -math.inf or (k >= bracket and rank > max(at_least, len(seen[k]) // ETA)):
                break
        else:
            replay.train(number, at, replay.last)


def synchronous(replay: Replay) -> None:
    """Train the brackets one after the other, all training runs of one up to a rung before any continues."""
    epochs = [*rungs(1, replay.last), replay.last]
    numbers = iter(range(len(replay.values)))
    for bracket in itertools.cycle(range(len(epochs))):
        group, at = list(itertools.islice(numbers, sizes(len(epochs) - 1)[bracket])), 0
        for epoch in epochs[bracket:]:
            found = sorted(((replay.train(number, at, epoch), -number) for number in group), reverse=True)
            group, at = [-number for value, number in found[: max(1, len(group) // ETA)] if value > -math.inf], epoch


RULES: dict[str, Callable[[Replay], None]] = {
    "random, in full": in_full,
    "in turn, the first continues": lambda r: stopping(r, in_turn, 0),
    "in order, the first continues": lambda r: stopping(r, in_order, 0),
    "in order, comparison first": lambda r: stopping(r, in_order, 2),
    "in order, the first rung must say something": lambda r: stopping(r, in_order, 2, first_must_say=True),
    "the same, comparison at three rungs": lambda r: stopping(r, in_order, N_WAITING, first_must_say=True),
    "the same in one bracket": lambda r: stopping(r, in_one, N_WAITING, first_must_say=True),
    "in turn, comparison first": lambda r: stopping(r, in_turn, 2),
    "27 in the first, then in turn": lambda r: stopping(r, in_turn_later, 2),
    "in order from 3, comparison first": lambda r: stopping(r, in_order, 2, least=3),
    "in order from 2, comparison first": lambda r: stopping(r, in_order, 2, least=2),
    "in turn from 3, comparison first": lambda r: stopping(r, in_turn, 2, least=3),
    "27 in the first from 3, then in turn": lambda r: stopping(r, in_turn_later, 2, least=3),
    "one bracket, comparison first": lambda r: stopping(r, in_one, 2),
    "one bracket from 3, comparison first": lambda r: stopping(r, in_one, 2, least=3),
    "synchronous": synchronous,
}


def recorded() -> dict[str, list[Recorded]]:
    """Return the recorded training runs, by family."""
    real = []
    for name in real_tasks.names():
        task = real_tasks.RealTask(name)
        values = task.real.sign * task.recorded["val"]
        best = np.where(np.isnan(values), np.nan, np.fmax.accumulate(values, axis=1))
        real.append(Recorded(best, task.problem.best, task.problem.median))
    rng, optima, lcbench = np.random.default_rng(0), json.loads(OPTIMA.read_text()), list[Recorded]()
    crossing: list[Recorded] = []
    space = hpo.Tuner(SPACE, hpo.Maximize("accuracy"), progress="off").space
    for instance in DEV:
        drawn: list[dict[str, Any]] = [space.decode(rng.random(len(space))) for _ in range(N_LCBENCH)]
        values = np.maximum.accumulate(curves(instance, drawn)[..., 1].astype(float)[:, :EPOCHS], axis=1)
        lcbench.append(Recorded(values, optima[instance]["best"], optima[instance]["median"]))
        crossed = [conditions.crossing(p, Curve(v, v, v)).score for p, v in zip(drawn, values, strict=True)]
        crossing.append(Recorded(np.array(crossed), optima[instance]["best"], optima[instance]["median"]))
    return {"real": real, "LCBench": lcbench, "crossing": crossing}


def mean_regrets(rule: Callable[[Replay], None], task: Recorded, orders: int) -> NDArray[np.float64]:
    """Return the mean regret over random orders; recorded training runs are reused if there are too few."""
    found = []
    for seed in range(orders):
        rng = np.random.default_rng(seed)
        replay = Replay(task, np.concatenate([rng.permutation(len(task.values)) for _ in range(4)]))
        with contextlib.suppress(Spent):
            rule(replay)
        found.append(replay.regrets())
    return np.mean(found, axis=0)


def main() -> None:
    """Print one row per rule."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--orders", type=int, default=40)
    arguments = parser.parse_args()
    families = recorded()
    print(f"{'rule':44}", *(f"{family:>28}" for family in families))
    for name, rule in RULES.items():
        rows = [
            np.mean([mean_regrets(rule, task, arguments.orders) for task in ts], axis=0) for ts in families.values()
        ]
        print(f"{name:44}", *("  ".join(f"{value:.3f}" for value in row).rjust(28) for row in rows), flush=True)
