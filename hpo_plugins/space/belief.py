"""Beliefs about good values: a density over the unit cube, one factor for each parameter that has a ``prior``.

Notation
    u         a coordinate in [0, 1]
    m, s      the coordinate of a believed value, and the standard deviation around it
    w_k       the weight of value k of a list; k covers the bin ``[k / K, (k + 1) / K]``
    p(u)      the belief: a normal distribution around m, truncated to [0, 1], or K w_k in bin k

A parameter without a ``prior`` is uniform: p(u) = 1.

References:
    Hvarfner, Stoll, Souza, Lindauer, Hutter, Nardi, "piBO: Augmenting Acquisition Functions with User Beliefs for
    Bayesian Optimization", ICLR 2022 (a density over the space that steers and fades).
    Mallik, Bergman, Hvarfner, Stoll, Janowski, Lindauer, Nardi, Hutter, "PriorBand: Practical Hyperparameter
    Optimization in the Age of Deep Learning", NeurIPS 2023 (truncated normals around a value).
"""

from __future__ import annotations

from collections.abc import Mapping
from statistics import NormalDist
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from hpo_plugins.errors import InvalidArgument
from hpo_plugins.space.values import FloatArray

DEVIATIONS = {"low": 1 / 4, "medium": 1 / 8, "high": 1 / 16}
"""Standard deviation around a believed value, in units of the range on its scale (docs/decisions/0033)."""
ODDS = {"low": 2.0, "medium": 4.0, "high": 8.0}
"""How many times likelier than each other value of a list without an order the believed one is."""
UNIFORM_SHARE = 0.1
"""Share of a uniform density in ``Belief.loss``: no place is believed to be infinitely bad."""


class Factor(Protocol):
    """The belief about one parameter."""

    @property
    def mode(self) -> float:
        """The coordinate of the most likely value."""

    def quantile(self, u: FloatArray) -> FloatArray:
        """Return the coordinates at uniform ones: the inverse distribution function."""

    def density(self, u: FloatArray) -> FloatArray:
        """Return p(u); 1 is uniform."""

    def slope(self, u: FloatArray) -> FloatArray:
        """Return the derivative of p."""


class Around(NamedTuple):
    """A normal distribution around a coordinate, truncated to [0, 1]."""

    mode: float
    deviation: float

    @property
    def _mass(self) -> tuple[float, float]:
        """The normal distribution function at 0, and the part of it between 0 and 1."""
        normal = NormalDist(self.mode, self.deviation)
        return normal.cdf(0.0), normal.cdf(1.0) - normal.cdf(0.0)

    def quantile(self, u: FloatArray) -> FloatArray:
        """Return the coordinates at uniform ones."""
        from scipy.special import ndtri  # imported here: `import hpo_plugins` loads no scipy

        below, mass = self._mass
        found: FloatArray = np.clip(self.mode + self.deviation * ndtri(below + u * mass), 0.0, 1.0)
        return found

    def density(self, u: FloatArray) -> FloatArray:
        """Return p(u)."""
        z = (u - self.mode) / self.deviation
        found: FloatArray = np.exp(-0.5 * z * z) / (np.sqrt(2 * np.pi) * self.deviation * self._mass[1])
        return found

    def slope(self, u: FloatArray) -> FloatArray:
        """Return the derivative of p."""
        return -self.density(u) * (u - self.mode) / self.deviation**2


