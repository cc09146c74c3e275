"""A Gaussian process: hyperparameters from data, and predictions.

Notation
    n, q     observations; points to predict at
    y        standardised losses, shape ``(n,)``
    m(x)     the prior mean: the kernel's, and possibly one that earlier studies give
    K        covariance of the data including noise, shape ``(n, n)``; L is its lower Cholesky factor
    alpha    K^-1 (y - m(x))
    k*       covariance of the data with a point to predict at, shape ``(n,)``

    mean       m(x*) + k*^T alpha              (RW equation 2.25)
    variance   k(x*, x*) - ||L^-1 k*||^2       (RW equation 2.26)

All functions are pure and deterministic.

References:
    RW: Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006: algorithm 2.1, equations 2.25, 2.26
    and 5.9.
    Ginsbourger, Le Riche, Carraro, "Kriging Is Well-Suited to Parallelize Optimization", 2010 (the kriging believer).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy.linalg import lapack
from scipy.optimize import minimize

from hpo_plugins.space import FloatArray
from hpo_plugins.surrogate.hyperparameters import Hyperparameters, Layout
from hpo_plugins.surrogate.kernel import (
    covariance,
    covariance_gradient,
    covariance_with_backward,
    curve_mean,
    variance,
    variance_gradient,
    warp,
    warp_derivatives,
)
from hpo_plugins.surrogate.prior_mean import PriorMean

_JITTER = 1e-10
"""Added to the diagonal, relative to its mean, when a factorisation fails; ten times more at each further attempt."""
_MIN_VARIANCE = 1e-12
"""Rounding must not make a variance negative."""


def log_posterior(layout: Layout, theta: FloatArray, x: FloatArray, y: FloatArray) -> tuple[float, FloatArray]:
    """Return ``log p(y | theta) + log p(theta)``, up to a constant, and its gradient with respect to ``theta``.

    Args:
        layout: Which hyperparameters there are.
        theta: Their logarithms, shape ``(layout.size,)``.
        x: Inputs, shape ``(n, m)``.
        y: Standardised losses, shape ``(n,)``.
    """
    k, backward = covariance_with_backward(layout, theta, x)
    factor = cholesky(k)
    residual = y - curve_mean(layout, x)
    alpha = _solve(factor, residual)
    q, _ = lapack.dpotri(factor, lower=1)  # K^-1, of which LAPACK fills only the lower half
    q += q.T
    q.flat[:: len(q) + 1] /= 2
    np.subtract(np.outer(alpha, alpha), q, out=q)  # RW eq. 5.9: d log p / d K = (alpha alpha^T - K^-1) / 2
    q /= 2
    means = np.array([prior.mean for prior in layout.priors])
    deviations = np.array([prior.deviation for prior in layout.priors])
    z = (theta - means) / deviations
    # RW eq. 2.30, without the constant, and the logarithm of the normal priors.
    value = -0.5 * float(residual @ alpha) - float(np.log(factor.diagonal()).sum()) - 0.5 * float(z @ z)
    return value, backward.gradient(q) - z / deviations


def fit(layout: Layout, x: FloatArray, y: FloatArray, *, max_iter: int = 30) -> FloatArray:
    """Return the ``theta`` of the highest posterior density that a local search finds, shape ``(layout.size,)``.

    Args:
        layout: Which hyperparameters there are.
        x: Inputs, shape ``(n, m)``.
        y: Standardised losses, shape ``(n,)``.
        max_iter: Maximum number of L-BFGS-B iterations.
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
        options={"maxiter": max_iter, "maxfun": 2 * max_iter, "ftol": 1e-4},
    )
    theta: FloatArray = found.x
    return theta


class Prediction(NamedTuple):
    """Noise-free losses at q points: ``mean`` and standard ``deviation``, shape ``(q,)`` each."""

    mean: FloatArray
    deviation: FloatArray


class JointPrediction(NamedTuple):
    """Noise-free losses at q points and at p others.

    Attributes:
        mean: At the q points, shape ``(q,)``.
        deviation: Standard deviation at the q points, shape ``(q,)``.
        other_mean: At the others, shape ``(p,)``.
        covariance: Between the two, shape ``(q, p)``.
    """

    mean: FloatArray
    deviation: FloatArray
    other_mean: FloatArray
    covariance: FloatArray


