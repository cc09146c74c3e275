"""The hyperparameters of the covariance function (``kernel``), their priors and their positions in theta.

Theta is the vector of their logarithms; priors are normal, and bounded only for the search.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hpo_plugins.space import FloatArray

IntArray = NDArray[np.intp]


class Prior(NamedTuple):
    """The normal prior of a logarithmic hyperparameter, and the bounds of its search."""

    mean: float
    deviation: float
    low: float
    high: float


LENGTH_SCALE = Prior(-0.5, 1.0, math.log(0.03), math.log(300.0))
"""Its mean grows by log(m) / 2: the more parameters, the smoother in each (Hvarfner, Hellsten, Nardi, "Vanilla Bayesian
Optimization Performs Great in High Dimensions", ICML 2024).

Mean and deviation are smaller than theirs (sqrt 2 and sqrt 3): see docs/decisions/0014.
"""
SIGNAL = Prior(0.0, 1.0, -4.0, 4.0)
NOISE = Prior(-9.0, 2.0, math.log(1e-6), 0.0)
WARP = Prior(0.0, 0.6, math.log(0.2), math.log(5.0))
TREND = Prior(-1.0, 1.5, -9.0, 3.0)
TIME_SCALE = Prior(0.0, 1.0, math.log(0.05), math.log(30.0))
OWN = Prior(-6.0, 2.5, -14.0, 3.0)


@dataclass(frozen=True)
class Layout:
    """The list of hyperparameters, and their positions in ``theta``.

    Args:
        groups: The group of each column, shape ``(m,)``; groups are numbered from 0 in order.
        warped: The columns that are warped: numbers, not categories.
        curves: Whether the last column is the epoch, and the terms for curves are present.
    """

    groups: IntArray
    warped: IntArray
    curves: bool
    priors: tuple[Prior, ...] = field(init=False)

    def __post_init__(self) -> None:
        """List the priors in the order of ``theta``: l, s, noise, the warp's a and b, then those of curves."""
        count = int(self.groups[-1]) + 1
        scale = LENGTH_SCALE._replace(mean=LENGTH_SCALE.mean + math.log(count) / 2)
        priors = [scale] * count + [SIGNAL, NOISE] + [WARP] * (2 * len(self.warped))
        object.__setattr__(self, "priors", tuple(priors + [TREND, TIME_SCALE, TREND, OWN, TIME_SCALE] * self.curves))

    @property
    def size(self) -> int:
        """The length of ``theta``."""
        return len(self.priors)

    def with_noise(self, log_noise: float) -> Layout:
        """Return the layout for a known noise variance.

        Args:
            log_noise: The logarithm of the variance, in units of the observed losses' variance.
        """
        fixed = Layout(self.groups, self.warped, self.curves)
        position = int(self.groups[-1]) + 2  # after length scales and signal
        known = Prior(log_noise, 1.0, log_noise, log_noise)
        object.__setattr__(fixed, "priors", (*self.priors[:position], known, *self.priors[position + 1 :]))
        return fixed

    def start(self) -> FloatArray:
        """Return the start of the search for ``theta``: the priors' means, with length scales of at most 1."""
        theta = np.array([prior.mean for prior in self.priors])
        count = int(self.groups[-1]) + 1
        theta[:count] = np.minimum(theta[:count], 0.0)
        return theta

    def read(self, theta: FloatArray) -> Hyperparameters:
        """Return the named parts of ``theta``."""
        values = np.exp(theta)
        count, warps = int(self.groups[-1]) + 1, len(self.warped)
        shapes = values[count + 2 : count + 2 + 2 * warps]
        time, time_scale, trend, own, own_scale = values[-5:] if self.curves else (0.0, 1.0, 0.0, 0.0, 1.0)
        return Hyperparameters(
            length=values[:count][self.groups],
            signal=float(values[count]),
            noise=float(values[count + 1]),
            a=shapes[:warps],
            b=shapes[warps:],
            time=float(time),
            time_scale=float(time_scale),
            trend=float(trend),
            own=float(own),
            own_scale=float(own_scale),
        )


class Hyperparameters(NamedTuple):
    """The parts of ``theta``: ``length`` has shape ``(m,)``; ``a`` and ``b`` have one entry per warped column."""

    length: FloatArray
    signal: float
    noise: float
    a: FloatArray
    b: FloatArray
    time: float
    time_scale: float
    trend: float
    own: float
    own_scale: float
