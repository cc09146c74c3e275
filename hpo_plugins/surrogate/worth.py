"""What observing one more loss is worth: the gain it is expected to bring, for an option to train something further.

Notation
    option     train a configuration to some epoch, and see one loss there, with noise
    mean_r     expected losses of the representatives at the last epoch, shape ``(r,)``
    between    covariance of the options' losses with those, shape ``(o, r)``

Reference:
    Frazier, Powell, Dayanik, "The Knowledge-Gradient Policy for Correlated Normal Beliefs", INFORMS Journal on
    Computing 21, 2009. Differs: the expectation over the one normal variable is taken by quadrature, all options at
    once, since neighbouring options are compared and an error common to them does no harm.
"""

from __future__ import annotations

import numpy as np

from hpo_plugins.surrogate.kernel import FloatArray

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(21)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()


def knowledge_gradient(mean_r: FloatArray, between: FloatArray, deviation: FloatArray, noise: float) -> FloatArray:
    """Return how far each option is expected to lower the best mean among the representatives, shape ``(o,)``.

    Args:
        mean_r: Shape ``(r,)``.
        between: Shape ``(o, r)``.
        deviation: Of each option's loss, without noise, shape ``(o,)``.
        noise: Variance of an observation.
    """
    shifts = between / np.sqrt(deviation**2 + noise)[:, None]
    lowest = (mean_r[None, :, None] + shifts[:, :, None] * _NODES).min(axis=1)
    result: FloatArray = np.maximum(mean_r.min() - lowest @ _WEIGHTS, 0.0)
    return result
