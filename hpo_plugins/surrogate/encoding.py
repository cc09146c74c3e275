"""The encoding of configurations as inputs of the Gaussian process.

Notation
    d, m     parameters; columns of the inputs
    points   configurations in the unit cube, shape ``(n, d)``
    X        inputs, shape ``(n, m)`` or ``(n, m + 1)`` with the epoch as the last column

A number is one column, and so is a list of ordered values: its places. A category is one column per value, scaled so
that any two values have distance 1. A parameter with a single value has no column. A parameter is *inactive* if its
condition is not met. Inactive numbers are encoded as 0.5, and all columns of an inactive category as 0, so that
configurations never differ in inactive parameters. The parameter that the condition names explains the effect of their
absence (docs/decisions/0013). Integers, numbers with a step, ordered values and categories are *snapped* to the centre
of their bin first, so that the process sees what will be trained (Garrido-Merchan and Hernandez-Lobato, "Dealing with
Categorical and Integer-valued Variables in Bayesian Optimization with Gaussian Processes", Neurocomputing 380, 2020).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpo_plugins.space import Categorical, Continuous, FloatArray, Integer, Parameter, Space, Value
from hpo_plugins.surrogate.hyperparameters import IntArray, Layout


class InputEncoder:
    """Encodes the configurations of one space.

    Args:
        space: The space.

    Attributes:
        continuous: The index and the column of each continuous parameter.
        discrete: The indices of parameters with several, but not infinitely many values.
    """

    def __init__(self, space: Space) -> None:
        """Assign the columns."""
        self.space = space
        self.parameters = list(space.values())
        self._first: dict[int, int] = {}
        self._fixed: list[int] = []
        groups: list[int] = []
        numbers: list[int] = []
        self.continuous: list[tuple[int, int]] = []
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
            if parameter.size is None:
                self.continuous.append((index, len(groups) - 1))
            else:
                self.discrete.append(index)
        self._groups: IntArray = np.array(groups, dtype=np.intp)
        self._numbers: IntArray = np.array(numbers, dtype=np.intp)
        self._conditions = [
            (self._index(name), [(self._index(parent), self._centres(parent, when[parent])) for parent in when])
            for name in space.conditions.order
            if (when := space.conditions.of.get(name)) is not None
        ]

    def _index(self, name: str) -> int:
        return list(self.space).index(name)

    def _centres(self, name: str, values: Sequence[Value]) -> FloatArray:
        parameter: Any = self.space[name]
        return _bin_centres(parameter, np.array([parameter.to_unit(value) for value in values]))

    @property
    def columns(self) -> int:
        """m, without the epoch; 0 if every parameter has a single value."""
        return len(self._groups)

    def layout(self, *, curves: bool) -> Layout:
        """Return the layout of the hyperparameters.

        Args:
            curves: Whether curves are modelled, so that the epoch is a further group.
        """
        groups = self._groups
        if curves:
            last = groups[-1] + 1 if len(groups) else 0
            groups = np.append(groups, last)
        return Layout(groups, self._numbers, curves)

    def snap(self, points: FloatArray) -> FloatArray:
        """Return the points with every integer and category at the centre of its bin."""
        points = np.clip(points, 0.0, 1.0)
        points[:, self._fixed] = 0.5
        for index in self.discrete:
            points[:, index] = _bin_centres(self.parameters[index], points[:, index])
        if self._conditions:
            points[~self.active(points)] = 0.5
        return points

    def active(self, points: FloatArray) -> NDArray[np.bool_]:
        """Return which parameters are active, shape ``(n, d)``.

        Args:
            points: Shape ``(n, d)``, with integers and categories at the centres of their bins.
        """
        active = np.ones(points.shape, dtype=bool)
        for index, parents in self._conditions:
            for parent, centres in parents:
                active[:, index] &= active[:, parent] & np.isin(points[:, parent], centres)
        return active

    def keys(self, points: FloatArray) -> list[bytes]:
        """Return keys that are equal for points that are the same configuration to seven digits."""
        return [row.tobytes() for row in np.round(self.snap(points), 7) + 0.0]

    def inputs(self, points: FloatArray, log_fidelities: FloatArray | None = None) -> FloatArray:
        """Return the inputs X of snapped points.

        Args:
            points: Shape ``(n, d)``.
            log_fidelities: The epochs as log-fidelities in [0, 1], shape ``(n,)``; None if curves are not modelled.
        """
        x = np.zeros((len(points), self.columns + (log_fidelities is not None)))
        active = self.active(points)
        for index, first in self._first.items():
            parameter = self.parameters[index]
            if isinstance(parameter, Categorical):
                chosen = np.minimum((points[:, index] * len(parameter.values)).astype(int), len(parameter.values) - 1)
                x[np.arange(len(points)), first + chosen] = math.sqrt(0.5) * active[:, index]
            else:
                x[:, first] = points[:, index]
        if log_fidelities is not None:
            x[:, -1] = log_fidelities
        return x

    def points(self, x: FloatArray) -> FloatArray:
        """Return the snapped points of inputs, shape ``(n, d)``: the inverse of ``inputs``; epochs are left out.

        Args:
            x: Shape ``(n, m)`` or ``(n, m + 1)``.
        """
        points = np.full((len(x), len(self.parameters)), 0.5)
        for index, first in self._first.items():
            parameter = self.parameters[index]
            if isinstance(parameter, Categorical):
                columns = x[:, first : first + len(parameter.values)]
                centres = (np.argmax(columns, axis=1) + 0.5) / len(parameter.values)
                points[:, index] = np.where(columns.any(axis=1), centres, 0.5)
            else:
                points[:, index] = x[:, first]
        return points

    def columns_of(self, gradient: FloatArray) -> FloatArray:
        """Return a derivative with respect to points as one with respect to inputs, shape ``(n, m)``; 0 for categories.

        Args:
            gradient: Shape ``(n, d)``.
        """
        found = np.zeros((len(gradient), self.columns))
        for index, first in self._first.items():
            if not isinstance(self.parameters[index], Categorical):
                found[:, first] = gradient[:, index]
        return found

    def neighbours(self, point: FloatArray, max_values: int, rng: np.random.Generator) -> FloatArray:
        """Return the point with one integer or category changed, shape ``(k, d)``.

        Args:
            point: Shape ``(d,)``.
            max_values: Parameters with more values than this are sampled, others enumerated.
            rng: Samples.
        """
        moved = []
        for index in self.discrete:
            size = self.parameters[index].size or 1
            steps = getattr(self.parameters[index], "steps", None)
            if size <= max_values:
                units = (np.arange(size) + 0.5) / size if steps is None else steps.units(np.arange(size))
            else:  # near and far
                far = max_values - max_values // 2
                units = np.concatenate([point[index] + rng.normal(0, 0.05, max_values // 2), rng.random(far)])
                units = np.append(units, [point[index] + 1.01 / size, point[index] - 1.01 / size])
            rows = np.repeat(point[None], len(units), axis=0)
            rows[:, index] = units
            moved.append(rows)
        return self.snap(np.concatenate(moved)) if moved else np.empty((0, len(point)))


def _bin_centres(parameter: Parameter, u: FloatArray) -> FloatArray:
    """Return the bin centres of a column of coordinates, ``to_unit(from_unit(u))``."""
    if isinstance(parameter, Integer | Continuous) and parameter.steps is not None:
        return parameter.steps.centres(u)
    size = parameter.size or 1
    if isinstance(parameter, Integer) and parameter.resolved_scale == "log":
        low, high = math.log(parameter.low - 0.5), math.log(parameter.high + 0.5)
        value = np.clip(np.round(np.exp(low + (high - low) * u)), parameter.low, parameter.high)
        return (np.log(value) - low) / (high - low)
    return (np.minimum(np.floor(u * size), size - 1) + 0.5) / size
