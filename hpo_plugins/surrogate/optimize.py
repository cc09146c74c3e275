"""The search for the configurations of highest expected improvement, in a space of numbers and categories."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_ndtr

from hpo_plugins.space import FloatArray
from hpo_plugins.surrogate.acquisition import log_expected_improvement, log_h
from hpo_plugins.surrogate.encoding import InputEncoder
from hpo_plugins.surrogate.gp import Posterior
from hpo_plugins.surrogate.valid_points import Risk, ValidPoints

N_UNIFORM = 320
"""Candidates drawn uniformly from the cube."""
N_LOCAL = 192
"""Candidates near the best configurations known."""
N_CORNER = 96
"""Candidates with some coordinates at their bounds, where optima are common and uniform draws are not."""
N_CAUTIOUS = 256
"""Candidates of a cautious search."""
MAX_ENUMERATED = 2_000
"""Finite spaces up to this size are evaluated completely."""
N_STARTS = 4
"""Candidates that are improved by local search."""
N_ROUNDS = 1
"""Maximum number of changes of one integer or category per candidate."""


class Feasibility(Protocol):
    """The probabilities that configurations meet limits on outcomes."""

    def log_probability(self, points: FloatArray) -> FloatArray:
        """Return their logarithms at snapped points, shape ``(q,)``."""

    def gradient(self, points: FloatArray, columns: NDArray[np.intp]) -> FloatArray:
        """Return the derivatives with respect to some inputs, shape ``(q, len(columns))``."""


class Proposals(NamedTuple):
    """New configurations, shape ``(k, d)``, and their log EI, shape ``(k,)``."""

    points: FloatArray
    log_improvement: FloatArray


class AcquisitionOptimizer:
    """Maximises log EI: random candidates, the best of which are improved by local search.

    Args:
        encoder: Encodes configurations as inputs.
        posterior: The process.
        best: The loss to improve on.
        log_fidelity: The log-fidelity at which losses are predicted; None if only final values are modelled.
        cautious: Whether to choose among uniform draws only. With little data, the expected improvement peaks in the
            corners of the space, where uncertainty is largest, and there are very many corners.
        rng: Draws the candidates.
        risk: The probability that a configuration cannot be trained, None if nothing is known of that.
        feasibility: The probability that it meets limits on outcomes, by which EI is multiplied; None without limits.
    """

    def __init__(
        self,
        encoder: InputEncoder,
        posterior: Posterior,
        best: float,
        *,
        log_fidelity: float | None,
        cautious: bool,
        rng: np.random.Generator,
        risk: Risk | None = None,
        feasibility: Feasibility | None = None,
    ) -> None:
        """Store the arguments."""
        self._encoder = encoder
        self._posterior = posterior
        self._best = best
        self._log_fidelity = log_fidelity
        self._cautious = cautious
        self._feasibility = feasibility
        self._rng = rng
        self._valid = None if encoder.space.valid is None and risk is None else ValidPoints(encoder.space, risk)

    def value(self, points: FloatArray) -> FloatArray:
        """Return log EI of snapped points, shape ``(q,)``; with limits, times the probability to meet them."""
        value = log_expected_improvement(*self._posterior.predict(self._inputs(points)), self._best)
        return value if self._feasibility is None else value + self._feasibility.log_probability(points)

    def run(self, incumbents: FloatArray, excluded: FloatArray) -> Proposals:
        """Return new configurations in descending order of log EI.

        Args:
            incumbents: The best configurations known, shape ``(i, d)``.
            excluded: Configurations not to return, shape ``(n, d)``.
        """
        encoder = self._encoder
        known = set(encoder.keys(excluded))
        points = encoder.snap(self._candidates(incumbents))
        if self._valid is not None:
            points = encoder.snap(self._valid.among(points, incumbents, len(excluded)))
        size = encoder.space.size
        values = self.value(points)
        if not self._cautious and (size is None or size > MAX_ENUMERATED):
            starts = points[np.argsort(-values, kind="stable")[: 4 * N_STARTS]]
            improved = self._improve(_spread_out(starts, N_STARTS))
            if self._valid is not None:
                improved = improved[self._valid.mask(improved)]
            points, values = np.vstack([points, improved]), np.append(values, self.value(improved))
        is_new = np.array([key not in known for key in encoder.keys(points)], dtype=bool)
        best_first = np.flatnonzero(is_new)[np.argsort(-values[is_new], kind="stable")]
        return Proposals(points[best_first], values[best_first])

    def _inputs(self, points: FloatArray) -> FloatArray:
        times = None if self._log_fidelity is None else np.full(len(points), self._log_fidelity)
        return self._encoder.inputs(points, times)

    def _candidates(self, incumbents: FloatArray) -> FloatArray:
        space, rng = self._encoder.space, self._rng
        size, d = space.size, len(space)
        if size is not None and size <= MAX_ENUMERATED:
            return np.array([space.encode(space.at_index(index)) for index in range(size)])
        if self._cautious:
            return rng.random((N_CAUTIOUS, d))
        uniform = rng.random((N_UNIFORM, d))
        corners = rng.random((N_CORNER, d))
        pinned = rng.random(corners.shape) < rng.random((N_CORNER, 1))
        corners = np.where(pinned, np.round(corners), corners)
        if not len(incumbents):
            return np.vstack([uniform, corners])
        near = incumbents[np.arange(N_LOCAL) % len(incumbents)]
        moved = (rng.random(near.shape) < 2 / d) | (np.arange(d) == rng.integers(d, size=(N_LOCAL, 1)))
        width = 10 ** rng.uniform(-2.5, -0.5, (N_LOCAL, 1))
        near = near + moved * rng.normal(size=near.shape) * width
        discrete = np.array(self._encoder.discrete, dtype=int)
        if len(discrete):  # small steps do not leave a bin: redraw some integers and categories
            redrawn = moved[:, discrete] & (rng.random((N_LOCAL, len(discrete))) < 0.5)
            near[:, discrete] = np.where(redrawn, rng.random(redrawn.shape), near[:, discrete])
        return np.vstack([uniform, corners, near])

    def _improve(self, points: FloatArray) -> FloatArray:
        """Climb from each point: along the gradient of continuous parameters, by single changes of the others."""
        points = self._climb(points)
        if not self._encoder.discrete:
            return points
        visited = [points]
        for _ in range(N_ROUNDS):
            rounds = [self._encoder.neighbours(point, 16, self._rng) for point in points]
            values = self.value(np.concatenate(rounds))
            if self._valid is not None:
                values[~self._valid.mask(np.concatenate(rounds))] = -np.inf
            ends = np.cumsum([len(rows) for rows in rounds])
            best = [rows[np.argmax(part)] for rows, part in zip(rounds, np.split(values, ends[:-1]), strict=True)]
            points = self._climb(np.array(best))
            visited.append(points)
        return np.vstack(visited)

    def _climb(self, points: FloatArray) -> FloatArray:
        """Follow the gradient of log EI from all points at once, as one problem with independent parts."""
        if not self._encoder.continuous:
            return points
        parameters, columns = (np.array(part) for part in zip(*self._encoder.continuous, strict=True))
        active = self._encoder.active(points)[:, parameters]

        def cost(flat: FloatArray) -> tuple[float, FloatArray]:
            moved = points.copy()
            moved[:, parameters] = flat.reshape(len(points), -1)
            mean, deviation, mean_gradient, deviation_gradient = self._posterior.predict_with_gradient(
                self._inputs(moved)
            )
            z = (self._best - mean) / deviation
            log_improvement = log_h(z)
            # log EI = log s + log h(z); h' = Phi; dz = -(d mean + z ds) / s
            ratio = np.exp(log_ndtr(z) - log_improvement)[:, None]  # h'(z) / h(z)
            gradient = deviation_gradient - ratio * (mean_gradient + z[:, None] * deviation_gradient)
            gradient /= deviation[:, None]
            value, gradient = np.log(deviation) + log_improvement, gradient[:, columns]
            if self._feasibility is not None:
                value = value + self._feasibility.log_probability(moved)
                gradient = gradient + self._feasibility.gradient(moved, columns)
            return -float(value.sum()), -(gradient * active).ravel()

        start = points[:, parameters].ravel()
        found = minimize(
            cost, start, jac=True, method="L-BFGS-B", bounds=[(0.0, 1.0)] * start.size, options={"maxiter": 20}
        )
        before, points = points, points.copy()
        points[:, parameters] = found.x.reshape(len(points), -1)
        return points if self._valid is None else self._valid.retreat(before, points)


def _spread_out(points: FloatArray, count: int) -> FloatArray:
    """Return up to ``count`` points in their order, without those close to one already chosen."""
    chosen = [points[0]]
    for point in points[1:]:
        if len(chosen) == count:
            break
        if min(np.abs(point - other).max() for other in chosen) > 0.1:
            chosen.append(point)
    return np.array(chosen)
