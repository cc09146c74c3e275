"""Evenly spaced values: ``low, low + step, ...`` up to ``high``, and the bin of each in the unit interval.

Bins are equally wide on the linear scale. On the log scale, the bin of x spans ``[x - step/2, x + step/2]``. The bin of
the first value reaches as far down as up in logarithms, since ``low - step/2`` may be negative. The reverse log scale
is the log scale of 1 - x.
"""

from __future__ import annotations

import math
from decimal import Decimal
from typing import NamedTuple

import numpy as np

from hpo_plugins.errors import InvalidArgument
from hpo_plugins.space.values import FloatArray, Scale

_DUST = 1e-9
"""Of a step: how far rounding may move a bound or a value."""
_MAX_REAL_VALUES = 2**53
"""The most values of a real number with steps: floats count them exactly."""


class Steps(NamedTuple):
    """The values of a number with a step.

    Attributes:
        low: The smallest value.
        step: The distance between values.
        size: The number of values.
        scale: ``"linear"``, ``"log"`` or ``"reverse_log"``.
    """

    low: float
    step: float
    size: int
    scale: Scale

    @property
    def last(self) -> float:
        """The largest value."""
        return self.low + (self.size - 1) * self.step

    def position_at(self, u: float) -> int:
        """Return the position of the value whose bin contains ``u``."""
        return max(0, min(int(self.positions(np.array([u]))[0]), self.size - 1))

    def positions(self, u: FloatArray) -> FloatArray:
        """Return the positions of the values whose bins contain the coordinates."""
        if self.scale == "reverse_log":
            return float(self.size - 1) - self._mirrored.positions(1 - u)
        if self.scale == "log":
            low, high = self._log_bounds
            found = np.round((np.exp(low + (high - low) * u) - self.low) / self.step)
        else:
            found = np.floor(u * float(self.size))
        return np.clip(found, 0, float(self.size - 1))

    def units(self, positions: FloatArray) -> FloatArray:
        """Return a coordinate within the bin of each position, always the same one."""
        if self.scale == "reverse_log":
            return 1 - self._mirrored.units(float(self.size - 1) - positions)
        if self.scale == "log":
            low, high = self._log_bounds
            units: FloatArray = (np.log(self.low + positions * self.step) - low) / (high - low)
            return units
        return (positions + 0.5) / float(self.size)

    def unit_of(self, position: int) -> float:
        """Return the coordinate of one position."""
        return float(self.units(np.array([float(position)]))[0])

    def nearest(self, value: float) -> int:
        """Return the position of the value nearest to a number."""
        return max(0, min(round((value - self.low) / self.step), self.size - 1))

    def centres(self, u: FloatArray) -> FloatArray:
        """Return the coordinate of the bin that each of the coordinates lies in."""
        return self.units(self.positions(u))

    @property
    def _mirrored(self) -> Steps:
        """The values 1 - x on the log scale."""
        return Steps(1 - self.last, self.step, self.size, "log")

    @property
    def _log_bounds(self) -> tuple[float, float]:
        low, half = math.log(self.low), self.step / 2
        return low - math.log1p(half / self.low), math.log(self.last + half)


def check_step(low: float, high: float, step: float) -> None:
    """Raise InvalidArgument if a step leads from ``low`` to no other value up to ``high``, or to too many.

    Args:
        low: The lower bound.
        high: The upper bound.
        step: The step, above 0.
    """
    if low < high and step > (high - low) * (1 + _DUST):
        raise InvalidArgument(f"step must be at most high - low, {high - low:g}, but got step={step!r}.")
    if isinstance(step, float) and low < high:
        is_lost = low + step == low or high - step == high
        if is_lost or (high - low) / step > _MAX_REAL_VALUES:
            raise InvalidArgument(
                f"step must be larger for bounds of {low:g} and {high:g}, or floats cannot tell the values apart, but "
                f"got step={step!r}. Leave it out for all values between them."
            )


def count(low: float, high: float, step: float) -> int:
    """Return the number of values from ``low`` up to ``high``; a bound that rounding has moved counts."""
    return int((_exact(high) - _exact(low)) / _exact(step) + Decimal(_DUST)) + 1


def real_value(low: float, high: float, step: float, position: int) -> float:
    """Return the value at a position as a person writes it: 0.15, not 0.15000000000000002."""
    value = float(_exact(low) + position * _exact(step))
    return high if abs(value - high) <= _DUST * step else value


def _exact(value: float) -> Decimal:
    """Return the number that a float's shortest notation stands for."""
    return Decimal(repr(value))


def is_on_step(value: float, given: float, step: float) -> bool:
    """Return whether a given number is a value, up to rounding."""
    return abs(value - given) <= _DUST * step
