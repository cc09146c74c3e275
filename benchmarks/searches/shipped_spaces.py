"""What the beliefs of ``hpo.spaces.xgboost`` are worth when a trial has one value: XGBoost data sets kept apart.

Usage: python -m benchmarks shipped-spaces [--seeds 3] [--evaluations 20] [--sets N]

A trial is a full training run of 200 rounds, and its value the best one (``problems/boosting.py``). The same ranges are
searched without beliefs, with them, with the opposite ones, and with a portfolio first; ``wide`` are the ranges of the
surrogates, the number of rounds included.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

import hpo_plugins as hpo
from benchmarks.harness.interfaces import Problem
from benchmarks.problems import boosting
from benchmarks.problems.beliefs import mirrored
from benchmarks.problems.black_box_tasks import XGBOOST as WIDE
from benchmarks.problems.black_box_tasks import log_losses
from hpo_plugins.spaces.boosting import XGBOOST

MARKS = (1, 2, 5, 10, 20)
BELIEVED = hpo.spaces.xgboost(num_boost_round=boosting.EPOCHS * boosting.ROUNDS)
SPACES: dict[str, dict[str, Any]] = {
    "wide": dict(WIDE),
    "plain": dict(XGBOOST),
    "beliefs": BELIEVED,
    "mirrored": mirrored(BELIEVED),
    "portfolio": BELIEVED,
}
STRATEGIES: dict[str, Callable[[], hpo.Strategy]] = {"random": hpo.Random, "bayesian": hpo.Bayesian}


def search(name: str, kind: str, strategy: str, seed: int, evaluations: int) -> NDArray[np.float64]:
    """Return the regret after each evaluation."""
    problem: Problem = boosting.problem(name)
    points = hpo.spaces.xgboost(num_boost_round=200, portfolio=8) if kind == "portfolio" else ()
    tuner = hpo.Tuner(
        SPACES[kind], hpo.Minimize("loss"), strategy=STRATEGIES[strategy](), seed=seed, max_trials=evaluations,
        points_to_evaluate=points,
    )  # fmt: skip
    losses = []
    for trial in tuner:
        scores = -log_losses(name, [trial.params]) if kind == "wide" else problem.train(trial.params).score
        losses.append(-float(np.max(scores)))
        trial.report(1, {"loss": losses[-1]})
    return problem.regret(-np.minimum.accumulate(losses))


def main() -> None:
    """Print a row for each strategy and space."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--evaluations", type=int, default=20)
    parser.add_argument("--sets", type=int, help="so many of the 30 data sets")
    arguments = parser.parse_args()
    marks = [mark for mark in MARKS if mark <= arguments.evaluations]
    print(f"| search | {' | '.join(map(str, marks))} |\n{'|---' * (len(marks) + 1)}|")
    one = functools.partial(search, evaluations=arguments.evaluations)
    for strategy in STRATEGIES:
        for kind in SPACES:
            found = np.array([
                np.mean([one(name, kind, strategy, seed) for seed in range(arguments.seeds)], axis=0)
                for name in boosting.names()[: arguments.sets]
            ])  # fmt: skip
            error = found.std(axis=0, ddof=1) / np.sqrt(len(found))
            cells = [f"{found[:, k - 1].mean():.3f} ± {error[k - 1]:.3f}" for k in marks]
            print(f"| {strategy}, {kind} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
