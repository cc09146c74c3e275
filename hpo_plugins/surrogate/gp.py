"""A Gaussian process: its hyperparameters from data, and what it expects elsewhere.

Notation
    y        standardised losses, shape ``(n,)``
    K        covariance of the data, noise included, shape ``(n, n)``; L its lower Cholesky factor
    alpha    K^-1 y

Pure functions of arrays; everything here is deterministic.

Reference:
    Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006: algorithm 2.1, equation 5.9.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.linalg import lapack
from scipy.optimize import minimize

from hpo_plugins.surrogate.kernel import (
    FloatArray,
    Hyperparameters,
    Layout,
    covariance,
    covariance_with_slopes,
    slope,
    variance,
    warp,
    warp_slopes,
)

_JITTER = 1e-10
"""Added to the diagonal, in units of its mean, when a factorisation fails; tenfold more each time."""


def log_posterior(layout: Layout, theta: FloatArray, x: FloatArray, y: FloatArray) -> tuple[float, FloatArray]:
    """Return log p(y | theta) + log p(theta), up to a constant, and its derivative by ``theta``."""
    k, backward = covariance_with_slopes(layout, theta, x)
    factor = cholesky(k)
    alpha = _solve(factor, y)
    q, _ = lapack.dpotri(factor, lower=1)  # K^-1, of which only the lower half is there
    q += q.T
    q.flat[:: len(q) + 1] /= 2
    np.subtract(np.outer(alpha, alpha), q, out=q)
    q /= 2
    means = np.array([prior.mean for prior in layout.priors])
    deviations = np.array([prior.deviation for prior in layout.priors])
    away = (theta - means) / deviations
    value = -0.5 * float(y @ alpha) - float(np.log(factor.diagonal()).sum()) - 0.5 * float(away @ away)
    return value, backward.gradient(q) - away / deviations


def fit(layout: Layout, x: FloatArray, y: FloatArray, *, steps: int = 30) -> FloatArray:
    """Return the ``theta`` of the highest posterior density that a local search finds.

    Args:
        layout: What there is to find.
        x: Inputs, shape ``(n, m)``.
        y: Standardised losses, shape ``(n,)``.
        steps: Iterations of L-BFGS-B at the most.
    """

    def cost(theta: FloatArray) -> tuple[float, FloatArray]:
        value, gradient = log_posterior(layout, theta, x, y)
        return -value, -gradient

    found = minimize(
        cost,
        layout.start(),
        jac=True,
        method="L-BFGS-B",
        bounds=[(prior.low, prior.high) for prior in layout.priors],
        options={"maxiter": steps, "maxfun": 2 * steps, "ftol": 1e-4},
    )
    theta: FloatArray = found.x
    return theta


class Posterior:
    """What the process expects, given data.

    Args:
        layout: The hyperparameters' layout.
        theta: The hyperparameters.
        x: Inputs of the data, shape ``(n, m)``; n may be 0.
        y: Standardised losses, shape ``(n,)``.
    """

    def __init__(self, layout: Layout, theta: FloatArray, x: FloatArray, y: FloatArray) -> None:
        """Factorise the data's covariance."""
        self.layout = layout
        self.theta = theta
        self.h: Hyperparameters = layout.read(theta)
        self.x, self.y = x, y
        self._z = warp(layout, self.h, x)
        k = covariance(layout, self.h, self._z, self._z)
        k.flat[:: len(k) + 1] += self.h.noise
        self._factor = cholesky(k)
        self._alpha = _solve(self._factor, y)

    def at(self, x: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return mean and standard deviation of the noise-free loss at ``x``, each of shape ``(q,)``."""
        z = warp(self.layout, self.h, x)
        cross = covariance(self.layout, self.h, z, self._z)
        half = self._half(cross)
        left = variance(self.layout, self.h, z) - (half * half).sum(axis=0)
        return cross @ self._alpha, np.sqrt(np.maximum(left, 1e-12))

    def jointly(self, x: FloatArray, others: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """Return means and deviations at ``x`` (q), means at ``others`` (p), and covariances between, ``(q, p)``."""
        z, w = warp(self.layout, self.h, x), warp(self.layout, self.h, others)
        cross, crossing = covariance(self.layout, self.h, z, self._z), covariance(self.layout, self.h, w, self._z)
        half, other_half = self._half(cross), self._half(crossing)
        left = variance(self.layout, self.h, z) - (half * half).sum(axis=0)
        between = covariance(self.layout, self.h, z, w) - half.T @ other_half
        return cross @ self._alpha, np.sqrt(np.maximum(left, 1e-12)), crossing @ self._alpha, between

    def slopes(self, x: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """Return mean and deviation at ``x``, shape ``(q,)``, and their derivatives by ``x``, shape ``(q, m)``."""
        z = warp(self.layout, self.h, x)
        cross = covariance(self.layout, self.h, z, self._z)
        half = self._half(cross)
        left = np.maximum(variance(self.layout, self.h, z) - (half * half).sum(axis=0), 1e-12)
        deviation = np.sqrt(left)
        weights, _ = lapack.dtrtrs(self._factor, half, lower=1, trans=1)
        mean_slope = slope(self.layout, self.h, z, self._z, self._alpha)
        left_slope = -2 * slope(self.layout, self.h, z, self._z, weights.T)
        if self.layout.curves:
            left_slope[:, :-1] += 2 * self.h.trend * (z[:, :-1] - 0.5)
        by_x, _, _ = warp_slopes(self.layout, self.h, x)
        for derivative in (mean_slope, left_slope):
            derivative[:, self.layout.warped] *= by_x
        return cross @ self._alpha, deviation, mean_slope, left_slope / (2 * deviation[:, None])

    def with_expected(self, x: FloatArray) -> Posterior:
        """Return the process as if each of ``x`` had come out as expected: they repel, and move no mean."""
        if not len(x):
            return self
        mean, _ = self.at(x)
        return Posterior(self.layout, self.theta, np.vstack([self.x, x]), np.concatenate([self.y, mean]))

    def _half(self, cross: FloatArray) -> FloatArray:
        """Return L^-1 k, shape ``(n, q)``."""
        if not len(self.y):
            return np.zeros((0, len(cross)))
        half: FloatArray = lapack.dtrtrs(self._factor, cross.T, lower=1)[0]
        return half


def cholesky(k: FloatArray) -> FloatArray:
    """Return the lower Cholesky factor, with as little added to the diagonal as it takes.

    Raises:
        FloatingPointError: The matrix holds a NaN.
    """
    if not len(k):
        return k
    jitter = 0.0
    while True:
        factor, failed = lapack.dpotrf(k, lower=1, clean=1)
        if not failed and math.isfinite(factor[-1, -1]):
            lower: FloatArray = factor
            return lower
        if not np.isfinite(k).all():
            raise FloatingPointError("a covariance is not a number")
        jitter = max(10 * jitter, _JITTER)
        k = k.copy()
        k.flat[:: len(k) + 1] += jitter * float(k.diagonal().mean())


def _solve(factor: FloatArray, y: FloatArray) -> FloatArray:
    if not len(y):
        return y
    solution: FloatArray = lapack.dpotrs(factor, y, lower=1)[0]
    return solution
