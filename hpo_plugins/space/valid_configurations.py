"""The valid configurations of a space: counted and enumerated if it is finite and not too large."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from hpo_plugins.errors import InvalidArgument
from hpo_plugins.space.conditions import Conditions
from hpo_plugins.space.parameters import Parameter
from hpo_plugins.space.valid import Valid
from hpo_plugins.space.values import FloatArray, Params, Value

N_DRAWS = 10_000
"""At least one of so many random draws must be valid."""
MAX_COUNTED = 50_000
"""Finite spaces up to this size, before the constraint, are enumerated to count the valid configurations."""


class ValidConfigurations:
    """The valid configurations of a space.

    Args:
        parameters: Its parameters.
        conditions: Their conditions.
        fixed: Its fixed values.
        valid: The constraint.
    """

    def __init__(
        self, parameters: Mapping[str, Parameter], conditions: Conditions, fixed: Mapping[str, Value], valid: Valid
    ) -> None:
        """Count nothing yet."""
        self._parameters = parameters
        self._conditions = conditions
        self._fixed = fixed
        self._valid = valid

    @property
    def size(self) -> int | None:
        """The number of valid configurations, None if it is infinite or not known."""
        if not self._valid.is_known:
            return self._conditions.size
        return None if self._positions is None else len(self._positions)

    def at_index(self, index: int) -> Params:
        """Return the valid configuration of that index, fixed values aside."""
        known = self._valid.is_known and self._positions is not None
        return self._conditions.at_index(int(self._positions[index]) if known else index)  # type: ignore[index]  # known

    @functools.cached_property
    def _positions(self) -> np.ndarray[Any, np.dtype[np.intp]] | None:
        """The indices of the valid ones among all configurations."""
        size = self._conditions.size
        if size is None or size > MAX_COUNTED:
            return None
        accepted = (self._valid.accepts({**params, **self._fixed}) for params in self._all(size))
        return np.flatnonzero(np.fromiter(accepted, dtype=bool, count=size))

    def _all(self, size: int) -> Iterator[Params]:
        """Yield all configurations in order."""
        if self._conditions.of:
            yield from map(self._conditions.at_index, range(size))
            return
        each: Iterable[list[Value]] = ([p.value_at(n) for n in range(p.size or 0)] for p in self._parameters.values())
        for values in itertools.product(*each):
            yield dict(zip(self._parameters, values, strict=True))

    def check(self) -> None:
        """Raise InvalidArgument if fewer than 1 of 10,000 configurations are valid."""
        size = self._conditions.size
        if not self._valid.is_known:
            return
        if size is not None and size <= N_DRAWS:
            if self.size:
                return
            what = f"none of the {size} configurations"
        else:
            if any(map(self._accepts_point, random_points(len(self._parameters)))):
                return
            what = f"none of {N_DRAWS:,} random configurations"
        raise InvalidArgument(
            f"valid must accept at least 1 configuration in {N_DRAWS:,}, but valid={self._valid!r} accepts {what} of "
            "the space. Narrow the ranges to where it can hold, or search one of the parameters as a fraction of "
            "another one."
        )

    def _accepts_point(self, point: FloatArray) -> bool:
        units = dict(zip(self._parameters, point, strict=True))
        params = self._conditions.decode(lambda name: self._parameters[name].from_unit(float(units[name])))
        return self._valid.accepts({**params, **self._fixed})


def random_points(d: int) -> Iterator[FloatArray]:
    """Yield ``N_DRAWS`` points of the unit cube, shape ``(d,)``, always the same ones."""
    rng = np.random.default_rng(0)
    for _ in range(N_DRAWS // 100):
        yield from rng.random((100, d))
