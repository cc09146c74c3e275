"""Learn the values of ``hpo.spaces`` again, and write ``hpo_plugins/spaces/learned.json``.

Usage: python -m benchmarks learn-spaces [--check]

XGBoost: YAHPO's surrogates of ``rbv2_xgboost`` on 44 data sets, 12, 1501, 54, 181 and 40 others. Data sets 16, 40499
and those with ids that end in 3, 7 or 9 are not used: they judge (``python -m benchmarks shipped-spaces``). A training
run of R rounds has the loss of its best number of rounds up to R. Adam: the best thirtieth of TaskSet's configurations,
and what the submissions of AlgoPerf chose. ``--check`` writes nothing, and compares with the file.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import hpo_plugins as hpo
from benchmarks.problems import taskset
from benchmarks.problems.black_box_tasks import log_losses, xgboost_data_sets
from benchmarks.problems.boosting import known
from benchmarks.problems.lcbench import data_folder
from hpo_plugins.space import Space
from hpo_plugins.spaces.boosting import XGBOOST

Array = NDArray[np.float64]
FILE = Path(hpo.__file__).parent / "spaces" / "learned.json"
ROUNDS = (25, 50, 100, 200, 500, 1000, 2000)
FULL = 200
"""Rounds for which the values are learned; the learning rate's rule carries them to others."""
N_POOL = 1024
TOP = 20
"""Configurations of the pool that are good on a data set: the best fiftieth."""
N_PORTFOLIO = 12
TASKSET_STEPS = 10_000
"""Steps of each of TaskSet's training runs (Metz et al. 2020)."""
TRAIN_SHARES = (0.05, 1.0)
"""Shares of the rows of each data set, to learn how values depend on the number of rows."""


def learning_data_sets() -> list[str]:
    """Return the data sets that are learned from."""
    others = [name for name in xgboost_data_sets(apart=False) if name not in ("12", "1501", "54", "181")]
    chosen = np.sort(np.random.default_rng(0).permutation(len(others))[:40])
    return ["12", "1501", "54", "181", *(others[index] for index in chosen)]


def losses(space: Space, points: Array, names: list[str], rounds: int = FULL, share: float = 1.0) -> Array:
    """Return the losses of full training runs, shape ``(data sets, n)``."""
    configurations = [known(space.decode(point)) for point in points]
    found = []
    for name in names:
        curves = [log_losses(name, [{**c, "nrounds": n} for c in configurations], share) for n in ROUNDS if n <= rounds]
        found.append(np.min(curves, axis=0))
    return np.array(found)


class Pool:
    """Evenly spread configurations with their losses, which say how good a loss is on a data set.

    Args:
        space: The space.
        names: The data sets.
    """

    def __init__(self, space: Space, names: list[str]) -> None:
        """Compute the losses."""
        from scipy.stats import qmc

        self.space, self.names = space, names
        self.points: Array = qmc.Sobol(len(space), rng=np.random.default_rng(0)).random(N_POOL)
        self.losses = losses(space, self.points, names)
        self._best = self.losses.min(axis=1, keepdims=True)
        self._median = np.median(self.losses, axis=1, keepdims=True)

    def regret(self, found: Array) -> Array:
        """Return normalised regrets, at most 2, of losses of shape ``(data sets, n)``."""
        return np.minimum((found - self._best) / (self._median - self._best), 2.0)

    def good(self, found: Array) -> Array:
        """Return the points of the best configurations by data set, shape ``(data sets, TOP, d)``."""
        return self.points[np.argsort(found, axis=1)[:, :TOP]]

    def best_addition(self, regrets: Array, rng: np.random.Generator) -> tuple[Array, Array]:
        """Return the point that lowers the mean of the least regrets most, and the least regrets with it.

        Args:
            regrets: The least regrets so far, shape ``(data sets, 1)``.
            rng: Draws the moves of the local search.
        """
        own = np.minimum(self.regret(self.losses), regrets)
        leader = int(np.argmin(own.mean(axis=0)))
        point, least = self.points[leader], own[:, leader]
        width = 0.15
        for _ in range(25):
            moved = point + width * rng.standard_normal((16, len(point))) * (rng.random((16, len(point))) < 0.4)
            moved = np.clip(moved, 0.0, 1.0)
            tried = np.minimum(self.regret(losses(self.space, moved, self.names)), regrets)
            index = int(np.argmin(tried.mean(axis=0)))
            if tried[:, index].mean() < least.mean():
                point, least = moved[index], tried[:, index]
            width *= 0.93
        return point, least[:, None]