class Weighted(NamedTuple):
    """A weight for each value of a list; they sum to 1."""

    weights: tuple[float, ...]

    @property
    def mode(self) -> float:
        """The centre of the bin of the first value of largest weight."""
        return (int(np.argmax(self.weights)) + 0.5) / len(self.weights)

    def quantile(self, u: FloatArray) -> FloatArray:
        """Return the coordinates at uniform ones."""
        edges = np.linspace(0.0, 1.0, len(self.weights) + 1)
        chosen = np.array(self.weights) > 0  # an empty bin has no inverse
        ends = np.append(0.0, np.cumsum(np.array(self.weights)[chosen]))
        ends /= ends[-1]
        index = np.clip(np.searchsorted(ends, u, side="right") - 1, 0, len(ends) - 2)
        inside = (u - ends[index]) / (ends[index + 1] - ends[index])
        low, width = edges[:-1][chosen][index], 1 / len(self.weights)
        found: FloatArray = low + np.clip(inside, 0.0, 1 - 1e-9) * width
        return found

    def density(self, u: FloatArray) -> FloatArray:
        """Return p(u)."""
        size = len(self.weights)
        index = np.clip((u * size).astype(int), 0, size - 1)
        found: FloatArray = size * np.array(self.weights)[index]
        return found

    def slope(self, u: FloatArray) -> FloatArray:
        """Return 0: a list has no directions."""
        return np.zeros_like(u)


class Belief:
    """The belief about the configurations of a space.

    Args:
        parameters: Name to parameter, in the order of the unit cube's coordinates.

    Attributes:
        factors: Index of a parameter to the belief about it, for those that have one.
    """

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        """Collect the factors."""
        self._size = len(parameters)
        found = ((index, parameter.belief) for index, parameter in enumerate(parameters.values()))
        self.factors: dict[int, Factor] = {index: factor for index, factor in found if factor is not None}

    def __bool__(self) -> bool:
        """Return whether something is believed."""
        return bool(self.factors)

    @property
    def mode(self) -> FloatArray:
        """The most likely point, shape ``(d,)``; parameters without a belief are at their middle."""
        point = np.full(self._size, 0.5)
        for index, factor in self.factors.items():
            point[index] = factor.mode
        return point

    def quantile(self, points: FloatArray) -> FloatArray:
        """Return points of the belief at uniform ones, shape ``(n, d)``: evenly spread points stay so."""
        moved = points.copy()
        for index, factor in self.factors.items():
            moved[:, index] = factor.quantile(points[:, index])
        return moved

    def loss(self, points: FloatArray, active: NDArray[np.bool_]) -> FloatArray:
        """Return how bad points are believed to be, shape ``(n,)``: minus the logarithm of the density.

        Each factor is mixed with a uniform density, and is 0 where its parameter is inactive.

        Args:
            points: Snapped points, shape ``(n, d)``.
            active: Which parameters are active, shape ``(n, d)``.
        """
        total = np.zeros(len(points))
        for index, factor in self.factors.items():
            total -= np.where(active[:, index], np.log(_mixed(factor.density(points[:, index]))), 0.0)
        return total

    def gradient(self, points: FloatArray, active: NDArray[np.bool_]) -> FloatArray:
        """Return the derivative of ``loss`` with respect to the points, shape ``(n, d)``."""
        found = np.zeros_like(points)
        for index, factor in self.factors.items():
            u = points[:, index]
            slope = (1 - UNIFORM_SHARE) * factor.slope(u) / _mixed(factor.density(u))
            found[:, index] = -slope * active[:, index]
        return found


def _mixed(density: FloatArray) -> FloatArray:
    return (1 - UNIFORM_SHARE) * density + UNIFORM_SHARE


def check_beliefs(parameters: Mapping[str, Any]) -> None:
    """Raise InvalidArgument if a parameter has a prior, but is believed never to be active."""
    for name, parameter in parameters.items():
        for parent, values in (parameter.condition or {}).items() if parameter.prior is not None else ():
            belief = parameters[parent].belief
            units = np.array([parameters[parent].to_unit(value) for value in values])
            if belief is not None and not belief.density(units).any():
                raise InvalidArgument(
                    f"space[{name!r}] must not have prior={parameter.prior!r} while it is believed to be inactive: "
                    f"{parent!r} has weight 0 for {list(values)}. Give one of them a weight, or leave the prior out."
                )
