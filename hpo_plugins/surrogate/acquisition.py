"""Acquisition functions: expected improvement, probability of improvement, and the knowledge gradient.

Notation
    mean, deviation   predicted losses and their standard deviations, shape ``(q,)``
    best              the loss to improve on
    z                 ``(best - mean) / deviation``
    phi, Phi          density and distribution function of the standard normal distribution
    h(z)              ``phi(z) + z Phi(z)``, so that EI = deviation * h(z)

References:
    Jones, Schonlau, Welch, "Efficient Global Optimization of Expensive Black-Box Functions", Journal of Global
    Optimization 13, 1998, equation 15 (EI).
    Ament, Daulton, Eriksson, Balandat, Bakshy, "Unexpected Improvements to Expected Improvement for Bayesian
    Optimization", NeurIPS 2023 (its logarithm, stable where EI itself underflows).
    Frazier, Powell, Dayanik, "The Knowledge-Gradient Policy for Correlated Normal Beliefs", INFORMS Journal on
    Computing 21, 2009. Differs from it in: the expectation over the one normal variable is computed by quadrature, for
    all options at once, since only differences between neighbouring options matter and they share its error.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import erfcx, log_ndtr

from hpo_plugins.space import FloatArray

_LOG_ROOT_2_PI = 0.5 * math.log(2 * math.pi)
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(21)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()


def log_h(z: FloatArray) -> FloatArray:
    """Return log h(z) to full precision, even where h(z) underflows.

    Args:
        z: Shape ``(q,)``.
    """
    result = np.empty_like(z)
    near = z > -1
    far = z < -1e7  # here h(z) = phi(z) / z^2 up to rounding
    middle = ~near & ~far
    with np.errstate(under="ignore"):
        zn = z[near]
        result[near] = np.log(np.exp(-0.5 * zn * zn - _LOG_ROOT_2_PI) + zn * np.exp(log_ndtr(zn)))
        zm = z[middle]
        # h(z) = phi(z) (1 - ratio) with ratio = -z Phi(z) / phi(z), and Phi(z) / phi(z) from the scaled erfc.
        ratio = math.sqrt(math.pi / 2) * erfcx(-zm / math.sqrt(2)) * -zm
        left = np.where(zm > -50, np.maximum(1 - ratio, 1e-300), (1 - 3 / zm**2) / zm**2)
        result[middle] = -0.5 * zm * zm - _LOG_ROOT_2_PI + np.log(left)
    result[far] = -0.5 * z[far] ** 2 - _LOG_ROOT_2_PI - 2 * np.log(-z[far])
    return result


def log_expected_improvement(mean: FloatArray, deviation: FloatArray, best: float) -> FloatArray:
    """Return log EI, shape ``(q,)``: EI = deviation * h(z) (Jones et al., eq. 15).

    Args:
        mean: Predicted losses, shape ``(q,)``.
        deviation: Their standard deviations, shape ``(q,)``.
        best: The loss to improve on.
    """
    improvement: FloatArray = np.log(deviation) + log_h((best - mean) / deviation)
    return improvement


def probability_of_improvement(mean: FloatArray, deviation: FloatArray, best: float) -> FloatArray:
    """Return Phi(z), the probability that the loss is below ``best``, shape ``(q,)``.

    Args:
        mean: Predicted losses, shape ``(q,)``.
        deviation: Their standard deviations, shape ``(q,)``.
        best: The loss to improve on.
    """
    result: FloatArray = np.exp(log_ndtr((best - mean) / deviation))
    return result


def knowledge_gradient(
    other_mean: FloatArray, covariance: FloatArray, deviation: FloatArray, noise: float
) -> FloatArray:
    """Return how much one noisy observation of each option is expected to lower the best mean, shape ``(o,)``.

    Args:
        other_mean: Predicted losses of the points among which the best is chosen, shape ``(r,)``.
        covariance: Covariance of the options' losses with those, shape ``(o, r)``.
        deviation: Standard deviation of the options' noise-free losses, shape ``(o,)``.
        noise: Variance of an observation's noise.
    """
    # Observing option o changes the means by shift_o * Z with Z ~ N(0, 1) (Frazier et al., eq. 5).
    shifts = covariance / np.sqrt(deviation**2 + noise)[:, None]
    lowest = (other_mean[None, :, None] + shifts[:, :, None] * _NODES).min(axis=1)
    gain: FloatArray = np.maximum(other_mean.min() - lowest @ _WEIGHTS, 0.0)
    return gain
