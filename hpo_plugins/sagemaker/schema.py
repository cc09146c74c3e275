"""The shapes of a request, read from the service's model, and errors that name the path of what does not fit.

``request_schema.json`` holds the shapes of a ``CreateHyperParameterTuningJob`` request as botocore has them (see
``generate_schema.py``). ``check`` returns a copy in plain types (dict, list, str, int, float, bool), so that what was
checked is what is used and stored.
"""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpo_plugins.errors import InvalidArgument, nearest_name

REQUEST = "CreateHyperParameterTuningJobRequest"
CONFIG = "HyperParameterTuningJobConfig"

_MAX_SHOWN = 200  # characters of a wrong value that an error repeats


@functools.cache
def shapes() -> dict[str, dict[str, Any]]:
    """Return the shapes of a request by name."""
    content: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_name("request_schema.json").read_text("utf-8"))
    return content


def check(value: object, shape: str, path: str) -> Any:
    """Return a plain copy of a value.

    Args:
        value: A part of a request.
        shape: The name of the shape that it must have.
        path: Its path in the request, for errors; empty for the whole.

    Raises:
        InvalidArgument: It has another shape.
    """
    definition = shapes()[shape]
    return _CHECKS[definition["type"]](value, definition, path)


def _check_structure(value: object, shape: Mapping[str, Any], path: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise refusal(path or "request", "a dict", value)
    members = shape["members"]
    for name in value:
        if name not in members:
            nearest = nearest_name(name, members) if isinstance(name, str) else None
            cure = f"Did you mean {nearest!r}? " if nearest else ""
            raise InvalidArgument(
                f"{join(path, name)} is not known. {cure}{path or 'A request'} has {', '.join(members)}."
            )
    for name in shape.get("required", ()):
        if name not in value:
            raise InvalidArgument(f"{join(path, name)} must be given, but is missing.")
    return {name: check(member, members[name], join(path, name)) for name, member in value.items()}


def _check_list(value: object, shape: Mapping[str, Any], path: str) -> list[Any]:
    if not isinstance(value, list | tuple):
        raise refusal(path, "a list", value)
    least, most = shape.get("min", 0), shape["max"]
    if not least <= len(value) <= most:
        raise InvalidArgument(f"{path} must have {least} to {most} members, but has {len(value)}.")
    return [check(member, shape["member"], f"{path}[{index}]") for index, member in enumerate(value)]


def _check_map(value: object, shape: Mapping[str, Any], path: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise refusal(path, "a dict", value)
    if len(value) > shape["max"]:
        raise InvalidArgument(f"{path} must have at most {shape['max']} keys, but has {len(value)}.")
    return {
        check(key, shape["key"], f"{path}, the key {key!r},"): check(member, shape["value"], join(path, key))
        for key, member in value.items()
    }


def _check_string(value: object, shape: Mapping[str, Any], path: str) -> str:
    if "enum" in shape:
        if value not in shape["enum"] or not isinstance(value, str):
            nearest = nearest_name(value, shape["enum"]) if isinstance(value, str) else None
            cure = f"Did you mean {nearest!r}?" if nearest else ""
            raise refusal(path, "one of " + ", ".join(shape["enum"]), value, cure)
        return str(value)
    if not isinstance(value, str):
        raise refusal(path, "a string", value, f'Write it as "{value}".' if type(value) in (int, float) else "")
    least, most = shape.get("min", 0), shape["max"]
    if not least <= len(value) <= most:
        raise refusal(path, f"a string of {least} to {most} characters", value, f"It has {len(value)}.")
    pattern = shape.get("pattern", r"[\S\s]*")
    if re.fullmatch(pattern, value, re.ASCII) is None:
        raise refusal(path, f"a string that matches {pattern}", value)
    return str(value)


def _check_integer(value: object, shape: Mapping[str, Any], path: str) -> int:
    least, most = shape.get("min"), shape.get("max")
    low = "" if least is None else f" of at least {least}"
    high = "" if most is None else f"{' and' if low else ' of'} at most {most}"
    if (
        not isinstance(value, int)
        or isinstance(value, bool)
        or (least is not None and value < least)
        or (most is not None and value > most)
    ):
        raise refusal(path, f"a whole number{low}{high}", value)
    return int(value)


def _check_float(value: object, shape: Mapping[str, Any], path: str) -> float | int:  # noqa: ARG001 - has no limits
    if isinstance(value, bool) or not isinstance(value, int | float) or not _is_finite(value):
        raise refusal(path, "a finite number", value)
    return value


def _check_boolean(value: object, shape: Mapping[str, Any], path: str) -> bool:  # noqa: ARG001 - has no limits
    if not isinstance(value, bool):
        raise refusal(path, "True or False", value)
    return value


_CHECKS = {
    "structure": _check_structure,
    "list": _check_list,
    "map": _check_map,
    "string": _check_string,
    "integer": _check_integer,
    "long": _check_integer,
    "float": _check_float,
    "boolean": _check_boolean,
}


@dataclass(frozen=True)
class Node:
    """A part of a checked request, which knows its path.

    Args:
        value: The part, in plain types.
        path: Where it is in the request.
    """

    value: Any
    path: str

    def __contains__(self, name: str) -> bool:
        """Return whether the part has a member of that name."""
        return name in self.value

    def __getitem__(self, name: str) -> Node:
        """Return an existing member."""
        return Node(self.value[name], join(self.path, name))

    def get(self, *names: str) -> Node | None:
        """Return the member at the end of a chain of names, None if one of them is missing."""
        node = self
        for name in names:
            if name not in node:
                return None
            node = node[name]
        return node

    def members(self, name: str) -> Iterator[Node]:
        """Yield the members of the list of that name, none if it is missing."""
        for index, value in enumerate(self.value.get(name, ())):
            yield Node(value, f"{join(self.path, name)}[{index}]")

    def refusal(self, rule: str, cure: str = "") -> InvalidArgument:
        """Return the error that this part must be ``rule``."""
        return refusal(self.path, rule, self.value, cure)


def refusal(path: str, rule: str, value: object, cure: str = "") -> InvalidArgument:
    """Return the error that a part of a request must be ``rule``.

    Args:
        path: The part's path.
        rule: What it must be.
        value: What it is.
        cure: What to do about it.
    """
    shown = repr(value)
    shown = shown if len(shown) <= _MAX_SHOWN else f"{shown[:_MAX_SHOWN]}..."
    return InvalidArgument(f"{path} must be {rule}, but got {shown}. {cure}".rstrip())


def join(path: str, name: object) -> str:
    """Return the path of a member, with brackets if the name is not a plain word."""
    if not isinstance(name, str) or re.fullmatch(r"\w+", name) is None:
        return f"{path}[{name!r}]"
    return f"{path}.{name}" if path else name


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an int larger than any float
        return False
