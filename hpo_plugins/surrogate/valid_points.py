"""The candidates of a space with a constraint: which are valid, and which valid ones are near the others."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hpo_plugins.space import FloatArray, Space
from hpo_plugins.space.sobol import draw

MIN_CANDIDATES = 32
"""If fewer candidates are valid, random draws that are valid are added."""
N_HALVINGS = 12
"""Steps back from an invalid point to the border of the valid ones."""


class ValidPoints:
    """Filters points of a space with a constraint.

    Args:
        space: The space.
    """

    def __init__(self, space: Space) -> None:
        """Remember the space."""
        self._space = space

    def mask(self, points: FloatArray) -> NDArray[np.bool_]:
        """Return which of the points are valid configurations, shape ``(n,)``."""
        return np.array([self._space.accepts(self._space.decode(point)) for point in points], dtype=bool)

    def among(self, points: FloatArray, first: int) -> FloatArray:
        """Return the valid ones of the points and, if they are few, valid draws.

        Args:
            points: Shape ``(n, d)``.
            first: The index of the first draw to add.
        """
        valid = points[self.mask(points)]
        if len(valid) >= MIN_CANDIDATES:
            return valid
        space, size = self._space, self._space.size
        added = [
            draw(space, 0, (first + n) % (size or 2**62)) for n in range(min(MIN_CANDIDATES, size or MIN_CANDIDATES))
        ]
        return np.vstack([valid, [space.encode(params) for params in added]])

    def retreat(self, starts: FloatArray, ends: FloatArray) -> FloatArray:
        """Return the ends; instead of an invalid one, the last valid point found on the way to it from its start.

        Args:
            starts: Points, shape ``(n, d)``.
            ends: Points with the same integers and categories.
        """
        low, high = np.zeros(len(starts)), np.ones(len(starts))
        low[self.mask(ends)] = 1.0
        for _ in range(N_HALVINGS):
            middle = (low + high) / 2
            is_valid = self.mask(starts + middle[:, None] * (ends - starts))
            low, high = np.where(is_valid, middle, low), np.where(is_valid, high, middle)
        points: FloatArray = np.where((low == 1.0)[:, None], ends, starts + low[:, None] * (ends - starts))
        return points
