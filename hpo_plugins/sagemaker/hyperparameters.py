"""Convert the parameter ranges of a request to a space, and a space to ranges; in requests, every value is a string."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from typing import Any

from hpo_plugins.errors import InvalidArgument
from hpo_plugins.sagemaker.node import Node
from hpo_plugins.space import Categorical, Continuous, Integer, Listed, Parameter, Params, Scale, Space, Value

MAX_RANGES = 30
MAX_CATEGORIES = 30
MAX_HYPERPARAMETERS = 100
"""Tuned and static hyperparameters together, including one that the service adds: the name of the objective."""

_SCALES: dict[str, Scale] = {
    "Auto": "auto",
    "Linear": "linear",
    "Logarithmic": "log",
    "ReverseLogarithmic": "reverse_log",
}
_SCALING_TYPES = {scale: name for name, scale in _SCALES.items()}
_LISTS = ("IntegerParameterRanges", "ContinuousParameterRanges", "CategoricalParameterRanges", "AutoParameters")


def read_space(ranges: Node, static: Node | None) -> Space:
    """Return the space of ``ParameterRanges`` (``HyperParameterRanges``), with static hyperparameters fixed in it.

    Raises:
        InvalidArgument: A range is empty or does not fit its scale, a name is repeated, or there are too many.
    """
    parameters: dict[str, Parameter] = {}
    for node in _ranges(ranges):
        name = node["Name"]
        if not name.value:
            raise name.refusal("a non-empty name")
        if name.value in parameters:
            raise name.refusal("a name that no other range has")
        if static is not None and name.value in static:
            raise name.refusal("a name that is not also static", f"It is in {static.path}: keep one of the two.")
        parameters[name.value] = _parameter(node)
    searched = len(parameters) - len(ranges.value.get("AutoParameters", ()))
    if searched > MAX_RANGES:
        raise InvalidArgument(f"{ranges.path} must have at most {MAX_RANGES} ranges in all, but has {searched}.")
    if not parameters:
        raise InvalidArgument(f"{ranges.path} must have at least one range, but has none. Nothing would be tuned.")
    fixed: Params = dict(static.value) if static is not None else {}
    if len(parameters) + len(fixed) > MAX_HYPERPARAMETERS - 1:
        raise InvalidArgument(
            f"{ranges.path} and the static hyperparameters must be at most {MAX_HYPERPARAMETERS - 1} together (the "
            f"service adds one), but are {len(parameters) + len(fixed)}."
        )
    return Space(parameters, fixed)


def require_categories(ranges: Node) -> None:
    """Raise InvalidArgument if a range is not categorical: grid search in the service takes only categories."""
    for node in _ranges(ranges):
        if "Values" not in node:
            raise node.refusal("a categorical parameter with Strategy Grid", "List its values to try.")


def _ranges(ranges: Node) -> Iterator[Node]:
    for kind in ranges.value:  # in the order of the request
        yield from ranges.members(kind)


def _parameter(node: Node) -> Parameter:
    if "Values" in node:
        return _categorical(node)
    if "ValueHint" in node:
        return range_around(node["ValueHint"].value)
    if ".IntegerParameterRanges[" in f".{node.path}":
        whole = _whole(node["MinValue"]), _whole(node["MaxValue"])
        return Integer(*whole, scale=_scale(node, *whole, whole=True))
    real = _real(node["MinValue"]), _real(node["MaxValue"])
    return Continuous(*real, scale=_scale(node, *real, whole=False))


def _scale(node: Node, low: float, high: float, *, whole: bool) -> Scale:
    """Return the scale of a range, after checking that its bounds are in order and fit the scale."""
    if low > high:
        raise node["MinValue"].refusal(f"at most MaxValue, {node['MaxValue'].value}")
    scaling = node.get("ScalingType")
    if scaling is None:
        return "auto"
    if scaling.value == "Logarithmic" and low <= 0:
        raise node["MinValue"].refusal("> 0 with ScalingType Logarithmic", "Use Linear.")
    if scaling.value == "ReverseLogarithmic":
        if whole:
            raise scaling.refusal("Auto, Linear or Logarithmic for an integer")
        if low < 0:
            raise node["MinValue"].refusal(">= 0 with ScalingType ReverseLogarithmic", "Use Linear.")
        if high >= 1:
            raise node["MaxValue"].refusal("< 1 with ScalingType ReverseLogarithmic", "Use Linear.")
    return _SCALES[scaling.value]


def _categorical(node: Node) -> Categorical:
    seen: set[str] = set()
    for value in node.members("Values"):
        if value.value in seen:
            raise value.refusal("a value that is not repeated")
        seen.add(value.value)
    return Categorical(node["Values"].value)


def _whole(node: Node) -> int:
    if re.fullmatch(r"[+-]?[0-9]+", node.value) is None:
        raise node.refusal('a whole number in a string, such as "8"', "Use ContinuousParameterRanges for real numbers.")
    return int(node.value)


def _real(node: Node) -> float:
    if re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", node.value) is None:
        raise node.refusal('a number in a string, such as "0.1" or "1e-4"')
    value = float(node.value)
    if not math.isfinite(value):
        raise node.refusal("a finite number")
    return value


def range_around(hint: str) -> Parameter:
    """Return a range around the example value of an ``AutoParameters`` entry, from a tenth of it to ten times it.

    A positive number is searched on a logarithmic scale; the range of a number up to 1 ends at 1, since most of these
    are fractions. A boolean becomes both booleans. Any other string becomes its only category.
    """
    if hint.casefold() in ("true", "false"):
        truth = {"true": "false", "false": "true", "True": "False", "False": "True"}
        return Categorical([hint, truth.get(hint, "false" if hint.casefold() == "true" else "true")])
    if re.fullmatch(r"[+-]?[0-9]{1,15}", hint):
        whole = int(hint)
        if whole > 0:
            return Integer(max(1, whole // 10), 10 * whole, scale="log")
        return Integer(10 * whole, 0 if whole else 10)
    try:
        real = float(hint)
    except ValueError:
        return Categorical([hint])
    if not math.isfinite(10 * real) or 0 < abs(real) < 1e-300:
        return Categorical([hint])
    if real > 0:
        return Continuous(real / 10, min(10 * real, 1.0) if real <= 1 else 10 * real, scale="log")
    return Continuous(10 * real, 0.0 if real else 1.0)


def write_ranges(space: Space) -> dict[str, Any]:
    """Return a space as ``ParameterRanges``; categories that are numbers become strings.

    The service knows no steps and no order, so such parameters become categories: it tries their values only.

    Raises:
        InvalidArgument: Two categories are the same string, a parameter has more values than the service takes as
            categories, or it is conditional.
    """
    lists: dict[str, list[dict[str, Any]]] = {}
    for name, parameter in space.items():
        if parameter.when is not None:
            raise InvalidArgument(
                f"{name!r} must not be conditional, since the service has no conditions, but has "
                f"when={parameter.when!r}. Export one tuner for each case."
            )
        if isinstance(parameter, Listed) or parameter.step is not None:
            values = [write_value(value) for value in _listed_values(name, parameter)]
            if len(set(values)) < len(values):
                raise InvalidArgument(
                    f"{name!r} must have values that differ as strings, since the service takes only strings, but got "
                    f"{list(_listed_values(name, parameter))}."
                )
            lists.setdefault(_LISTS[2], []).append({"Name": name, "Values": values})
            continue
        kind = _LISTS[0] if isinstance(parameter, Integer) else _LISTS[1]
        bounds = {"MinValue": write_value(parameter.low), "MaxValue": write_value(parameter.high)}
        lists.setdefault(kind, []).append({"Name": name, **bounds, "ScalingType": _SCALING_TYPES[parameter.scale]})
    return dict(lists)


def _listed_values(name: str, parameter: Parameter) -> Sequence[Value]:
    if isinstance(parameter, Categorical):
        return parameter.values
    size = parameter.size or 0
    if size > MAX_CATEGORIES:
        raise InvalidArgument(
            f"{name!r} must have at most {MAX_CATEGORIES} values, since the service knows no steps and no order, and "
            f"takes them as categories, but {parameter!r} has {size}. Use a larger step, or a range without one."
        )
    return [parameter.value_at(position) for position in range(size)]


def write_value(value: Value) -> str:
    """Return a value as the string that stands for it in a request."""
    return value if isinstance(value, str) else repr(value)
