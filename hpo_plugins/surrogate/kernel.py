"""The covariance of losses over configurations and epochs, and its way through the likelihood's gradient.

Notation
    n, m     points; columns of the inputs
    X        inputs in [0, 1], shape ``(n, m)``: a column a number, k columns a category, the last one the epoch
    Z        warped inputs, shape ``(n, m)``
    l        length scales, one a *group* of columns: a parameter, or the epoch
    theta    the logarithms of all hyperparameters in one vector, see ``Layout``
    Q        d log p(y) / d K, shape ``(n, n)``, symmetric

    k(z, z') = s M(|z/l - z'/l|) + s_t M(|t - t'| / l_t) + s_x (z - 1/2).(z' - 1/2) + c

M is Matern's function for smoothness 5/2. The second term is what all curves have in common; the third carries
trends into the corners, where optima of trainings often lie; both are there only where curves are modelled. The
constant c stands for the unknown mean.

References:
    Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006, equations 4.17 (Matern) and 5.9 (gradient).
    Snoek, Swersky, Zemel, Adams, "Input Warping for Bayesian Optimization of Non-stationary Functions", ICML 2014.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

ROOT5 = math.sqrt(5.0)
MEAN_VARIANCE = 1.0
"""c: how far the mean of all losses may lie from that of the observed ones, in their standard deviations."""
_EDGE = 1e-7
"""Warping has infinite slopes at 0 and 1."""


class Prior(NamedTuple):
    """A normal distribution of one logarithm, and the range in which it is looked for."""

    mean: float
    deviation: float
    low: float
    high: float


LENGTH_SCALE = Prior(-0.5, 1.0, math.log(0.03), math.log(300.0))
"""Its mean grows by log(m) / 2 (Hvarfner, Hellsten, Nardi, "Vanilla Bayesian Optimization Performs Great in High
Dimensions", ICML 2024): the more parameters, the smoother in each.

Shorter and narrower than theirs (sqrt 2 and sqrt 3): on ten tasks of 5 to 11 parameters the regret after 20 and 50
evaluations was .068 and .027, with theirs .094 and .039.
"""
SIGNAL = Prior(0.0, 1.0, -4.0, 4.0)
NOISE = Prior(-9.0, 2.0, math.log(1e-6), 0.0)
WARP = Prior(0.0, 0.6, math.log(0.2), math.log(5.0))
TREND = Prior(-1.0, 1.5, -9.0, 3.0)
TIME_SCALE = Prior(0.0, 1.0, math.log(0.05), math.log(30.0))


@dataclass(frozen=True)
class Layout:
    """Which hyperparameters there are, and where they stand in ``theta``.

    Args:
        groups: The group of each column, shape ``(m,)``; groups are numbered from 0 in order.
        warped: The columns that are warped: numbers, not categories.
        curves: Whether the last column is the epoch, and the terms for curves are there.
    """

    groups: IntArray
    warped: IntArray
    curves: bool
    priors: tuple[Prior, ...] = field(init=False)

    def __post_init__(self) -> None:
        """Lay out ``theta``: length scales, s, noise, the warp's two shapes, and for curves s_t, l_t, s_x."""
        count = int(self.groups[-1]) + 1
        scale = LENGTH_SCALE._replace(mean=LENGTH_SCALE.mean + math.log(count) / 2)
        priors = [scale] * count + [SIGNAL, NOISE] + [WARP] * (2 * len(self.warped))
        object.__setattr__(self, "priors", tuple(priors + [TREND, TIME_SCALE, TREND] * self.curves))

    @property
    def size(self) -> int:
        """The length of ``theta``."""
        return len(self.priors)

    def start(self) -> FloatArray:
        """Return where the search for ``theta`` begins: the priors' means, but length scales of 1 at most."""
        theta = np.array([prior.mean for prior in self.priors])
        count = int(self.groups[-1]) + 1
        theta[:count] = np.minimum(theta[:count], 0.0)
        return theta

    def read(self, theta: FloatArray) -> Hyperparameters:
        """Return the named parts of ``theta``."""
        values = np.exp(theta)
        count, warps = int(self.groups[-1]) + 1, len(self.warped)
        shapes = values[count + 2 : count + 2 + 2 * warps]
        time, time_scale, trend = values[-3:] if self.curves else (0.0, 1.0, 0.0)
        return Hyperparameters(
            length=values[:count][self.groups],
            signal=float(values[count]),
            noise=float(values[count + 1]),
            a=shapes[:warps],
            b=shapes[warps:],
            time=float(time),
            time_scale=float(time_scale),
            trend=float(trend),
        )


class Hyperparameters(NamedTuple):
    """The parts of ``theta``: ``length`` has shape ``(m,)``; ``a`` and ``b`` one entry a warped column."""

    length: FloatArray
    signal: float
    noise: float
    a: FloatArray
    b: FloatArray
    time: float
    time_scale: float
    trend: float


def warp(layout: Layout, h: Hyperparameters, x: FloatArray) -> FloatArray:
    """Return the inputs after Kumaraswamy's distribution function ``1 - (1 - x^a)^b``, column by column."""
    z = x.copy()
    u = np.clip(x[:, layout.warped], _EDGE, 1 - _EDGE)
    z[:, layout.warped] = 1 - (1 - u**h.a) ** h.b
    return z


def warp_slopes(layout: Layout, h: Hyperparameters, x: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the derivatives of the warped columns by x, log a and log b, each of shape ``(n, n_warped)``."""
    u = np.clip(x[:, layout.warped], _EDGE, 1 - _EDGE)
    power = u**h.a
    rest = 1 - power
    outer = h.a * h.b * power * rest ** (h.b - 1)
    return outer / u, outer * np.log(u), -h.b * rest**h.b * np.log(rest)


def covariance(layout: Layout, h: Hyperparameters, z1: FloatArray, z2: FloatArray) -> FloatArray:
    """Return k between warped inputs, shape ``(n1, n2)``; noise is not in it."""
    k = _matern(_distance(z1 / h.length, z2 / h.length))
    k *= h.signal
    k += MEAN_VARIANCE
    if layout.curves:
        k += h.time * _matern(np.abs(z1[:, -1:] - z2[:, -1]) / h.time_scale)
        k += h.trend * ((z1[:, :-1] - 0.5) @ (z2[:, :-1] - 0.5).T)
    return k


def variance(layout: Layout, h: Hyperparameters, z: FloatArray) -> FloatArray:
    """Return k of each warped input with itself, shape ``(n,)``."""
    k = np.full(len(z), h.signal + MEAN_VARIANCE)
    if layout.curves:
        k += h.time + h.trend * ((z[:, :-1] - 0.5) ** 2).sum(axis=1)
    return k


def slope(layout: Layout, h: Hyperparameters, z: FloatArray, points: FloatArray, weights: FloatArray) -> FloatArray:
    """Return the derivative by each z_i of ``sum_j weights_ij k(z_i, points_j)``, shape ``(q, m)``.

    Args:
        layout: What there is.
        h: The hyperparameters.
        z: Warped inputs, shape ``(q, m)``.
        points: Warped inputs, shape ``(n, m)``.
        weights: Shape ``(q, n)``, or ``(n,)`` for the same weights everywhere.
    """
    a, b = z / h.length, points / h.length
    pull = weights * (h.signal * _matern_pull(_distance(a, b)))
    result: FloatArray = -(pull.sum(axis=1)[:, None] * a - pull @ b) / h.length
    if layout.curves:
        weights = np.broadcast_to(weights, pull.shape)
        result[:, :-1] += h.trend * (weights @ (points[:, :-1] - 0.5))
        away = z[:, -1:] - points[:, -1]
        result[:, -1] -= h.time / h.time_scale**2 * (weights * _matern_pull(np.abs(away) / h.time_scale) * away).sum(1)
    return result


def covariance_with_slopes(layout: Layout, theta: FloatArray, x: FloatArray) -> tuple[FloatArray, _Backward]:
    """Return the covariance of the points with themselves, noise included, and the way back for its gradient."""
    h = layout.read(theta)
    z = warp(layout, h, x)
    scaled = z / h.length
    distance = _distance(scaled, scaled)
    decay = np.exp(-ROOT5 * distance)
    pull = (5 / 3) * (1 + ROOT5 * distance) * decay  # -M'(r) / r
    main = 0.6 * pull + (5 / 3) * distance * distance * decay
    k = h.signal * main
    k += MEAN_VARIANCE
    time = None
    if layout.curves:
        apart = np.abs(z[:, -1:] - z[:, -1]) / h.time_scale
        time = (_matern(apart), _matern_pull(apart) * apart * apart)
        k += h.time * time[0]
        centred = z[:, :-1] - 0.5
        k += h.trend * (centred @ centred.T)
    k.flat[:: len(k) + 1] += h.noise
    return k, _Backward(layout, h, x, z, main, h.signal * pull, time)


class _Backward(NamedTuple):
    """What the forward pass leaves for the gradient."""

    layout: Layout
    h: Hyperparameters
    x: FloatArray
    z: FloatArray
    main: FloatArray
    pull: FloatArray
    time: tuple[FloatArray, FloatArray] | None

    def gradient(self, q: FloatArray) -> FloatArray:
        """Return the derivative of log p(y) by ``theta``, from Q; no n x n matrix a hyperparameter is built."""
        layout, h = self.layout, self.h
        scaled = self.z / h.length
        weights = q * self.pull
        total, mixed = weights.sum(axis=1), weights @ scaled
        by_column = 2 * ((total[:, None] * scaled * scaled) - scaled * mixed).sum(axis=0)
        by_z = -2 * (total[:, None] * scaled - mixed) / h.length
        by_length = np.bincount(layout.groups, by_column)
        parts = [by_length, [h.signal * np.vdot(q, self.main), h.noise * np.trace(q)]]
        tail = []
        if self.time is not None:
            centred = self.z[:, :-1] - 0.5
            leaning = q @ centred
            by_z[:, :-1] += 2 * h.trend * leaning
            tail = [h.time * np.vdot(q, self.time[0]), h.time * np.vdot(q, self.time[1])]
            tail.append(h.trend * np.vdot(centred, leaning))
        _, by_a, by_b = warp_slopes(layout, h, self.x)
        warped = by_z[:, layout.warped]
        return np.concatenate([*parts, (warped * by_a).sum(axis=0), (warped * by_b).sum(axis=0), tail])


def _distance(a: FloatArray, b: FloatArray) -> FloatArray:
    """Return Euclidean distances, shape ``(n1, n2)``."""
    squared = a @ b.T
    squared *= -2
    squared += (a * a).sum(axis=1)[:, None]
    squared += (b * b).sum(axis=1)
    np.maximum(squared, 0, out=squared)  # rounding
    return np.sqrt(squared, out=squared)


def _matern(r: FloatArray) -> FloatArray:
    """Return ``(1 + sqrt(5) r + 5/3 r^2) exp(-sqrt(5) r)``; this is where most of the time goes, so in place."""
    scaled = ROOT5 * r
    result = scaled / 3
    result += 1
    result *= scaled
    result += 1
    np.negative(scaled, out=scaled)
    result *= np.exp(scaled, out=scaled)
    return result


def _matern_pull(r: FloatArray) -> FloatArray:
    """Return ``-M'(r) / r``, which is finite at 0."""
    scaled = ROOT5 * r
    result = (5 / 3) * scaled
    result += 5 / 3
    np.negative(scaled, out=scaled)
    result *= np.exp(scaled, out=scaled)
    return result
