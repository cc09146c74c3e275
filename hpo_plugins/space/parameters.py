"""Parameters of a search space: their ranges, their scales, and their coordinates in the unit interval.

Notation
    u      a coordinate in [0, 1]
    bin    the part of [0, 1] that decodes to one value of an integer or a categorical parameter

Every decoded value is plain Python (``int``, ``float``, ``str``, ``bool`` or ``None``), since frameworks and
checkpoint formats reject numpy scalars.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hpo_plugins._validation import choice, is_text, real_number, refusal, whole_number
from hpo_plugins.errors import InvalidArgument

Scale: TypeAlias = Literal["auto", "linear", "log", "reverse_log"]
Value: TypeAlias = str | int | float | bool | None
Params: TypeAlias = dict[str, Value]
FloatArray: TypeAlias = NDArray[np.float64]

AUTO_LOG_RATIO = 1e3
"""``scale="auto"`` is logarithmic for ranges of three decades or more."""


@dataclass(frozen=True)
class Continuous:
    """A real number between two inclusive bounds.

    Args:
        low: The smallest value.
        high: The largest value.
        scale: How values are spread: ``"linear"``; ``"log"`` (values > 0, equal chance for every decade);
            ``"reverse_log"`` (0 <= values < 1, equal chance for every decade of 1 - x); or ``"auto"``, which is
            ``"log"`` when the range spans three decades or more (``high / low >= 1000``), ``"reverse_log"`` when
            ``1 - x`` does, and ``"linear"`` otherwise. The rule depends on the bounds alone, so suggestions never
            depend on when a scale was learned.

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
        """The scale in effect: what ``"auto"`` resolves to."""
        if self.scale != "auto":
            return self.scale
        if self.low > 0 and self.high / self.low >= AUTO_LOG_RATIO:
            return "log"
        if self.low >= 0 and self.high < 1 and (1 - self.low) / (1 - self.high) >= AUTO_LOG_RATIO:
            return "reverse_log"
        return "linear"

    @property
    def size(self) -> int | None:
        """The number of values, None if infinite."""
        return 1 if self.low == self.high else None

    def from_unit(self, u: float) -> float:
        """Return the value at ``u``; 0 gives ``low`` and 1 gives ``high`` exactly."""
        if u <= 0:
            return self.low
        if u >= 1:
            return self.high
        match self.resolved_scale:
            case "log":
                value = math.exp(_interpolate(math.log(self.low), math.log(self.high), u))
            case "reverse_log":
                value = 1 - math.exp(_interpolate(math.log1p(-self.low), math.log1p(-self.high), u))
            case _:
                value = _interpolate(self.low, self.high, u)
        return min(max(value, self.low), self.high)  # rounding must not leave the bounds

    def to_unit(self, value: float) -> float:
        """Return the coordinate of ``value``: the inverse of ``from_unit``, up to rounding."""
        value = min(max(float(value), self.low), self.high)
        if self.low == self.high:
            return 0.5
        match self.resolved_scale:
            case "log":
                return _fraction(math.log(self.low), math.log(self.high), math.log(value))
            case "reverse_log":
                return _fraction(math.log1p(-self.low), math.log1p(-self.high), math.log1p(-value))
            case _:
                return _fraction(self.low, self.high, value)

    def checked(self, name: str, value: object) -> float:
        """Return a value of this parameter as a float, or raise InvalidArgument with the parameter's name."""
        number = real_number(name, value)
        if not self.low <= number <= self.high:
            raise refusal(name, value, f"between {self.low:g} and {self.high:g}")
        return number

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form that ``parameter_from_json`` reads."""
        return {"kind": self.kind, "low": self.low, "high": self.high, "scale": self.scale}


MAX_INTEGER = 10**300
"""What floats can interpolate; SageMaker's bounds have up to 256 digits."""


