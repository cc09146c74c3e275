"""From the unit cube of a space to the inputs of the Gaussian process.

Notation
    d, m     parameters; columns of the inputs
    points   configurations in the unit cube, shape ``(n, d)``
    X        inputs, shape ``(n, m)`` or ``(n, m + 1)`` with the epoch as the last column

A number is one column. A category is one column a value, scaled so that any two values are at distance 1. A parameter
with one value has no column. Integers and categories are *snapped* to the heart of their cell before anything is
computed, so that the process sees what will be trained (Garrido-Merchan and Hernandez-Lobato, "Dealing with
Categorical and Integer-valued Variables in Bayesian Optimization with Gaussian Processes", Neurocomputing 380, 2020).
"""

from __future__ import annotations

import math

import numpy as np

from hpo_plugins.space import Categorical, Continuous, Integer, Space
from hpo_plugins.surrogate.kernel import FloatArray, IntArray, Layout


class Features:
    """The columns of one space.

    Args:
        space: The space.

    Attributes:
        movable: The place in the space and the column of each continuous parameter.
        discrete: The places of the parameters with several, separate values.
    """

    def __init__(self, space: Space) -> None:
        """Lay out the columns."""
        self.space = space
        self.parameters = list(space.values())
        self._first: dict[int, int] = {}
        self._fixed: list[int] = []
        groups: list[int] = []
        numbers: list[int] = []
        self.movable: list[tuple[int, int]] = []
        self.discrete: list[int] = []
        for index, parameter in enumerate(self.parameters):
            if parameter.size == 1:
                self._fixed.append(index)
                continue
            group = groups[-1] + 1 if groups else 0
            self._first[index] = len(groups)
            if isinstance(parameter, Categorical):
                groups += [group] * len(parameter.values)
            else:
                numbers.append(len(groups))
                groups.append(group)
            if isinstance(parameter, Continuous):
                self.movable.append((index, len(groups) - 1))
            else:
                self.discrete.append(index)
        self._groups: IntArray = np.array(groups, dtype=np.intp)
        self._numbers: IntArray = np.array(numbers, dtype=np.intp)

    @property
    def columns(self) -> int:
        """m, without the epoch; 0 where every parameter has one value."""
        return len(self._groups)

    def layout(self, *, curves: bool) -> Layout:
        """Return the layout of the hyperparameters, with the epoch as a further group if asked for."""
        groups = self._groups
        if curves:
            last = groups[-1] + 1 if len(groups) else 0
            groups = np.append(groups, last)
        return Layout(groups, self._numbers, curves)

    def snap(self, points: FloatArray) -> FloatArray:
        """Return the points with every integer and category at the heart of its cell."""
        points = np.clip(points, 0.0, 1.0)
        points[:, self._fixed] = 0.5
        for index in self.discrete:
            points[:, index] = _hearts(self.parameters[index], points[:, index])
        return points

    def keys(self, points: FloatArray) -> list[bytes]:
        """Return what is equal for points that are the same configuration to seven digits."""
        return [row.tobytes() for row in np.round(self.snap(points), 7) + 0.0]

    def inputs(self, points: FloatArray, times: FloatArray | None = None) -> FloatArray:
        """Return the inputs of snapped points, with the epochs' places in [0, 1] if there are any."""
        x = np.zeros((len(points), self.columns + (times is not None)))
        for index, first in self._first.items():
            parameter = self.parameters[index]
            if isinstance(parameter, Categorical):
                chosen = np.minimum((points[:, index] * len(parameter.values)).astype(int), len(parameter.values) - 1)
                x[np.arange(len(points)), first + chosen] = math.sqrt(0.5)
            else:
                x[:, first] = points[:, index]
        if times is not None:
            x[:, -1] = times
        return x

    def neighbours(self, point: FloatArray, most: int, rng: np.random.Generator) -> FloatArray:
        """Return the point with one integer or category changed, in all ways or ``most`` a parameter."""
        moved = []
        for index in self.discrete:
            size = self.parameters[index].size or 1
            if size <= most:
                places = (np.arange(size) + 0.5) / size
            else:  # near ones and far ones
                places = np.concatenate([point[index] + rng.normal(0, 0.05, most // 2), rng.random(most - most // 2)])
                places = np.append(places, [point[index] + 1.01 / size, point[index] - 1.01 / size])
            rows = np.repeat(point[None], len(places), axis=0)
            rows[:, index] = places
            moved.append(rows)
        return self.snap(np.concatenate(moved)) if moved else np.empty((0, len(point)))


def _hearts(parameter: Categorical | Integer | Continuous, u: FloatArray) -> FloatArray:
    """Return ``to_unit(from_unit(u))`` for a column."""
    size = parameter.size or 1
    if isinstance(parameter, Integer) and parameter.resolved_scale == "log":
        low, high = math.log(parameter.low - 0.5), math.log(parameter.high + 0.5)
        value = np.clip(np.round(np.exp(low + (high - low) * u)), parameter.low, parameter.high)
        return (np.log(value) - low) / (high - low)
    return (np.minimum(np.floor(u * size), size - 1) + 0.5) / size
