"""The covariance function of losses over configurations and epochs, and its part of the likelihood's gradient.

Notation
    n, m     points; columns of the inputs
    X        inputs in [0, 1], shape ``(n, m)``: one column per number, k per category of k values, the epoch last
    Z        warped inputs, shape ``(n, m)``
    l        length scales, one per *group* of columns: a parameter, or the epoch
    theta    the logarithms of all hyperparameters in one vector, see ``hyperparameters.Layout``
    Q        d log p(y) / d K, shape ``(n, n)``, symmetric

    m(z)     = b (1 - t)                                             the prior mean: curves improve
    k(z, z') = s M(|z/l - z'/l|) + c
               + s_b (1 - t)(1 - t')                                 uncertainty of b
               + s_t M(|t - t'| / l_t)                               a further common trend of curves
               + s_x (z - 1/2).(z' - 1/2)                            a linear trend
               + s_o [same run] (1 - t)(1 - t') M(|t - t'| / l_o)   a training run's own deviation

M is the Matern function of smoothness 5/2. The constant c stands for the unknown mean. The other terms are present only
if curves are modelled. While all training runs are short, only m predicts the values of their last epochs. The
trend extrapolates to the corners, where optima of training runs are common. A training run deviates on its way to the
value that its configuration explains, at t = 1: curves that rise late and cross. This is off unless the data ask for
it.

References:
    RW: Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006, equations 4.17
    (Matern) and 5.9 (gradient).
    Snoek, Swersky, Zemel, Adams, "Input Warping for Bayesian Optimization of Non-stationary Functions", ICML 2014.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np

from hpo_plugins.space import FloatArray
from hpo_plugins.surrogate.hyperparameters import Hyperparameters, IntArray, Layout

ROOT5 = math.sqrt(5.0)
MEAN_VARIANCE = 1.0
"""c: the variance of the unknown mean of all losses, in units of the observed losses' variance."""
_MARGIN = 1e-7
"""Keeps inputs away from 0 and 1, where the warp's derivatives are infinite."""


def warp(layout: Layout, h: Hyperparameters, x: FloatArray) -> FloatArray:
    """Return Z: the warped columns of X, transformed by Kumaraswamy's distribution function ``1 - (1 - x^a)^b``."""
    z = x.copy()
    u = np.clip(x[:, layout.warped], _MARGIN, 1 - _MARGIN)
    z[:, layout.warped] = 1 - (1 - u**h.a) ** h.b
    return z


class WarpDerivatives(NamedTuple):
    """The derivatives of warped columns with respect to x, log a and log b, shape ``(n, n_warped)`` each."""

    by_x: FloatArray
    by_log_a: FloatArray
    by_log_b: FloatArray


def warp_derivatives(layout: Layout, h: Hyperparameters, x: FloatArray) -> WarpDerivatives:
    """Return the derivatives of the warp at inputs of shape ``(n, m)``."""
    u = np.clip(x[:, layout.warped], _MARGIN, 1 - _MARGIN)
    power = u**h.a
    rest = 1 - power
    outer = h.a * h.b * power * rest ** (h.b - 1)  # x times the density a b x^(a-1) (1 - x^a)^(b-1)
    return WarpDerivatives(outer / u, outer * np.log(u), -h.b * rest**h.b * np.log(rest))


def curve_mean(layout: Layout, x: FloatArray) -> FloatArray:
    """Return m at inputs of shape ``(n, m)``, warped or not, shape ``(n,)``."""
    return layout.hyperpriors.improvement * (1 - x[:, -1]) if layout.curves else np.zeros(len(x))


def covariance(layout: Layout, h: Hyperparameters, z1: FloatArray, z2: FloatArray) -> FloatArray:
    """Return k between warped inputs of shapes ``(n1, m)`` and ``(n2, m)``, without noise, shape ``(n1, n2)``.

    Args:
        layout: Which hyperparameters there are.
        h: The hyperparameters.
        z1: Warped inputs.
        z2: Warped inputs.
    """
    k = _matern(_distance(z1 / h.length, z2 / h.length))
    k *= h.signal
    k += MEAN_VARIANCE
    if layout.curves:
        # Candidates are all at the last epoch: one row for all of them, and no deviation of their own.
        times = z1[:1, -1:] if (z1[:, -1] == z1[:1, -1]).all() else z1[:, -1:]
        k += h.time * _matern(np.abs(times - z2[:, -1]) / h.time_scale)
        k += h.trend * ((z1[:, :-1] - 0.5) @ (z2[:, :-1] - 0.5).T)
        if (times < 1).any():
            k += layout.hyperpriors.improvement_variance * (1 - times) * (1 - z2[:, -1])
            own = _own_deviation(z1, z2, h.own_scale)
            k[own.rows, own.columns] += h.own * own.value
    return k


