"""Recover a search space from elsewhere: ranges with a step, values in a table, and conditions."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hpo_plugins._fields import evolve
from hpo_plugins.errors import InvalidArgument
from hpo_plugins.space import Categorical, Continuous, Integer, Parameter

Values = Sequence[Mapping[str, Any]]
"""The configurations of a study's trials; a parameter may be absent from some."""


def stepped(low: float, high: float, step: float | None, *, is_whole: bool) -> Parameter:
    """Return a linear range with a step.

    Args:
        low: The lowest value.
        high: The highest value.
        step: The distance between values, None for none.
        is_whole: Whether values are whole numbers.
    """
    if is_whole:
        return Integer(int(low), int(high), scale="linear", step=None if step in (None, 1) else int(step or 1))
    return Continuous(low, high, scale="linear", step=step)


def guessed(values: Iterable[Any]) -> Parameter:
    """Return the smallest parameter that has all values: a range of numbers, otherwise categories."""
    found = list(values)
    if all(isinstance(value, int) and not isinstance(value, bool) for value in found):
        return Integer(min(found), max(found))
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in found):
        return Continuous(float(min(found)), float(max(found)))
    distinct = {json.dumps(value): value for value in found}
    return Categorical([distinct[key] for key in sorted(distinct)])


def with_conditions(space: Mapping[str, Parameter], trials: Values) -> dict[str, Parameter]:
    """Return the space with conditions that explain why parameters are absent from some trials.

    A parameter gets the condition ``when={parent: values}`` if it is present exactly in the trials that have those
    values of a categorical parameter.

    Args:
        space: The parameters without conditions.
        trials: The configurations of trials that were chosen as a whole.

    Raises:
        InvalidArgument: No categorical parameter explains it.
    """
    found = dict(space)
    for name, parameter in space.items():
        if all(name in params for params in trials):
            continue
        explanation = next(
            (each for each in (_explains(parent, name, space, trials) for parent in space) if each), None
        )
        if explanation is None:
            absent = next(number for number, params in enumerate(trials) if name not in params)
            raise InvalidArgument(
                f"{name!r} is absent from trial {absent} and others, and no categorical parameter explains when. Give "
                "the search space yourself: import_studies(..., space={...})."
            )
        found[name] = evolve(parameter, when=explanation)
    return found


def _explains(parent: str, name: str, space: Mapping[str, Parameter], trials: Values) -> dict[str, list[Any]] | None:
    if parent == name or not isinstance(space[parent], Categorical):
        return None
    present = {json.dumps(params[parent]) for params in trials if name in params and parent in params}
    absent = {json.dumps(params[parent]) for params in trials if name not in params and parent in params}
    orphaned = any(name in params and parent not in params for params in trials)
    if orphaned or not present or present & absent:
        return None
    return {parent: [json.loads(value) for value in sorted(present)]}


def is_number(value: object) -> bool:
    """Return whether a value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
