"""Difficult training runs: what can be done to the curves of LCBench.

Whatever is random depends on the configuration alone, by its coordinates in the unit cube rounded to six digits, so
that it is the same on every machine.
"""

from __future__ import annotations

import functools
import json
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from benchmarks.harness.interfaces import Curve, Problem
from benchmarks.problems import lcbench
from benchmarks.problems.lcbench import EPOCHS, SPACE
from hpo_plugins.space import Space

PERIOD = np.arange(1, EPOCHS + 1)
SPACE_OF_UNITS = Space(SPACE)
DIVERGING_FROM = {"learning_rate": 0.6, "momentum": 0.5}
"""Where on its scale each parameter must be for a training run to diverge."""


def _hash(params: dict[str, Any]) -> int:
    """Return a number that depends on nothing but the configuration."""
    return zlib.crc32(np.round(SPACE_OF_UNITS.encode(params) * 1e6).astype(np.int64).tobytes())


def _unit(params: dict[str, Any], name: str) -> float:
    """Return where on its scale a parameter is, from 0 to 1."""
    return SPACE[name].to_unit(params[name])


def plain(_: dict[str, Any], curve: Curve) -> Curve:
    """Return the curve as it is."""
    return curve


def noisy(params: dict[str, Any], curve: Curve) -> Curve:
    """Report the accuracy with Gaussian noise of one percentage point, seeded by the configuration."""
    noise = np.random.default_rng(_hash(params)).standard_normal(EPOCHS)
    return curve._replace(reported=np.clip(np.asarray(curve.score) + noise, 0, 100))


def crossing(params: dict[str, Any], curve: Curve) -> Curve:
    """Let half of the configurations learn late: their value at epoch e is that of epoch e * e / 52."""
    if _hash(params) % 2:
        return curve
    late = np.interp(PERIOD**2 / EPOCHS, PERIOD, np.asarray(curve.score))
    return curve._replace(score=late, reported=late)


def diverges(params: dict[str, Any]) -> bool:
    """Return whether a training run diverges: learning rate and momentum are both in the upper part of their scales."""
    return all(_unit(params, name) >= least for name, least in DIVERGING_FROM.items())


def diverging(params: dict[str, Any], curve: Curve) -> Curve:
    """Report NaN from some epoch on in a corner of the space."""
    if not diverges(params):
        return curve
    over = np.arange(EPOCHS) >= 1 + _hash(params) % 20
    score = np.asarray(curve.score)
    return curve._replace(score=np.where(over, -np.inf, score), reported=np.where(over, np.nan, score))


def costly(params: dict[str, Any], curve: Curve) -> Curve:
    """Let an epoch last up to ten times as long: the wider the network, the longer."""
    return curve._replace(seconds=curve.seconds * 10 ** _unit(params, "max_units"))


class Condition(NamedTuple):
    """The transformation of every curve, and whether the budget is time."""

    words: str
    change: Callable[[dict[str, Any], Curve], Curve]
    in_seconds: bool = False


CONDITIONS = {
    "plain": Condition("undisturbed", plain),
    "noise": Condition("noise of 1 % on every report", noisy),
    "crossing": Condition("half of the curves rise late and cross", crossing),
    "diverging": Condition("the metric diverges in a corner of the space", diverging),
    "costs": Condition("costs differ tenfold, budget in time", costly, in_seconds=True),
}


@functools.cache
def problem(instance: str, condition: str) -> Problem:
    """Return an instance under a condition, whose best score is that of the disturbed instance."""
    change, undisturbed = CONDITIONS[condition].change, lcbench.problem(instance)
    known = json.loads(lcbench.OPTIMA.read_text())[instance]

    def train(params: dict[str, Any]) -> Curve:
        return change(params, lcbench.training(instance, params))

    best = known.get(f"best, {condition}", known["best"])  # a condition may remove the optimum
    return undisturbed._replace(train=train, best=best, training_seconds=lcbench.training_seconds(train))
