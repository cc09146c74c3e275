"""Where to look next: how much a configuration is expected to improve on the best, and the search for the best of them.

Notation
    mean, deviation   the process at a point, shape ``(q,)``
    best              the loss to improve on
    z                 ``(best - mean) / deviation``
    h(z)              ``phi(z) + z Phi(z)``, so that EI = deviation * h(z)

References:
    Jones, Schonlau, Welch, "Efficient Global Optimization of Expensive Black-Box Functions", Journal of Global
    Optimization 13, 1998, equation 15 (EI).
    Ament, Daulton, Eriksson, Balandat, Bakshy, "Unexpected Improvements to Expected Improvement for Bayesian
    Optimization", NeurIPS 2023 (its logarithm, stable where EI itself is 0 in floating point).
"""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import minimize
from scipy.special import erfcx, log_ndtr

from hpo_plugins.surrogate.encoding import Features
from hpo_plugins.surrogate.gp import Posterior
from hpo_plugins.surrogate.kernel import FloatArray

SPREAD = 320
"""Candidates anywhere in the cube."""
NEAR = 192
"""Candidates near the best configurations known."""
CORNERS = 96
"""Candidates with some coordinates at their bounds, where optima often lie and random points do not."""
ENUMERABLE = 2_000
"""A finite space up to this size is looked at as a whole."""
STARTS = 4
"""Candidates that are improved by local search."""
ROUNDS = 1
"""How often each of them may change one integer or category."""
_LOG_ROOT_2_PI = 0.5 * math.log(2 * math.pi)


def log_h(z: FloatArray) -> FloatArray:
    """Return log h(z), to full precision also where h(z) is too small for floating point."""
    result = np.empty_like(z)
    near = z > -1
    far = z < -1e7  # there erfcx(x) x sqrt(pi) is 1 to rounding, and h(z) is phi(z) / z^2
    middle = ~near & ~far
    with np.errstate(under="ignore"):
        zn = z[near]
        result[near] = np.log(np.exp(-0.5 * zn * zn - _LOG_ROOT_2_PI) + zn * np.exp(log_ndtr(zn)))
        zm = z[middle]
        ratio = math.sqrt(math.pi / 2) * erfcx(-zm / math.sqrt(2)) * -zm  # -z Phi(z) / phi(z)
        left = np.where(zm > -50, np.maximum(1 - ratio, 1e-300), (1 - 3 / zm**2) / zm**2)  # 1 - ratio loses digits
        result[middle] = -0.5 * zm * zm - _LOG_ROOT_2_PI + np.log(left)
    result[far] = -0.5 * z[far] ** 2 - _LOG_ROOT_2_PI - 2 * np.log(-z[far])
    return result


def log_expected_improvement(mean: FloatArray, deviation: FloatArray, best: float) -> FloatArray:
    """Return log EI, shape ``(q,)``."""
    return np.log(deviation) + log_h((best - mean) / deviation)


def chance_of_improvement(mean: FloatArray, deviation: FloatArray, best: float) -> FloatArray:
    """Return the probability that the loss is below ``best``, shape ``(q,)``."""
    result: FloatArray = np.exp(log_ndtr((best - mean) / deviation))
    return result


