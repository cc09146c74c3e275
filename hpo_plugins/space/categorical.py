"""Parameters that list their values: without an order, or with one."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from hpo_plugins._fields import checked, frozen
from hpo_plugins._validation import is_text, refusal
from hpo_plugins.errors import InvalidArgument
from hpo_plugins.space.base import ParameterBase
from hpo_plugins.space.values import Value


def _categories(name: str, values: Sequence[Value]) -> tuple[Value, ...]:
    is_array = isinstance(values, np.ndarray) and values.ndim > 0
    if isinstance(values, str | bytes) or not (is_array or isinstance(values, Sequence)):
        raise refusal(name, values, "a list")
    found = tuple(_category(index, value) for index, value in enumerate(values))
    if not found:
        raise InvalidArgument("values must contain at least one value, but got values=[].")
    seen: set[str] = set()
    for index, key in enumerate(_keys(found)):
        if key in seen:
            raise InvalidArgument(f"values must not contain duplicates, but got {found[index]!r} at index {index}.")
        seen.add(key)
    return found


def _ordered(name: str, values: Sequence[Value]) -> tuple[Value, ...]:
    found = _categories(name, values)
    for index, value in enumerate(found):
        if value is None or isinstance(value, bool):
            raise InvalidArgument(
                f"values must be numbers or strings, which have an order, but got {value!r} at index {index}. Use "
                "Categorical for values without an order."
            )
        if value in found[:index]:
            raise InvalidArgument(f"values must not contain duplicates, but got {value!r} at index {index}.")
    return found


def _keys(values: Sequence[Value]) -> tuple[str, ...]:
    # JSON tells True, 1 and 1.0 apart, which Python's == does not.
    return tuple(json.dumps(value) for value in values)


class Listed(ParameterBase):
    """A parameter with a list of values: each has a bin of the unit interval, and all bins are equally wide."""

    values: Sequence[Value]

    @property
    def _keys(self) -> tuple[str, ...]:
        return _keys(self.values)

    def __eq__(self, other: object) -> bool:
        """Return whether the other parameter has the same values, of the same types, and the same condition."""
        return type(other) is type(self) and self._keys == other._keys and self.when == other.when

    def __hash__(self) -> int:
        """Return the hash of what ``==`` compares."""
        return hash((self._keys, self.when))

    @property
    def size(self) -> int | None:
        """The number of values."""
        return len(self.values)

    def from_unit(self, u: float) -> Value:
        """Return the value whose bin contains ``u``."""
        return self.values[min(max(math.floor(u * len(self.values)), 0), len(self.values) - 1)]

    def to_unit(self, value: Value) -> float:
        """Return the centre of the value's bin."""
        return (self.position(value) + 0.5) / len(self.values)

    def value_at(self, position: int) -> Value:
        """Return the value at a position, from 0."""
        return self.values[position]

    def position(self, value: Value) -> int:
        """Return the position of a value."""
        return self._keys.index(json.dumps(value))

    def checked(self, name: str, value: object) -> Value:
        """Return one of the values with its own type, or raise InvalidArgument with the parameter's name."""
        plain = value.item() if isinstance(value, np.generic) else value
        if isinstance(plain, str | int | float | None) and (key := json.dumps(plain)) in self._keys:
            return self.values[self._keys.index(key)]
        raise refusal(name, value, f"one of {list(self.values)}")


@frozen(repr=False, eq=False)
class Categorical(Listed):
    """One of a list of values that have no order.

    Args:
        values: Strings, numbers, booleans or None; at least one, without duplicates. ``True``, ``1`` and ``1.0`` are
            three different values, and a value keeps its type.
        when: A condition, as in ``Continuous``.

    Raises:
        InvalidArgument: The list is empty, or contains a duplicate or a value of another type; or ``when`` is no
            condition.
    """

    values: Sequence[Value] = checked(_categories)
    kind: ClassVar[str] = "categorical"


@frozen(repr=False, eq=False)
class Ordinal(Listed):
    """One of a list of values that have an order: that of the list.

    The surrogate sees the places of the values in the list, evenly spaced, and not how far apart they are. Values such
    as 16, 32, 64 and 128 thus have the logarithmic scale that they are listed on.

    Args:
        values: Numbers or strings, from one end to the other; at least one, none twice. A value keeps its type.
        when: A condition, as in ``Continuous``.

    Raises:
        InvalidArgument: The list is empty, or contains a value twice or one of another type; or ``when`` is no
            condition.
    """

    values: Sequence[str | int | float] = checked(_ordered)
    kind: ClassVar[str] = "ordinal"

    def checked(self, name: str, value: object) -> Value:
        """Return one of the values with its own type, or raise InvalidArgument with the parameter's name."""
        plain = value.item() if isinstance(value, np.generic) else value
        if isinstance(plain, str | int | float) and not isinstance(plain, bool):
            for own in self.values:
                if own == plain:
                    return own
        raise refusal(name, value, f"one of {list(self.values)}")


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