def variance(layout: Layout, h: Hyperparameters, z: FloatArray) -> FloatArray:
    """Return k of each warped input with itself, shape ``(n,)``."""
    k = np.full(len(z), h.signal + MEAN_VARIANCE)
    if layout.curves:
        k += h.time + h.trend * ((z[:, :-1] - 0.5) ** 2).sum(axis=1)
        k += (layout.hyperpriors.improvement_variance + h.own) * (1 - z[:, -1]) ** 2
    return k


def variance_gradient(layout: Layout, h: Hyperparameters, z: FloatArray) -> FloatArray:
    """Return the derivative of ``variance`` with respect to each warped input, shape ``(n, m)``."""
    result = np.zeros_like(z)
    if layout.curves:
        result[:, :-1] = 2 * h.trend * (z[:, :-1] - 0.5)
        result[:, -1] = -2 * (layout.hyperpriors.improvement_variance + h.own) * (1 - z[:, -1])
    return result


def covariance_gradient(
    layout: Layout, h: Hyperparameters, z: FloatArray, points: FloatArray, weights: FloatArray
) -> FloatArray:
    """Return the derivative of ``sum_j weights_ij k(z_i, points_j)`` with respect to each z_i, shape ``(q, m)``.

    It leaves out a training run's own deviation, which is zero except at the points themselves.

    Args:
        layout: Which hyperparameters there are.
        h: The hyperparameters.
        z: Warped inputs, shape ``(q, m)``.
        points: Warped inputs, shape ``(n, m)``.
        weights: Shape ``(q, n)``, or ``(n,)`` for the same weights everywhere.
    """
    a, b = z / h.length, points / h.length
    # d M(|a - b|) / da = -factor(r) (a - b), with factor(r) = -M'(r) / r
    factor = weights * (h.signal * _matern_factor(_distance(a, b)))
    result: FloatArray = -(factor.sum(axis=1)[:, None] * a - factor @ b) / h.length
    if layout.curves:
        weights = np.broadcast_to(weights, factor.shape)
        result[:, :-1] += h.trend * (weights @ (points[:, :-1] - 0.5))
        lag = z[:, -1:] - points[:, -1]
        result[:, -1] -= h.time / h.time_scale**2 * (weights * _matern_factor(np.abs(lag) / h.time_scale) * lag).sum(1)
        result[:, -1] -= layout.hyperpriors.improvement_variance * weights @ (1 - points[:, -1])
    return result


def covariance_with_backward(layout: Layout, theta: FloatArray, x: FloatArray) -> tuple[FloatArray, _Backward]:
    """Return the covariance of inputs with themselves, including noise, and the backward pass of its gradient.

    Args:
        layout: Which hyperparameters there are.
        theta: Their logarithms, shape ``(layout.size,)``.
        x: Inputs, shape ``(n, m)``.
    """
    h = layout.read(theta)
    z = warp(layout, h, x)
    scaled = z / h.length
    distance = _distance(scaled, scaled)
    decay = np.exp(-ROOT5 * distance)
    factor = (5 / 3) * (1 + ROOT5 * distance) * decay  # -M'(r) / r
    main = 0.6 * factor + (5 / 3) * distance * distance * decay  # M(r), RW eq. 4.17
    k = h.signal * main
    k += MEAN_VARIANCE
    time = own = None
    if layout.curves:
        lag = np.abs(z[:, -1:] - z[:, -1]) / h.time_scale
        time = _TimeTerm(_matern(lag), _matern_factor(lag) * lag * lag)
        k += h.time * time.value
        left = 1 - z[:, -1]
        k += np.outer(layout.hyperpriors.improvement_variance * left, left)
        own = _own_deviation(z, z, h.own_scale)
        k[own.rows, own.columns] += h.own * own.value
        centred = z[:, :-1] - 0.5
        k += h.trend * (centred @ centred.T)
    k.flat[:: len(k) + 1] += h.noise
    return k, _Backward(layout, h, x, z, main, h.signal * factor, time, own)


class _TimeTerm(NamedTuple):
    """The term that all curves have in common, without its variance: its value, and its derivative by log l_t."""

    value: FloatArray
    by_log_scale: FloatArray