@dataclass(frozen=True)
class Integer:
    """A whole number between two inclusive bounds.

    Every value x has a bin of the unit interval: bins are equally wide on the linear scale, and span
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
            object.__setattr__(
                self, name, whole_number(name, getattr(self, name), cure="Use Continuous for real numbers.")
            )
            if abs(getattr(self, name)) > MAX_INTEGER:
                raise refusal(name, getattr(self, name), "a whole number of at most 300 digits")
        _check_order(self.low, self.high)
        _check_scale(self.scale, self.low, self.high, ("auto", "linear", "log"))

    @property
    def resolved_scale(self) -> Scale:
        """The scale in effect: what ``"auto"`` resolves to."""
        if self.scale != "auto":
            return self.scale
        return "log" if self.low > 0 and self.high / self.low >= AUTO_LOG_RATIO else "linear"

    @property
    def size(self) -> int | None:
        """The number of values."""
        return self.high - self.low + 1

    def from_unit(self, u: float) -> int:
        """Return the value whose bin contains ``u``."""
        if self.resolved_scale == "log":
            value = round(math.exp(_interpolate(math.log(self.low - 0.5), math.log(self.high + 0.5), u)))
        else:
            value = self.low + math.floor(u * (self.high - self.low + 1))
        return min(max(value, self.low), self.high)

    def to_unit(self, value: int) -> float:
        """Return the centre of the value's bin."""
        value = min(max(int(value), self.low), self.high)
        if self.resolved_scale == "log":
            return _fraction(math.log(self.low - 0.5), math.log(self.high + 0.5), math.log(value))
        return (value - self.low + 0.5) / (self.high - self.low + 1)

    def checked(self, name: str, value: object) -> int:
        """Return a value of this parameter as an int, or raise InvalidArgument with the parameter's name."""
        number = whole_number(name, value)
        if not self.low <= number <= self.high:
            raise refusal(name, value, f"a whole number between {self.low} and {self.high}")
        return number

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form that ``parameter_from_json`` reads."""
        return {"kind": self.kind, "low": self.low, "high": self.high, "scale": self.scale}


@dataclass(frozen=True, eq=False)
class Categorical:
    """One of a list of values that have no order.

    Args:
        values: Strings, numbers, booleans or None; at least one, without duplicates. ``True``, ``1`` and ``1.0`` are
            three different values, and a value keeps its type.

    Raises:
        InvalidArgument: The list is empty, or contains a duplicate or a value of another type.
    """

    values: tuple[Value, ...]
    kind: ClassVar[str] = "categorical"

    def __init__(self, values: Sequence[Value]) -> None:
        """Check the values and keep them in their order."""
        if isinstance(values, str | bytes) or not isinstance(values, Sequence | np.ndarray):
            raise InvalidArgument(f"values must be a list, but got values={values!r}.")
        object.__setattr__(self, "values", tuple(_category(index, value) for index, value in enumerate(values)))
        if not self.values:
            raise InvalidArgument("values must contain at least one value, but got values=[].")
        seen: set[str] = set()
        for index, key in enumerate(self._keys):
            if key in seen:
                raise InvalidArgument(
                    f"values must not contain duplicates, but got {self.values[index]!r} at index {index}."
                )
            seen.add(key)

    @property
    def _keys(self) -> tuple[str, ...]:
        # JSON tells True, 1 and 1.0 apart, which Python's == does not.
        return tuple(json.dumps(value) for value in self.values)

    def __eq__(self, other: object) -> bool:
        """Return whether the other parameter has the same values, of the same types."""
        return isinstance(other, Categorical) and self._keys == other._keys

    def __hash__(self) -> int:
        """Return the hash of what ``==`` compares."""
        return hash(self._keys)

    @property
    def size(self) -> int | None:
        """The number of values."""
        return len(self.values)

    def from_unit(self, u: float) -> Value:
        """Return the value whose bin contains ``u``; all bins are equally wide."""
        return self.values[min(max(math.floor(u * len(self.values)), 0), len(self.values) - 1)]

    def to_unit(self, value: Value) -> float:
        """Return the centre of the value's bin."""
        return (self._keys.index(json.dumps(value)) + 0.5) / len(self.values)

    def checked(self, name: str, value: object) -> Value:
        """Return one of the values with its own type, or raise InvalidArgument with the parameter's name."""
        plain = value.item() if isinstance(value, np.generic) else value
        if isinstance(plain, str | int | float | None) and (key := json.dumps(plain)) in self._keys:
            return self.values[self._keys.index(key)]
        raise refusal(name, value, f"one of {list(self.values)}")

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form that ``parameter_from_json`` reads."""
        return {"kind": self.kind, "values": list(self.values)}


Parameter: TypeAlias = Continuous | Integer | Categorical
_KINDS: dict[str, type[Parameter]] = {cls.kind: cls for cls in (Continuous, Integer, Categorical)}


def parameter_from_json(data: Mapping[str, Any]) -> Parameter:
    """Return the parameter that ``to_json`` described."""
    return _KINDS[data["kind"]](**{key: value for key, value in data.items() if key != "kind"})


def _interpolate(low: float, high: float, u: float) -> float:
    return low * (1 - u) + high * u  # high - low would overflow for the widest ranges


def _fraction(low: float, high: float, value: float) -> float:
    fraction = (value / 2 - low / 2) / (high / 2 - low / 2)  # halved against the same overflow
    return min(max(fraction, 0.0), 1.0)


def _category(index: int, value: object) -> Value:
    value = value.item() if isinstance(value, np.generic) else value
    if value is not None and not isinstance(value, str | int | float):
        raise InvalidArgument(
            f"values must be strings, numbers, booleans or None, but got {value!r} at index {index}. "
            "Give each object a name, and look it up in your own code."
        )
    if isinstance(value, str) and not is_text(value):
        raise InvalidArgument(f"values must be text that can be stored, but got {value!r} at index {index}.")
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidArgument(f"values must be finite, but got {value!r} at index {index}.")
    return value


def _check_order(low: float, high: float) -> None:
    if low > high:
        raise InvalidArgument(f"low must be at most high, but got low={low!r} and high={high!r}.")


def _check_scale(scale: object, low: float, high: float, allowed: tuple[str, ...]) -> None:
    choice("scale", scale, allowed)
    if scale == "log" and low <= 0:
        raise InvalidArgument(f"low must be > 0 on a log scale, but got low={low!r}. Use scale='linear'.")
    if scale == "reverse_log" and not (low >= 0 and high < 1):
        raise InvalidArgument(f"reverse_log needs 0 <= low and high < 1, but got low={low!r} and high={high!r}.")
