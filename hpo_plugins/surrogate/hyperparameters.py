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


class Hyperpriors(NamedTuple):
    """All that is believed of a study's process before its first loss.

    Attributes:
        length: Of l. Its mean grows by log(m) / 2: the more parameters, the smoother in each (Hvarfner, Hellsten,
            Nardi, "Vanilla Bayesian Optimization Performs Great in High Dimensions", ICML 2024). Mean and deviation are
            smaller than theirs (sqrt 2 and sqrt 3): docs/decisions/0014.
        signal: Of s.
        noise: Of the noise's variance.
        warp: Of the warp's a and b.
        time: Of s_t.
        time_scale: Of l_t.
        trend: Of s_x.
        own: Of s_o.
        own_scale: Of l_o.
        improvement: b, the expected decrease of losses from the first to the last epoch. Without it, while all curves
            are short, no further improvement is predicted. The term improves predictions; searches gain little
            (docs/decisions/0001).
        improvement_variance: s_b.
    """

    length: Prior = Prior(-0.5, 1.0, math.log(0.03), math.log(300.0))
    signal: Prior = Prior(0.0, 1.0, -4.0, 4.0)
    noise: Prior = Prior(-9.0, 2.0, math.log(1e-6), 0.0)
    warp: Prior = Prior(0.0, 0.6, math.log(0.2), math.log(5.0))
    time: Prior = Prior(-1.0, 1.5, -9.0, 3.0)
    time_scale: Prior = Prior(0.0, 1.0, math.log(0.05), math.log(30.0))
    trend: Prior = Prior(-1.0, 1.5, -9.0, 3.0)
    own: Prior = Prior(-6.0, 2.5, -14.0, 3.0)
    own_scale: Prior = Prior(0.0, 1.0, math.log(0.05), math.log(30.0))
    improvement: float = 2.0
    improvement_variance: float = 1.0


HYPERPRIORS = Hyperpriors()
"""Those of all searches. What empirical Bayes over families of curves says instead is in docs/decisions/0045."""


@dataclass(frozen=True)
class Layout:
    """The list of hyperparameters, and their positions in ``theta``.

    Args:
        groups: The group of each column, shape ``(m,)``; groups are numbered from 0 in order.
        warped: The columns that are warped: numbers, not categories.
        curves: Whether the last column is the epoch, and the terms for curves are present.
        hyperpriors: What is believed of them.
    """

    groups: IntArray
    warped: IntArray
    curves: bool
    hyperpriors: Hyperpriors = field(default_factory=lambda: HYPERPRIORS)
    priors: tuple[Prior, ...] = field(init=False)

    def __post_init__(self) -> None:
        """List the priors in the order of ``theta``: l, s, noise, the warp's a and b, then those of curves."""
        count, known = int(self.groups[-1]) + 1, self.hyperpriors
        scale = known.length._replace(mean=known.length.mean + math.log(count) / 2)
        priors = [scale] * count + [known.signal, known.noise] + [known.warp] * (2 * len(self.warped))
        if self.curves:
            priors += [known.time, known.time_scale, known.trend, known.own, known.own_scale]
        object.__setattr__(self, "priors", tuple(priors))

    @property
    def size(self) -> int:
        """The length of ``theta``."""
        return len(self.priors)

    def with_noise(self, log_noise: float) -> Layout:
        """Return the layout for a known noise variance.

        Args:
            log_noise: The logarithm of the variance, in units of the observed losses' variance.
        """
        fixed = Layout(self.groups, self.warped, self.curves, self.hyperpriors)
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