class _OwnTerm(NamedTuple):
    """A training run's own deviation without its variance: the entries of the covariance that are not zero.

    Attributes:
        rows: Their rows.
        columns: Their columns.
        value: Their values.
        by_log_scale: Their derivatives by log l_o.
    """

    rows: IntArray
    columns: IntArray
    value: FloatArray
    by_log_scale: FloatArray


def _own_deviation(z1: FloatArray, z2: FloatArray, scale: float) -> _OwnTerm:
    """Return the covariance of the runs' own deviations: equal configurations belong to one training run."""
    rows, columns = np.nonzero(_training_keys(z1)[:, None] == _training_keys(z2))
    t1, t2 = z1[rows, -1], z2[columns, -1]
    lag, weight = np.abs(t1 - t2) / scale, (1 - t1) * (1 - t2)
    return _OwnTerm(rows, columns, weight * _matern(lag), weight * _matern_factor(lag) * lag * lag)


class _Backward(NamedTuple):
    """Intermediate values of the forward pass for the gradient."""

    layout: Layout
    h: Hyperparameters
    x: FloatArray
    z: FloatArray
    main: FloatArray
    factor: FloatArray
    time: _TimeTerm | None
    own: _OwnTerm | None

    def gradient(self, q: FloatArray) -> FloatArray:
        """Return the derivative of log p(y) by ``theta``, from Q, without an n x n matrix per hyperparameter."""
        layout, h = self.layout, self.h
        scaled = self.z / h.length
        weights = q * self.factor
        total, mixed = weights.sum(axis=1), weights @ scaled
        # d k / d log l_c = factor (z_c - z'_c)^2 / l_c^2, summed with weights by expanding the square
        by_column = 2 * ((total[:, None] * scaled * scaled) - scaled * mixed).sum(axis=0)
        by_z = -2 * (total[:, None] * scaled - mixed) / h.length
        by_length = np.bincount(layout.groups, by_column)
        parts = [by_length, [h.signal * np.vdot(q, self.main), h.noise * np.trace(q)]]
        tail = []
        if self.time is not None and self.own is not None:
            centred = self.z[:, :-1] - 0.5
            q_centred = q @ centred
            by_z[:, :-1] += 2 * h.trend * q_centred
            tail = [h.time * np.vdot(q, self.time.value), h.time * np.vdot(q, self.time.by_log_scale)]
            tail.append(h.trend * np.vdot(centred, q_centred))
            q_own = q[self.own.rows, self.own.columns]
            tail += [h.own * np.vdot(q_own, self.own.value), h.own * np.vdot(q_own, self.own.by_log_scale)]
        _, by_log_a, by_log_b = warp_derivatives(layout, h, self.x)
        warped = by_z[:, layout.warped]
        return np.concatenate([*parts, (warped * by_log_a).sum(axis=0), (warped * by_log_b).sum(axis=0), tail])


def _training_keys(z: FloatArray) -> IntArray:
    """Return a hash of each row's configuration, to nine digits, shape ``(n,)``.

    It is a sum of whole numbers that wraps around, which, unlike one of floats, is the same in any order.
    """
    digits = np.round(z[:, :-1] * 1e9).astype(np.int64)
    keys: IntArray = (digits * _hash_factors(digits.shape[1])).sum(axis=1)
    return keys


@functools.cache
def _hash_factors(columns: int) -> IntArray:
    return np.random.default_rng(0).integers(2**62, size=columns)


def _distance(a: FloatArray, b: FloatArray) -> FloatArray:
    """Return Euclidean distances, shape ``(n1, n2)``."""
    squared = a @ b.T
    squared *= -2
    squared += (a * a).sum(axis=1)[:, None]
    squared += (b * b).sum(axis=1)
    np.maximum(squared, 0, out=squared)  # rounding
    return np.sqrt(squared, out=squared)


def _matern(r: FloatArray) -> FloatArray:
    """Return ``(1 + sqrt(5) r + 5/3 r^2) exp(-sqrt(5) r)``, in place, since most of the time is spent here."""
    scaled = ROOT5 * r
    result = scaled / 3
    result += 1
    result *= scaled
    result += 1
    np.negative(scaled, out=scaled)
    result *= np.exp(scaled, out=scaled)
    return result


def _matern_factor(r: FloatArray) -> FloatArray:
    """Return ``-M'(r) / r``, which is finite at 0: ``5/3 (1 + sqrt(5) r) exp(-sqrt(5) r)``."""
    scaled = ROOT5 * r
    result = (5 / 3) * scaled
    result += 5 / 3
    np.negative(scaled, out=scaled)
    result *= np.exp(scaled, out=scaled)
    return result
