"""A function drawn from a posterior and evaluated on demand.

Notation
    K     covariance of the data, with their noise, and of the points sampled so far, without; L is its Cholesky factor
    w     L^-1 (y - m(x)), the whitened data and samples: the samples' part are independent standard normal draws
    k*    covariance of all these with new points

A new point's value given all of them is normal with mean ``m(x*) + k*^T K^-1 (y - m) = m(x*) + (L^-1 k*)^T w`` and
covariance ``k(x*, x*) - (L^-1 k*)^T (L^-1 k*)``; drawing it extends L by a row and w by the draw.

Reference: Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006, equations 2.22 to 2.24, A.2.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import lapack

from hpo_plugins.space import FloatArray
from hpo_plugins.surrogate.gp import Posterior, cholesky, joined
from hpo_plugins.surrogate.kernel import covariance, warp

NUGGET = 1e-6
"""The variance, relative to the process's own, of white noise that is part of the function: without it, neighbouring
points of a smooth function determine each other up to rounding errors, and the factorisation fails."""


class SamplePath:
    """One function drawn from a posterior.

    Args:
        posterior: The process given the data.
        rng: Draws.
    """

    def __init__(self, posterior: Posterior, rng: np.random.Generator) -> None:
        """Sample nothing yet."""
        self._posterior = posterior
        self._rng = rng
        self._z = posterior.z
        self._factor = posterior.factor
        residual = posterior.residual
        self._white = lapack.dtrtrs(self._factor, residual, lower=1)[0] if len(residual) else residual

    def fork(self, rng: np.random.Generator) -> SamplePath:
        """Return the same function, to be continued with other draws.

        Args:
            rng: Draws.
        """
        other = SamplePath(self._posterior, rng)
        other._z, other._factor, other._white = self._z, self._factor, self._white
        return other

    def __call__(self, x: FloatArray) -> FloatArray:
        """Return the function at points, given all its values that were returned before.

        Args:
            x: Inputs, shape ``(q, m)``.

        Returns:
            Standardised losses without noise, shape ``(q,)``.
        """
        layout, h = self._posterior.layout, self._posterior.hyperparameters
        z, n = warp(layout, h, x), len(self._z)
        cross = covariance(layout, h, z, self._z)
        half = lapack.dtrtrs(self._factor, cross.T, lower=1)[0] if n else np.zeros((0, len(x)))
        k = covariance(layout, h, z, z)
        k.flat[:: len(k) + 1] += NUGGET * k.diagonal().mean()
        left = cholesky(k - half.T @ half)
        draws = self._rng.standard_normal(len(x))
        values: FloatArray = self._posterior.prior_mean(x) + half.T @ self._white + left @ draws
        self._z, self._factor = np.vstack([self._z, z]), joined(self._factor, half.T, left)
        self._white = np.concatenate([self._white, draws])
        return values
