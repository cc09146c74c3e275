"""The search space: parameters, their scales, and the way to the unit cube and back.

Notation
    d      number of parameters
    u      a coordinate in [0, 1]; a configuration is a point of the unit cube, shape ``(d,)``
    cell   the part of [0, 1] that decodes to one value of an integer or a categorical parameter

Every decoded value is plain Python (``int``, ``float``, ``str``, ``bool`` or ``None``): frameworks and checkpoints
choke on numpy scalars.
"""

from __future__ import annotations

import json
import math
import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hpo_plugins.errors import InvalidArgument

Scale: TypeAlias = Literal["auto", "linear", "log", "reverse_log"]
Value: TypeAlias = str | int | float | bool | None
Params: TypeAlias = dict[str, Value]
FloatArray: TypeAlias = NDArray[np.float64]

AUTO_LOG_RATIO = 1e3
"""A range over three decades or more is searched on a log scale by ``scale="auto"``."""


@dataclass(frozen=True)
class Continuous:
    """A real number between two inclusive bounds.

    Args:
        low: The smallest value.
        high: The largest value.
        scale: How values are spread: ``"linear"``; ``"log"`` (values > 0, equal chance for every decade);
            ``"reverse_log"`` (0 <= values < 1, equal chance for every decade of 1 - x); or ``"auto"``, which is
            ``"log"`` when the range spans three decades or more (``high / low >= 1000``), ``"reverse_log"`` when
            ``1 - x`` does, and ``"linear"`` otherwise. The rule looks at the bounds alone, so a suggestion never
            depends on when the scale was learned.

    Raises:
        InvalidArgument: A bound is not finite, ``low > high``, or the scale does not fit the bounds.
    """

    low: float
    high: float
    scale: Scale = "auto"
    kind: ClassVar[str] = "continuous"

    def __post_init__(self) -> None:
        for name in ("low", "high"):
            object.__setattr__(self, name, real_number(name, getattr(self, name)))
        _check_order(self.low, self.high)
        _check_scale(self.scale, self.low, self.high, ("auto", "linear", "log", "reverse_log"))

    @property
    def resolved_scale(self) -> Scale:
        """The scale in force: what ``"auto"`` stands for."""
        if self.scale != "auto":
            return self.scale
        if self.low > 0 and self.high / self.low >= AUTO_LOG_RATIO:
            return "log"
        if self.low >= 0 and self.high < 1 and (1 - self.low) / (1 - self.high) >= AUTO_LOG_RATIO:
            return "reverse_log"
        return "linear"

    @property
    def size(self) -> int | None:
        """The number of values, None for uncountably many."""
        return 1 if self.low == self.high else None

    def from_unit(self, u: float) -> float:
        """Return the value at ``u``; 0 gives ``low`` and 1 gives ``high`` exactly."""
        if u <= 0:
            return self.low
        if u >= 1:
            return self.high
        match self.resolved_scale:
            case "log":
                value = math.exp(_between(math.log(self.low), math.log(self.high), u))
            case "reverse_log":
                value = 1 - math.exp(_between(math.log1p(-self.low), math.log1p(-self.high), u))
            case _:
                value = _between(self.low, self.high, u)
        return min(max(value, self.low), self.high)  # rounding must not leave the bounds

    def to_unit(self, value: float) -> float:
        """Return the coordinate of ``value``, the inverse of ``from_unit`` to rounding."""
        value = min(max(float(value), self.low), self.high)
        if self.low == self.high:
            return 0.5
        match self.resolved_scale:
            case "log":
                return _part(math.log(self.low), math.log(self.high), math.log(value))
            case "reverse_log":
                return _part(math.log1p(-self.low), math.log1p(-self.high), math.log1p(-value))
            case _:
                return _part(self.low, self.high, value)

    def accepts(self, value: object) -> bool:
        """Return whether ``value`` is one that this parameter can take."""
        return isinstance(value, int | float) and not isinstance(value, bool) and self.low <= value <= self.high

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form that ``Space.from_json`` reads."""
        return {"kind": self.kind, "low": self.low, "high": self.high, "scale": self.scale}


@dataclass(frozen=True)
class Integer:
    """A whole number between two inclusive bounds.

    Every value owns a cell of the unit interval: cells are equally wide on the linear scale, and span
    ``[x - 1/2, x + 1/2]`` on the log scale, so the bounds are drawn as often as their neighbours suggest.

    Args:
        low: The smallest value.
        high: The largest value.
        scale: ``"linear"``, ``"log"`` (values > 0), or ``"auto"``: ``"log"`` when ``low > 0`` and
            ``high / low >= 1000``, else ``"linear"``.

    Raises:
        InvalidArgument: A bound is not a whole number, ``low > high``, or the scale does not fit the bounds.
    """

    low: int
    high: int
    scale: Scale = "auto"
    kind: ClassVar[str] = "integer"

    def __post_init__(self) -> None:
        for name in ("low", "high"):
            object.__setattr__(self, name, _whole(name, getattr(self, name)))
        _check_order(self.low, self.high)
        _check_scale(self.scale, self.low, self.high, ("auto", "linear", "log"))

    @property
    def resolved_scale(self) -> Scale:
        """The scale in force: what ``"auto"`` stands for."""
        if self.scale != "auto":
            return self.scale
        return "log" if self.low > 0 and self.high / self.low >= AUTO_LOG_RATIO else "linear"

    @property
    def size(self) -> int | None:
        """The number of values."""
        return self.high - self.low + 1

    def from_unit(self, u: float) -> int:
        """Return the value whose cell holds ``u``."""
        if self.resolved_scale == "log":
            value = round(math.exp(_between(math.log(self.low - 0.5), math.log(self.high + 0.5), u)))
        else:
            value = self.low + math.floor(u * (self.high - self.low + 1))
        return min(max(value, self.low), self.high)

    def to_unit(self, value: int) -> float:
        """Return the coordinate at the heart of the value's cell."""
        value = min(max(int(value), self.low), self.high)
        if self.resolved_scale == "log":
            return _part(math.log(self.low - 0.5), math.log(self.high + 0.5), math.log(value))
        return (value - self.low + 0.5) / (self.high - self.low + 1)

    def accepts(self, value: object) -> bool:
        """Return whether ``value`` is one that this parameter can take."""
        return isinstance(value, int) and not isinstance(value, bool) and self.low <= value <= self.high

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form that ``Space.from_json`` reads."""
        return {"kind": self.kind, "low": self.low, "high": self.high, "scale": self.scale}


@dataclass(frozen=True, eq=False)
class Categorical:
    """One of a list of values that have no order.

    Args:
        values: Strings, numbers, booleans or None; at least one, none twice. ``True``, ``1`` and ``1.0`` are three
            different values, and a value comes back with the type it was given.

    Raises:
        InvalidArgument: The list is empty, holds a value twice or one of another type.
    """

    values: tuple[Value, ...]
    kind: ClassVar[str] = "categorical"

    def __init__(self, values: Sequence[Value]) -> None:
        """Check the values and keep them in their order."""
        if isinstance(values, str | bytes) or not isinstance(values, Sequence | np.ndarray):
            raise InvalidArgument(f"values must be a list, but got values={values!r}.")
        object.__setattr__(self, "values", tuple(_category(index, value) for index, value in enumerate(values)))
        if not self.values:
            raise InvalidArgument("values must hold at least one value, but got values=[].")
        seen: set[str] = set()
        for index, key in enumerate(self._keys):
            if key in seen:
                raise InvalidArgument(
                    f"values must not hold a value twice, but got {self.values[index]!r} at index {index}."
                )
            seen.add(key)

    @property
    def _keys(self) -> tuple[str, ...]:
        # JSON tells True, 1 and 1.0 apart, which Python's == does not.
        return tuple(json.dumps(value) for value in self.values)

    def __eq__(self, other: object) -> bool:
        """Return whether the other parameter holds the same values of the same types."""
        return isinstance(other, Categorical) and self._keys == other._keys

    def __hash__(self) -> int:
        """Hash what ``==`` compares."""
        return hash(self._keys)

    @property
    def size(self) -> int | None:
        """The number of values."""
        return len(self.values)

    def from_unit(self, u: float) -> Value:
        """Return the value whose cell holds ``u``; all cells are equally wide."""
        return self.values[min(max(math.floor(u * len(self.values)), 0), len(self.values) - 1)]

    def to_unit(self, value: Value) -> float:
        """Return the coordinate at the heart of the value's cell."""
        return (self._keys.index(json.dumps(value)) + 0.5) / len(self.values)

    def accepts(self, value: object) -> bool:
        """Return whether ``value`` is one that this parameter can take."""
        return isinstance(value, str | int | float | None) and json.dumps(value) in self._keys

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form that ``Space.from_json`` reads."""
        return {"kind": self.kind, "values": list(self.values)}


Parameter: TypeAlias = Continuous | Integer | Categorical
_KINDS: dict[str, type[Parameter]] = {cls.kind: cls for cls in (Continuous, Integer, Categorical)}


class Space(Mapping[str, Parameter]):
    """A named, ordered set of parameters.

    Args:
        parameters: Name to parameter; the order is kept and is the order of the unit cube's coordinates.
        fixed: Name to value of what is not searched but belongs to every configuration. No strategy sees it.

    Raises:
        InvalidArgument: The mapping is empty, a name is not a string or is fixed too, or a value is not a parameter.
    """

    def __init__(self, parameters: Mapping[str, Parameter], fixed: Mapping[str, Value] | None = None) -> None:
        """Check names and parameters."""
        if not isinstance(parameters, Mapping) or not parameters:
            raise InvalidArgument(f"space must map at least one name to a parameter, but got space={parameters!r}.")
        for name, parameter in parameters.items():
            if not isinstance(name, str) or not name:
                raise InvalidArgument(f"space must have non-empty strings as names, but got {name!r}.")
            if not isinstance(parameter, Continuous | Integer | Categorical):
                raise InvalidArgument(
                    f"space[{name!r}] must be Continuous, Integer or Categorical, but got {parameter!r}. "
                    "A value that is not tuned stays in your own code."
                )
        self._parameters = dict(parameters)
        self.fixed: Params = dict(fixed or {})
        for name in self.fixed:
            if name in self._parameters:
                raise InvalidArgument(f"{name!r} must be tuned or fixed, but got both: {self[name]!r} and a value.")

    def __getitem__(self, name: str) -> Parameter:
        """Return the parameter of that name."""
        return self._parameters[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names in their order."""
        return iter(self._parameters)

    def __len__(self) -> int:
        """Return the number of parameters, d."""
        return len(self._parameters)

    def __repr__(self) -> str:
        """Show the parameters."""
        return f"Space({self._parameters!r})"

    @property
    def size(self) -> int | None:
        """The number of configurations, None when a parameter is continuous."""
        sizes = [parameter.size for parameter in self.values()]
        return None if None in sizes else math.prod(size for size in sizes if size is not None)

    def decode(self, point: Sequence[float] | FloatArray) -> Params:
        """Return the configuration at a point of the unit cube, shape ``(d,)``."""
        tuned = {name: parameter.from_unit(float(u)) for (name, parameter), u in zip(self.items(), point, strict=True)}
        return tuned | self.fixed

    def encode(self, params: Mapping[str, Any]) -> FloatArray:
        """Return the point of a configuration, shape ``(d,)``, in the unit cube."""
        return np.array([parameter.to_unit(params[name]) for name, parameter in self.items()], dtype=np.float64)

    def at_index(self, index: int) -> Params:
        """Return configuration ``index`` of a finite space; the last parameter turns fastest."""
        params: Params = {}
        for name, parameter in reversed(self._parameters.items()):
            if parameter.size is None:
                raise InvalidArgument(f"space must be finite, but {name!r} is continuous.")
            index, position = divmod(index, parameter.size)
            if isinstance(parameter, Categorical):
                params[name] = parameter.values[position]
            else:
                params[name] = parameter.low if isinstance(parameter, Continuous) else parameter.low + position
        return {name: params[name] for name in self} | self.fixed

    def params_of(self, configuration: Mapping[str, Value]) -> Params:
        """Return what a training is given of a configuration, in a dict of the caller's own."""
        return dict(configuration)

    def definition_of(self, configuration: Mapping[str, Value]) -> str | None:  # noqa: ARG002
        """Return which of several training definitions a configuration belongs to, None where there is but one."""
        return None

    @staticmethod
    def key(params: Mapping[str, Value]) -> str:
        """Return a text that is equal for equal configurations only, types included."""
        return json.dumps(params, sort_keys=True)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form that ``from_json`` reads."""
        fixed = {name: {"kind": "fixed", "value": value} for name, value in self.fixed.items()}
        return {name: parameter.to_json() for name, parameter in self.items()} | fixed

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Space:
        """Return the space that ``to_json`` described; no code is run."""
        return Space(
            {
                name: _KINDS[fields["kind"]](**{key: value for key, value in fields.items() if key != "kind"})
                for name, fields in data.items()
                if fields["kind"] != "fixed"
            },
            {name: fields["value"] for name, fields in data.items() if fields["kind"] == "fixed"},
        )


def _between(low: float, high: float, u: float) -> float:
    return low * (1 - u) + high * u  # no high - low: it overflows for the widest ranges


def _part(low: float, high: float, value: float) -> float:
    part = (value / 2 - low / 2) / (high / 2 - low / 2)  # halves, against the same overflow
    return min(max(part, 0.0), 1.0)


def real_number(name: str, value: object) -> float:
    """Return ``value`` as a float, or raise InvalidArgument unless it is a finite number."""
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InvalidArgument(f"{name} must be a finite number, but got {name}={value!r}.")
    return float(value)


def _whole(name: str, value: object) -> int:
    if not isinstance(value, bool | np.bool_):
        try:
            return operator.index(value)  # type: ignore[arg-type]
        except TypeError:
            pass
    raise InvalidArgument(f"{name} must be a whole number, but got {name}={value!r}. Use Continuous for real numbers.")


def _category(index: int, value: object) -> Value:
    value = value.item() if isinstance(value, np.generic) else value
    if value is not None and not isinstance(value, str | int | float):
        raise InvalidArgument(
            f"values must be strings, numbers, booleans or None, but got {value!r} at index {index}. "
            "Give a name and look the object up in your own code."
        )
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidArgument(f"values must be finite, but got {value!r} at index {index}.")
    return value


def _check_order(low: float, high: float) -> None:
    if low > high:
        raise InvalidArgument(f"low must be at most high, but got low={low!r} and high={high!r}.")


def _check_scale(scale: object, low: float, high: float, allowed: tuple[str, ...]) -> None:
    if scale not in allowed:
        raise InvalidArgument(f"scale must be one of {', '.join(map(repr, allowed))}, but got scale={scale!r}.")
    if scale == "log" and low <= 0:
        raise InvalidArgument(f"low must be > 0 on a log scale, but got low={low!r}. Use scale='linear'.")
    if scale == "reverse_log" and not (low >= 0 and high < 1):
        raise InvalidArgument(f"reverse_log needs 0 <= low and high < 1, but got low={low!r} and high={high!r}.")