class Search:
    """The search for configurations of high log EI in a mixed space.

    Args:
        features: The space's columns.
        posterior: The process.
        best: The loss to improve on.
        time: The place of the last epoch where curves are modelled, else None.
        rng: Draws the candidates.
    """

    def __init__(
        self,
        features: Features,
        posterior: Posterior,
        best: float,
        *,
        time: float | None,
        rng: np.random.Generator,
    ) -> None:
        """Nothing is computed yet."""
        self._features = features
        self._posterior = posterior
        self._best = best
        self._time = time
        self._rng = rng

    def value(self, points: FloatArray) -> FloatArray:
        """Return log EI of snapped points, shape ``(q,)``."""
        mean, deviation = self._posterior.at(self._inputs(points))
        return log_expected_improvement(mean, deviation, self._best)

    def run(self, leaders: FloatArray, taken: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return free points, the best first, and their log EI.

        Args:
            leaders: The best configurations known, shape ``(k, d)``.
            taken: All configurations of the study, which are not to come again, shape ``(n, d)``.
        """
        features = self._features
        known = set(features.keys(taken))
        points = features.snap(self._candidates(leaders))
        size = features.space.size
        if size is None or size > ENUMERABLE:
            values = self.value(points)
            starts = points[np.argsort(-values, kind="stable")[: 4 * STARTS]]
            points = np.vstack([points, self._improve(_apart(starts, STARTS))])
        points = points[np.array([key not in known for key in features.keys(points)], dtype=bool)]
        values = self.value(points) if len(points) else np.empty(0)
        order = np.argsort(-values, kind="stable")
        return points[order], values[order]

    def _inputs(self, points: FloatArray) -> FloatArray:
        times = None if self._time is None else np.full(len(points), self._time)
        return self._features.inputs(points, times)

    def _candidates(self, leaders: FloatArray) -> FloatArray:
        space, rng = self._features.space, self._rng
        size, d = space.size, len(space)
        if size is not None and size <= ENUMERABLE:
            return np.array([space.encode(space.at_index(index)) for index in range(size)])
        spread = rng.random((SPREAD, d))
        corners = rng.random((CORNERS, d))
        pinned = rng.random(corners.shape) < rng.random((CORNERS, 1))
        corners = np.where(pinned, np.round(corners), corners)
        if not len(leaders):
            return np.vstack([spread, corners])
        near = leaders[np.arange(NEAR) % len(leaders)]
        moved = (rng.random(near.shape) < 2 / d) | (np.arange(d) == rng.integers(d, size=(NEAR, 1)))
        width = 10 ** rng.uniform(-2.5, -0.5, (NEAR, 1))
        near = near + moved * rng.normal(size=near.shape) * width
        jumps = np.array(self._features.discrete, dtype=int)
        if len(jumps):  # a small step leaves no cell: some integers and categories are drawn anew
            anew = moved[:, jumps] & (rng.random((NEAR, len(jumps))) < 0.5)
            near[:, jumps] = np.where(anew, rng.random(anew.shape), near[:, jumps])
        return np.vstack([spread, corners, near])

    def _improve(self, points: FloatArray) -> FloatArray:
        """Climb from each point: along the slope in what is continuous, by single moves in what is not."""
        points = self._climb(points)
        if not self._features.discrete:
            return points
        visited = [points]
        for _ in range(ROUNDS):
            rounds = [self._features.neighbours(point, 16, self._rng) for point in points]
            values = self.value(np.concatenate(rounds))
            ends = np.cumsum([len(rows) for rows in rounds])
            best = [rows[np.argmax(part)] for rows, part in zip(rounds, np.split(values, ends[:-1]), strict=True)]
            points = self._climb(np.array(best))
            visited.append(points)
        return np.vstack(visited)

    def _climb(self, points: FloatArray) -> FloatArray:
        """Follow the slope of log EI from all points at once: one problem whose parts are independent."""
        if not self._features.movable:
            return points
        parameters, columns = (np.array(part) for part in zip(*self._features.movable, strict=True))

        def cost(flat: FloatArray) -> tuple[float, FloatArray]:
            moved = points.copy()
            moved[:, parameters] = flat.reshape(len(points), -1)
            mean, deviation, by_mean, by_deviation = self._posterior.slopes(self._inputs(moved))
            z = (self._best - mean) / deviation
            log_improvement = log_h(z)
            rise = np.exp(log_ndtr(z) - log_improvement)[:, None]  # h'(z) / h(z), h' = Phi
            slope = (by_deviation - rise * (by_mean + z[:, None] * by_deviation)) / deviation[:, None]
            return -float((np.log(deviation) + log_improvement).sum()), -slope[:, columns].ravel()

        begin = points[:, parameters].ravel()
        found = minimize(
            cost, begin, jac=True, method="L-BFGS-B", bounds=[(0.0, 1.0)] * begin.size, options={"maxiter": 20}
        )
        points = points.copy()
        points[:, parameters] = found.x.reshape(len(points), -1)
        return points


def _apart(points: FloatArray, most: int) -> FloatArray:
    """Return up to so many points in their order, leaving out those close to one already chosen."""
    chosen = [points[0]]
    for point in points[1:]:
        if len(chosen) == most:
            break
        if min(np.abs(point - other).max() for other in chosen) > 0.1:
            chosen.append(point)
    return np.array(chosen)
