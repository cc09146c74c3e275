"""The beliefs of the shipped spaces about problems that have ranges of their own, and the opposite beliefs.

A parameter has the believed value of the parameter of the same name, moved into its own range; those that no shipped
space has are not believed in. Nothing here was learned from these problems.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import hpo_plugins as hpo
from benchmarks.harness.interfaces import Ask, Clock, Problem, Searcher
from hpo_plugins._fields import evolve
from hpo_plugins.space import Parameter

Spaces = Mapping[str, Parameter]


def shipped(space: Spaces, **setting: int) -> Spaces:
    """Return the shipped space that knows most of a problem's parameters, made for what is known before the search."""
    if "eta" in space:
        return hpo.spaces.xgboost(**setting)
    if "num_leaves" in space:
        return hpo.spaces.lightgbm(**setting)
    if "momentum" in space and "optimizer" not in space:
        return hpo.spaces.sgd(names="keras", **setting)
    return {**hpo.spaces.sgd(batch_size=setting.get("batch_size", 64)), **hpo.spaces.adamw(**setting)}


def believed(space: Spaces, **setting: int) -> dict[str, Parameter]:
    """Return a problem's space with the beliefs of the shipped one."""
    known = shipped(space, **setting)
    return {name: _with_prior(each, known[name]) if name in known else each for name, each in space.items()}


def _with_prior(own: Any, known: Any) -> Parameter:
    if isinstance(own, hpo.Categorical):
        if not isinstance(known, hpo.Categorical):
            return own
        weights = dict(zip(known.values, known.prior or (), strict=False))
        found = [weights.get(value, min(weights.values(), default=1.0)) for value in own.values]
        return hpo.Categorical(own.values, prior=[weight / sum(found) for weight in found])
    value = min(max(known.prior, own.low), own.high)
    made: Parameter = evolve(own, prior=value, confidence=known.confidence)
    return made


def portfolio(problem: Problem, count: int = 8) -> list[dict[str, Any]]:
    """Return the first configurations of the shipped space, moved into a problem's ranges."""
    shipped_ones: Any = hpo.spaces.xgboost(portfolio=count, **problem.setting)
    return [{name: _within(problem.space[name], params[name]) for name in params if name in problem.space}
            for params in shipped_ones]  # fmt: skip


def _within(own: Any, value: Any) -> Any:
    return min(max(value, own.low), own.high)


def mirrored(space: Spaces) -> dict[str, Parameter]:
    """Return the space with the opposite beliefs, of medium confidence."""
    return {name: _mirrored(each) if each.prior is not None else each for name, each in space.items()}


def _mirrored(parameter: Any) -> Parameter:
    if isinstance(parameter.prior, tuple):
        return hpo.Categorical(parameter.values, prior=parameter.prior[::-1])
    opposite: Any = parameter.from_unit(1 - parameter.to_unit(parameter.prior))
    made: Parameter = evolve(parameter, prior=opposite, confidence="medium")
    return made


def believing(search: Searcher, change: Callable[[Spaces], Spaces] = dict) -> Searcher:
    """Return a search that knows the beliefs of the shipped spaces, changed in some way."""

    def start(problem: Problem, seed: int, clock: Clock) -> Ask:
        space = change(believed(problem.space, **problem.setting))
        return search(problem._replace(space=space), seed, clock)

    return start
