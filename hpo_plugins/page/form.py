"""The form of a configuration: its fields from the space, and the configuration from what was filled in.

A value of a list is sent as its position, since JSON would mix up ``1``, ``1.0``, ``True`` and ``"1"``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hpo_plugins._validation import whole_number
from hpo_plugins.errors import InvalidArgument
from hpo_plugins.space import Integer, Params, Space
from hpo_plugins.space.categorical import Listed
from hpo_plugins.view import words


def fields_of(space: Space) -> list[dict[str, Any]]:
    """Return the fields of the form, one for each parameter."""
    return [{"label": name, "when": _when(parameter.when)} | _kind(parameter) for name, parameter in space.items()]


def values_of(space: Space, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return what to fill the form with for a configuration."""
    return {
        name: parameter.position(params[name]) if isinstance(parameter, Listed) else params[name]
        for name, parameter in space.items()
        if name in params
    }


def params_of(space: Space, values: Mapping[str, float | int | None]) -> Params:
    """Return the configuration, complete or partial, that was filled in.

    Args:
        space: The search space.
        values: By parameter the number, or the position in its list; None leaves it to the strategy.

    Raises:
        InvalidArgument: There is no such parameter or position.
    """
    params: Params = {}
    for name, value in values.items():
        if value is None:
            continue
        if name not in space:
            raise InvalidArgument(f"params must have names of {', '.join(space)}, but got {name!r}.")
        parameter = space[name]
        if isinstance(parameter, Listed):
            params[name] = parameter.values[whole_number(name, value, at_least=0, at_most=len(parameter.values) - 1)]
        elif isinstance(parameter, Integer):
            params[name] = int(value) if float(value).is_integer() else value
        else:
            params[name] = value
    return params


def _kind(parameter: Any) -> dict[str, Any]:
    if isinstance(parameter, Listed):
        return {"kind": "choice", "choices": [words.number(value) for value in parameter.values]}
    kind = "integer" if isinstance(parameter, Integer) else "continuous"
    return {"kind": kind, "low": parameter.low, "high": parameter.high, "step": parameter.step}


def _when(when: Mapping[str, Any] | None) -> str:
    conditions = [f"{name} is {' or '.join(map(str, values))}" for name, values in (when or {}).items()]
    return " and ".join(conditions)