class PredictionWithGradient(NamedTuple):
    """Noise-free losses at q points, and their derivatives with respect to the inputs.

    Attributes:
        mean: Shape ``(q,)``.
        deviation: Shape ``(q,)``.
        mean_gradient: Shape ``(q, m)``.
        deviation_gradient: Shape ``(q, m)``.
    """

    mean: FloatArray
    deviation: FloatArray
    mean_gradient: FloatArray
    deviation_gradient: FloatArray


class Posterior:
    """The process conditioned on data.

    Args:
        layout: Which hyperparameters there are.
        theta: Their logarithms, shape ``(layout.size,)``.
        x: Inputs of the data, shape ``(n, m)``; n may be 0.
        y: Standardised losses, shape ``(n,)``.
        mean: The addition of earlier studies to the kernel's prior mean, None for none.
        factor: The factor for the first data, if it is known; shape ``(k, k)``, k <= n.

    Attributes:
        z: The warped inputs, shape ``(n, m)``.
        factor: L, shape ``(n, n)``.
    """

    def __init__(
        self,
        layout: Layout,
        theta: FloatArray,
        x: FloatArray,
        y: FloatArray,
        mean: PriorMean | None = None,
        factor: FloatArray | None = None,
    ) -> None:
        """Factorise the covariance of the data (RW algorithm 2.1, lines 2 and 3)."""
        self.layout = layout
        self.theta = theta
        self.hyperparameters: Hyperparameters = layout.read(theta)
        self.x = x
        self.mean = mean
        self.residual = y - self.prior_mean(x)
        self.z = warp(layout, self.hyperparameters, x)
        known = 0 if factor is None else len(factor)
        k = covariance(layout, self.hyperparameters, self.z[known:], self.z)
        k[:, known:].flat[:: len(k) + 1] += self.hyperparameters.noise
        self.factor = cholesky(k) if factor is None else _extended(factor, k)
        self._alpha = _solve(self.factor, self.residual)

    def predict(self, x: FloatArray) -> Prediction:
        """Return the prediction at points.

        Args:
            x: Shape ``(q, m)``.
        """
        layout, h = self.layout, self.hyperparameters
        z = warp(layout, h, x)
        cross = covariance(layout, h, z, self.z)
        half = self._half(cross)
        return Prediction(self._mean(x, cross), np.sqrt(self._variance(z, half)))

    def predict_mean(self, x: FloatArray) -> FloatArray:
        """Return the predicted means at points of shape ``(q, m)``; this is much cheaper than deviations."""
        z = warp(self.layout, self.hyperparameters, x)
        return self._mean(x, covariance(self.layout, self.hyperparameters, z, self.z))

    def predict_joint(self, x: FloatArray, others: FloatArray) -> JointPrediction:
        """Return the prediction at points, the mean at others, and the covariance between.

        Args:
            x: Shape ``(q, m)``.
            others: Shape ``(p, m)``.
        """
        layout, h = self.layout, self.hyperparameters
        z, w = warp(layout, h, x), warp(layout, h, others)
        cross, other_cross = covariance(layout, h, z, self.z), covariance(layout, h, w, self.z)
        half, other_half = self._half(cross), self._half(other_cross)
        between = covariance(layout, h, z, w) - half.T @ other_half  # k(x, x') - k*^T K^-1 k*'
        deviation = np.sqrt(self._variance(z, half))
        return JointPrediction(self._mean(x, cross), deviation, self._mean(others, other_cross), between)

    def predict_with_gradient(self, x: FloatArray) -> PredictionWithGradient:
        """Return the prediction at points, and its derivatives with respect to them.

        Args:
            x: Shape ``(q, m)``.
        """
        layout, h = self.layout, self.hyperparameters
        z = warp(layout, h, x)
        cross = covariance(layout, h, z, self.z)
        half = self._half(cross)
        left = self._variance(z, half)
        deviation = np.sqrt(left)
        weights, _ = lapack.dtrtrs(self.factor, half, lower=1, trans=1)  # K^-1 k*
        mean_gradient = covariance_gradient(layout, h, z, self.z, self._alpha)
        # d (k(z, z) - k*^T K^-1 k*) = d k(z, z) - 2 (K^-1 k*)^T d k*
        left_gradient = variance_gradient(layout, h, z) - 2 * covariance_gradient(layout, h, z, self.z, weights.T)
        if layout.curves:
            mean_gradient[:, -1] -= layout.hyperpriors.improvement
        by_x = warp_derivatives(layout, h, x).by_x
        for gradient in (mean_gradient, left_gradient):
            gradient[:, layout.warped] *= by_x  # the chain rule
        if self.mean is not None:
            mean_gradient = mean_gradient + self.mean.gradient(x)
        # d sqrt(v) = d v / (2 sqrt(v))
        return PredictionWithGradient(
            self._mean(x, cross), deviation, mean_gradient, left_gradient / (2 * deviation[:, None])
        )

    def condition_on_mean(self, x: FloatArray) -> Posterior:
        """Return the process as if each point had its predicted mean as its result: the "kriging believer".

        Points that are being evaluated then repel new ones, and no mean changes.

        Args:
            x: Shape ``(q, m)``.
        """
        if not len(x):
            return self
        y = np.concatenate([self.residual + self.prior_mean(self.x), self.predict_mean(x)])
        return Posterior(self.layout, self.theta, np.vstack([self.x, x]), y, self.mean, self.factor)

    def _mean(self, x: FloatArray, cross: FloatArray) -> FloatArray:
        """Return the predicted mean, RW eq. 2.25."""
        mean: FloatArray = cross @ self._alpha + self.prior_mean(x)
        return mean

    def prior_mean(self, x: FloatArray) -> FloatArray:
        """Return m at points of shape ``(q, m)``, shape ``(q,)``."""
        mean = curve_mean(self.layout, x)
        return mean if self.mean is None else mean + self.mean(x)

    def _variance(self, z: FloatArray, half: FloatArray) -> FloatArray:
        """Return the predicted variances at warped points (RW eq. 2.26), shape ``(q,)``."""
        left = variance(self.layout, self.hyperparameters, z) - (half * half).sum(axis=0)
        above: FloatArray = np.maximum(left, _MIN_VARIANCE)
        return above

    def _half(self, cross: FloatArray) -> FloatArray:
        """Return ``L^-1 k*`` for every point, shape ``(n, q)``."""
        if not len(self.residual):
            return np.zeros((0, len(cross)))
        half: FloatArray = lapack.dtrtrs(self.factor, cross.T, lower=1)[0]
        return half


