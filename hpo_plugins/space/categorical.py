"""Parameters that list their values: without an order, or with one."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from hpo_plugins._fields import checked, frozen
from hpo_plugins._validation import is_text, refusal
from hpo_plugins.errors import InvalidArgument
from hpo_plugins.space.base import ParameterBase
from hpo_plugins.space.belief import ODDS, Factor, Weighted
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


def _believed(_: str, prior: Any) -> Any:
    return prior  # checked when the values are known


class Listed(ParameterBase):
    """A parameter with a list of values: each has a bin of the unit interval, and all bins are equally wide."""

    values: Sequence[Value]

    @property
    def _keys(self) -> tuple[str, ...]:
        return _keys(self.values)

    @property
    def _identity(self) -> tuple[object, ...]:
        return self._keys, self.when, json.dumps(self.prior), self.confidence

    def __eq__(self, other: object) -> bool:
        """Return whether the other parameter has the same values and prior, of the same types, and condition."""
        return type(other) is type(self) and self._identity == other._identity

    def __hash__(self) -> int:
        """Return the hash of what ``==`` compares."""
        return hash(self._identity)

    def _checked_prior(self) -> Any:
        if not isinstance(self.prior, Mapping | list | tuple | np.ndarray):
            return self.checked("prior", self.prior)
        if self.confidence != "medium":
            raise InvalidArgument(
                f"confidence must be left out if prior= gives a weight to each value, but got confidence="
                f"{self.confidence!r}."
            )
        return _weights(self.prior, self)

    @property
    def belief_text(self) -> str:
        """What is believed about it, in words; empty without a ``prior``."""
        if not isinstance(self.prior, tuple):
            return super().belief_text
        return " or ".join(f"{value!r} ({weight:.0%})" for value, weight in zip(self.values, self.prior, strict=True))

    @property
    def belief(self) -> Factor | None:
        """What is believed about it, None without a ``prior``."""
        return Weighted(self.prior) if isinstance(self.prior, tuple) else super().belief

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
        prior: A value that you believe to be good, or how much you believe in each: a list of weights in the order of
            the values, or a dict from value to weight; weights sum to 1. None for no belief.
        confidence: How much more likely than each other one the value is: ``"low"``, ``"medium"`` or
            ``"high"``, 2, 4 or 8 times. Left out with weights.
        when: A condition, as in ``Continuous``.

    Raises:
        InvalidArgument: The list is empty, or contains a duplicate or a value of another type; ``prior`` is no
            value of it and no distribution; or ``when`` is no condition.
    """

    values: Sequence[Value] = checked(_categories)
    prior: Value | Sequence[float] | Mapping[Any, float] = checked(_believed, default=None, kw_only=True)  # type: ignore[misc]  # a field here
    kind: ClassVar[str] = "categorical"

    @property
    def belief(self) -> Factor | None:
        """What is believed about it, None without a ``prior``."""
        if self.prior is None or isinstance(self.prior, tuple):
            return super().belief
        odds = [1.0] * len(self.values)
        odds[self.position(self.prior)] = ODDS[self.confidence]  # type: ignore[arg-type]  # one of its values
        return Weighted(tuple(each / sum(odds) for each in odds))


@frozen(repr=False, eq=False)
class Ordinal(Listed):
    """One of a list of values that have an order: that of the list.

    The surrogate sees the places of the values in the list, evenly spaced, and not how far apart they are. Values such
    as 16, 32, 64 and 128 thus have the logarithmic scale that they are listed on.

    Args:
        values: Numbers or strings, from one end to the other; at least one, none twice. A value keeps its type.
        prior: A value that you believe to be good, or a weight for each, as in ``Categorical``.
        confidence: How near a believed value the best one is believed to be, as in ``Continuous``; the list is the
            range.
        when: A condition, as in ``Continuous``.

    Raises:
        InvalidArgument: The list is empty, or contains a value twice or one of another type; ``prior`` is no
            value of it and no distribution; or ``when`` is no condition.
    """

    values: Sequence[str | int | float] = checked(_ordered)
    prior: Value | Sequence[float] | Mapping[Any, float] = checked(_believed, default=None, kw_only=True)  # type: ignore[misc]  # a field here
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


def _weights(prior: Any, parameter: Listed) -> tuple[float, ...]:
    """Return the weights of a prior by position of the values.

    Raises:
        InvalidArgument: They are not a distribution over the values.
    """
    if isinstance(prior, Mapping):
        named = {parameter.position(parameter.checked("prior", value)): weight for value, weight in prior.items()}
        prior = [named.get(position) for position in range(len(parameter.values))]
    given = list(prior)
    plain = [weight.item() if isinstance(weight, np.generic) else weight for weight in given]
    numbers = [weight for weight in plain if isinstance(weight, int | float) and not isinstance(weight, bool)]
    is_distribution = len(numbers) == len(plain) and all(0 <= weight <= 1 for weight in numbers)
    if len(plain) != len(parameter.values) or not is_distribution or abs(sum(numbers) - 1) > 1e-3:
        raise refusal("prior", given, f"one of {list(parameter.values)}, or a weight of each of them, which sum to 1")
    return tuple(float(weight) for weight in numbers)