def learn_xgboost() -> dict[str, Any]:
    """Return the values for XGBoost."""
    space = Space(XGBOOST)
    pool = Pool(space, learning_data_sets())
    rng, regrets, portfolio = np.random.default_rng(0), np.full((len(pool.names), 1), 2.0), []
    for _ in range(N_PORTFOLIO):
        point, regrets = pool.best_addition(regrets, rng)
        portfolio.append(rounded(space.decode(point)))
        print(f"{len(portfolio)} configurations: {regrets.mean():.3f}", portfolio[-1], flush=True)
    return {
        "source": "YAHPO Gym, rbv2_xgboost; the ids of the data sets are OpenML's",
        "data_sets": list(map(int, pool.names)),
        "rounds": FULL,
        "prior": portfolio[0],
        "spread": dict(zip(space, np.round(pool.good(pool.losses).std(axis=(0, 1)), 2).tolist(), strict=True)),
        "rate_by_rounds": rate_by_rounds(pool),
        "depth_by_rows": depth_by_rows(pool),
        "portfolio": portfolio,
    }


def rate_by_rounds(pool: Pool) -> float:
    """Return the power of the number of rounds to which the best learning rate is proportional."""
    counts, rates = [n for n in ROUNDS if n >= 50], []
    place = list(pool.space).index("eta")
    for count in counts:
        good = pool.good(losses(pool.space, pool.points, pool.names, count))[:, :, place]
        rates.append(pool.space["eta"].from_unit(float(np.median(good))))
    print("learning rate by rounds", dict(zip(counts, np.round(rates, 3), strict=True)))
    return round(float(np.polyfit(np.log(counts), np.log(np.array(rates, dtype=float)), 1)[0]), 2)


def depth_by_rows(pool: Pool) -> float:
    """Return how many levels deeper the best trees are if there are e times as many rows."""
    place = list(pool.space).index("max_depth")
    few, many = (
        np.mean(pool.good(losses(pool.space, pool.points, pool.names, FULL, share))[:, :, place])
        for share in TRAIN_SHARES
    )
    depths = pool.space["max_depth"]
    assert isinstance(depths, hpo.Integer)
    levels = float(many - few) * (depths.high - depths.low + 1)
    return round(levels / float(np.log(TRAIN_SHARES[1] / TRAIN_SHARES[0])), 2)


def learn_adam() -> dict[str, Any]:
    """Return the values for Adam: medians of good configurations."""
    table = taskset.library()._table()  # noqa: SLF001 - the tasks' own module
    names, good = list(taskset.library().NAMES), []
    for task in taskset.names():
        ends = np.where(np.isnan(table[f"{task}/valid"]), np.inf, table[f"{task}/valid"])[:, 1:].min(axis=1)
        good.append(table["hp"][np.argsort(ends)[:33]])
    medians = dict(zip(names, np.median(np.concatenate(good), axis=0), strict=True))
    chosen, steps = algoperf()
    power = np.log(chosen["learning_rate"] / medians["learning_rate"]) / np.log(steps / TASKSET_STEPS)
    return {
        "source": "TaskSet, six text networks for development; AlgoPerf v0.5 submissions, nine workloads",
        "steps": TASKSET_STEPS,
        "rate_by_steps": round(float(power), 2),
        "taskset": rounded({name: float(medians[name]) for name in names[:3]}),
        "algoperf": chosen | {"steps": round(steps)},
    }


def algoperf() -> tuple[dict[str, float], float]:
    """Return the medians of what the submissions chose, and the steps of their training runs over all workloads."""
    folder = data_folder() / "curve_bank"
    index = json.loads((folder / "index.json").read_text())
    steps, last = np.load(folder / "algoperf_dev.npz")["step"], dict[str, list[int]]()
    for submission, _, workload, *_, start, length in index["curves"]:
        if not submission.startswith("lawa"):  # their steps are in other units
            last.setdefault(workload, []).append(int(steps[start + length - 1]))
    found = [chosen for chosen in index["hparams"] if chosen.get("learning_rate", 1.0) < 0.1]
    medians = {}
    for name in ("learning_rate", "weight_decay", "one_minus_beta1", "beta2", "warmup_factor"):
        medians[name] = float(np.median([chosen[name] for chosen in found if chosen.get(name)]))
    return rounded(medians), float(np.exp(np.mean([np.log(np.median(each)) for each in last.values()])))


def rounded(values: dict[str, Any]) -> dict[str, Any]:
    """Return numbers with three digits."""
    return {name: float(f"{value:.3g}") if isinstance(value, float) else value for name, value in values.items()}


def main() -> None:
    """Learn all values."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    learned = {"xgboost": learn_xgboost(), "adam": learn_adam()}
    text = json.dumps(learned, indent=1) + "\n"
    if arguments.check and text != FILE.read_text():
        sys.exit(f"{FILE} has other values:\n{text}")
    FILE.write_text(text)