def cholesky(k: FloatArray) -> FloatArray:
    """Return the lower Cholesky factor, after adding as little to the diagonal as necessary.

    Raises:
        FloatingPointError: The matrix contains a NaN.
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
            raise FloatingPointError("a covariance matrix contains a NaN")
        jitter = max(10 * jitter, _JITTER)
        k = k.copy()
        k.flat[:: len(k) + 1] += jitter * float(k.diagonal().mean())


def _extended(factor: FloatArray, k: FloatArray) -> FloatArray:
    """Return the lower Cholesky factor of a covariance whose first rows have been factorised, up to rounding.

    Args:
        factor: That of the first k rows and columns, shape ``(k, k)``.
        k: The other rows, shape ``(n - k, n)``.
    """
    known = len(factor)
    if not known:
        return cholesky(k)
    below = lapack.dtrtrs(factor, k[:, :known].T, lower=1)[0].T
    return joined(factor, below, cholesky(k[:, known:] - below @ below.T))


def joined(factor: FloatArray, below: FloatArray, corner: FloatArray) -> FloatArray:
    """Return a lower Cholesky factor from its blocks.

    Args:
        factor: The upper left one, shape ``(n, n)``.
        below: The lower left one, shape ``(q, n)``.
        corner: The lower right one, shape ``(q, q)``.
    """
    n, q = len(factor), len(corner)
    whole = np.zeros((n + q, n + q), order="F")
    whole[:n, :n], whole[n:, :n], whole[n:, n:] = factor, below, corner
    return whole


def _solve(factor: FloatArray, y: FloatArray) -> FloatArray:
    if not len(y):
        return y
    solution: FloatArray = lapack.dpotrs(factor, y, lower=1)[0]
    return solution
