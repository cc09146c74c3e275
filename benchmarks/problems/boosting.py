"""XGBoost's training runs as surrogates of YAHPO Gym know them: an epoch is ten rounds; the space is the shipped one.

Nothing in ``hpo.spaces`` was learned from these data sets. Those whose ids end in 3, 7 or 9, with 16 and 40499, judge;
the others that were not learned from are for development.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness.interfaces import Curve, Problem
from benchmarks.problems.black_box_tasks import XGBOOST as KNOWN
from benchmarks.problems.black_box_tasks import log_losses, xgboost_data_sets
from hpo_plugins.space import Space
from hpo_plugins.space.sobol import draw
from hpo_plugins.spaces.boosting import XGBOOST
from hpo_plugins.spaces.made import learned

EPOCHS, ROUNDS = 20, 10
"""Epochs of a full training run, and rounds of an epoch."""
FIXED = {"colsample_bylevel": 1.0, "impute": "impute.median"}
N_KNOWN = 1024
"""Configurations of which the best and the median are the scale of regrets."""


def known(params: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration with its numbers moved into the ranges that the surrogates know."""
    bounds = {name: parameter for name, parameter in KNOWN.items() if name in params}
    return FIXED | {name: min(max(params[name], each.low), each.high) for name, each in bounds.items()}


def names() -> tuple[str, ...]:
    """Return the data sets that judge."""
    return tuple(xgboost_data_sets(apart=True))


def for_development() -> tuple[str, ...]:
    """Return the data sets that were neither learned from nor judge."""
    used = set(map(str, learned()["xgboost"]["data_sets"]))
    return tuple(name for name in xgboost_data_sets(apart=False) if name not in used)


@functools.cache
def problem(name: str) -> Problem:
    """Return a data set to train on."""

    def scores(params: list[dict[str, Any]]) -> NDArray[np.float64]:
        rounds = [max(7, ROUNDS * epoch) for epoch in range(1, EPOCHS + 1)]
        rows = [{**known(each), "nrounds": n} for each in params for n in rounds]
        return -log_losses(name, rows).reshape(len(params), EPOCHS)

    def train(params: dict[str, Any]) -> Curve:
        own = scores([params])[0]
        return Curve(own, np.arange(1.0, EPOCHS + 1), own)

    space = Space(dict(XGBOOST))
    ends = scores([draw(space, 0, n) for n in range(N_KNOWN)]).max(axis=1)
    setting = {"num_boost_round": EPOCHS * ROUNDS}
    return Problem(dict(XGBOOST), EPOCHS, train, float(ends.max()), float(np.median(ends)), EPOCHS, setting=setting)
