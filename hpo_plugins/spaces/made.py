"""Parameters with a believed value, and configurations of a belief."""

from __future__ import annotations

import functools
import importlib.resources
import json
from collections.abc import Sequence
from typing import Any, TypeAlias, TypeVar

from hpo_plugins._fields import evolve
from hpo_plugins._validation import whole_number
from hpo_plugins.space import Continuous, Integer, Ordinal, Parameter, Params, Space
from hpo_plugins.space.sobol_points import SobolPoints

SpaceDict: TypeAlias = dict[str, Parameter]
P = TypeVar("P", Continuous, Integer)


@functools.cache
def learned() -> Any:
    """Return the values that ``python -m benchmarks learn-spaces`` has learned."""
    return json.loads(importlib.resources.files("hpo_plugins.spaces").joinpath("learned.json").read_text())


def believed(parameter: P, prior: float, confidence: str) -> P:
    """Return a parameter with a belief in the value of its range that is nearest to a number."""
    return evolve(parameter, prior=rounded(parameter, prior), confidence=confidence)


def rounded(parameter: Parameter, value: Any) -> Any:
    """Return the nearest value of a range, with three digits: of the distance from 1, if its scale is that one's."""
    if isinstance(parameter, Integer):
        return min(max(round(value), parameter.low), parameter.high)
    if not isinstance(parameter, Continuous):
        return value
    is_reversed = parameter.resolved_scale == "reverse_log"
    near = round(1 - float(f"{1 - value:.3g}"), 12) if is_reversed else float(f"{value:.3g}")
    return min(max(near, parameter.low), parameter.high)


def batch_sizes(given: int, values: Sequence[int]) -> Ordinal:
    """Return a parameter of batch sizes that believes in a given one, which is added if it is none of them."""
    return Ordinal(sorted({*values, given}), prior=given)


def or_portfolio(space: SpaceDict, count: int | None, first: Sequence[Params] = ()) -> SpaceDict | list[Params]:
    """Return a space, or ``count`` configurations: those given first, then draws of its belief.

    Args:
        space: The space.
        count: How many; None returns the space.
        first: Configurations that were learned, the best first.

    Raises:
        InvalidArgument: ``count`` is not a whole number of at least 1, or the space has not that many.
    """
    if count is None:
        return space
    count = whole_number("portfolio", count, at_least=1, at_most=Space(space).size or 1000)
    found: dict[str, Params] = {}
    for params in [*first, *_draws(Space(space), count)]:
        plain: Params = {name: rounded(space[name], value) for name, value in params.items()}
        found.setdefault(Space.key(plain), plain)
    return list(found.values())[:count]


def _draws(space: Space, count: int) -> list[Params]:
    """Return the mode, and evenly spread draws that follow the belief."""
    points = SobolPoints(len(space), seed=0).random(1 << (4 * count).bit_length())
    return [dict(space.mode), *map(space.decode, space.belief.quantile(points))]
