"""The candidates that may be tried: they meet the space's constraint, and their risk to fail is small."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hpo_plugins.space import FloatArray, Space
from hpo_plugins.space.sobol import draw

MIN_CANDIDATES = 32
"""If fewer candidates are valid, random draws that are valid are added."""
N_HALVINGS = 12
"""Steps back from an invalid point to the border of the valid ones."""


class Risk(Protocol):
    """The probabilities that configurations cannot be trained."""

    max_risk: float
    """The largest probability that is accepted."""

    def risk(self, points: FloatArray) -> FloatArray:
        """Return the probabilities of snapped points, shape ``(n,)``."""


class ValidPoints:
    """Filters points of a space.

    Args:
        space: The space.
        risk: What is known of configurations that cannot be trained.
    """

    def __init__(self, space: Space, risk: Risk | None = None) -> None:
        """Remember the arguments."""
        self._space = space
        self._risk = risk

    def mask(self, points: FloatArray) -> NDArray[np.bool_]:
        """Return which of the points may be tried, shape ``(n,)``."""
        found = self._is_valid(points)
        if self._risk is not None:
            found &= self._risk.risk(points) <= self._risk.max_risk
        return found

    def _is_valid(self, points: FloatArray) -> NDArray[np.bool_]:
        space = self._space
        if space.valid is None:
            return np.ones(len(points), dtype=bool)
        return np.array([space.accepts(space.decode(point)) for point in points], dtype=bool)

    def among(self, points: FloatArray, incumbents: FloatArray, first: int) -> FloatArray:
        """Return those of the points that may be tried; if they are few, with others.

        If few are valid, valid draws are added. If few are safe, points on the way from the incumbents to the others
        are added, and if none is safe, the safest one is returned.

        Args:
            points: Shape ``(n, d)``.
            incumbents: The best configurations known, shape ``(i, d)``.
            first: The index of the first draw to add.
        """
        points = points[self._is_valid(points)]
        if len(points) < MIN_CANDIDATES:
            space, size = self._space, self._space.size
            indices = range(first, first + min(MIN_CANDIDATES, size or MIN_CANDIDATES))
            added = [space.encode(draw(space, 0, index if size is None else index % size)) for index in indices]
            points = np.vstack([points, added])
        if self._risk is None:
            return points
        if len(incumbents) and (self._risk.risk(points) <= self._risk.max_risk).sum() < MIN_CANDIDATES:
            rolled = [np.roll(incumbents, n, axis=0) for n in range(1, len(incumbents))]  # between two it is often safe
            ends = np.concatenate([points[: 2 * MIN_CANDIDATES], *rolled])
            first_of = np.arange(2 * MIN_CANDIDATES)[: len(points)] % len(incumbents)
            starts = np.concatenate([incumbents[first_of], *[incumbents] * len(rolled)])
            moved = self.retreat(starts, ends)
            points = np.vstack([points, moved[self._is_valid(moved)]])
        risks = self._risk.risk(points)
        return points[risks <= max(self._risk.max_risk, float(risks.min()))]

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
