"""A task drawn from a study's surrogate: losses and durations of training runs of any configuration.

The surrogate of an ended study describes its task with uncertainty. A draw from it is one task that agrees with all
observations. Curves are drawn at the epochs of the grid and interpolated in the logarithm of the epoch; noise is drawn
at the same epochs, where the surrogate has learned it.
"""

from __future__ import annotations

import math

import numpy as np

from hpo_plugins.modeling.epoch_cost import seconds_per_epoch
from hpo_plugins.modeling.model import Model
from hpo_plugins.modeling.observations import epoch_grid
from hpo_plugins.space import FloatArray, Params
from hpo_plugins.space.sobol import draw
from hpo_plugins.surrogate.sample_path import SamplePath

N_SHARED = 64
"""Number of configurations drawn first, so that all searches of one task see nearly the same function."""


class SampledTask:
    """One task that is consistent with a study's results.

    Args:
        model: The study's surrogate.
        seed: Selects the task.

    Attributes:
        last: The epochs of a full training run.
        is_timed: Whether the study's epochs were slow enough to be timed; otherwise each takes a second.
    """

    def __init__(self, model: Model, seed: int) -> None:
        """Draw the function at configurations that cover the space."""
        self.last = model.last or 1
        self._model = model
        self._seed = seed
        self._knots = np.array(sorted({1, *epoch_grid(self.last)}))
        self._seconds = seconds_per_epoch(model.history)
        self.is_timed = bool(self._seconds)
        self._mean_seconds = float(np.mean(list(self._seconds.values()))) if self._seconds else 1.0
        self._low, self._high = _natural_bounds(model)
        self._path = SamplePath(model.posterior, np.random.default_rng([seed, 0]))
        self._noise_rng = np.random.default_rng([seed, 0, 1])
        space = model.history.space
        shared = [draw(space, 0, index) for index in range(min(N_SHARED, space.size or N_SHARED))]
        self._path(self._inputs(model.encoder.snap(np.array([space.encode(params) for params in shared]))))

    def fork(self, number: int) -> SampledTask:
        """Return the same task for another search.

        Args:
            number: Selects the draws that the searches do not share.
        """
        other = SampledTask.__new__(SampledTask)
        other.__dict__.update(self.__dict__)
        other._path = self._path.fork(np.random.default_rng([self._seed, number]))
        other._noise_rng = np.random.default_rng([self._seed, number, 1])
        return other

    def train(self, params: Params) -> FloatArray:
        """Return the losses after each epoch of a full training run, shape ``(last,)``."""
        model = self._model
        inputs = self._inputs(self._point(params))
        noise = math.sqrt(model.posterior.hyperparameters.noise)
        values = self._path(inputs) + noise * self._noise_rng.standard_normal(len(inputs))
        epochs = np.arange(1, self.last + 1)
        y = np.interp(np.log(epochs), np.log(self._knots), values)
        losses = np.array([model.scale.inverse(float(value)) for value in y])
        bounded: FloatArray = np.clip(losses, self._low, self._high)
        return bounded

    def seconds(self, params: Params) -> float:
        """Return the seconds per epoch of a configuration."""
        if not self._seconds:
            return 1.0
        cost = self._model.relative_epoch_cost(self._seconds, self._point(params), [None])
        return float(cost[0]) * self._mean_seconds

    def _point(self, params: Params) -> FloatArray:
        return self._model.encoder.snap(self._model.history.space.encode(params)[None])

    def _inputs(self, points: FloatArray) -> FloatArray:
        """Return the surrogate's inputs of each point at each knot, shape ``(n * knots, m)``."""
        repeated = np.repeat(points, len(self._knots), axis=0)
        return self._model.inputs(repeated, np.tile(self._knots, len(points)))


def _natural_bounds(model: Model) -> tuple[float, float]:
    """Return bounds of the losses: a metric that was never below 0, or never above 1 or 100, is taken to have them.

    The process knows no bounds; without them, drawn error rates would fall below 0.
    """
    losses = model.observed.loss[np.isfinite(model.observed.loss)]
    sign = model.history.objective.sign
    low, high = (sign * losses).min(), (sign * losses).max()
    least = 0.0 if low >= 0 else -math.inf
    most = next((bound for bound in (1.0, 100.0) if high <= bound), math.inf)
    bounds = sorted([sign * least, sign * most])
    return bounds[0], bounds[1]
