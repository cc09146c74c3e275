"""A process with a first guess for its mean: what is learned is the difference from it.

Notation
    guess(x)   ``offset + sum of share_p * mu_p(x)``, where mu_p is what another process p expects at x

The other processes know configurations only: where x has a column for the epoch, it plays no role for them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hpo_plugins.surrogate.gp import Posterior
from hpo_plugins.surrogate.kernel import FloatArray, Layout


class Guess:
    """A guess of losses.

    Args:
        processes: The processes that it is made of.
        shares: The factor of each one's mean.
        offset: What is added.
    """

    def __init__(self, processes: Sequence[Posterior], shares: Sequence[float], offset: float) -> None:
        """Keep those that have a share."""
        self._terms = [(process, share) for process, share in zip(processes, shares, strict=True) if share]
        self._offset = offset

    def __bool__(self) -> bool:
        """Return whether it says anything."""
        return bool(self._terms)

    def __call__(self, x: FloatArray) -> FloatArray:
        """Return the guess at inputs, shape ``(q,)``."""
        total = np.full(len(x), self._offset)
        for process, share in self._terms:
            total += share * process.at(x[:, : len(process.layout.groups)])[0]
        return total

    def slope(self, x: FloatArray) -> FloatArray:
        """Return its derivative by the inputs, shape ``(q, m)``."""
        total = np.zeros_like(x)
        for process, share in self._terms:
            columns = len(process.layout.groups)
            total[:, :columns] += share * process.slopes(x[:, :columns])[2]
        return total


class GuidedPosterior(Posterior):
    """What a process with a guess expects, given data; deviations and covariances are those of any process."""

    def __init__(self, layout: Layout, theta: FloatArray, x: FloatArray, y: FloatArray, guess: Guess) -> None:
        """Condition on what the losses differ by from the guess."""
        super().__init__(layout, theta, x, y - guess(x))
        self._guess = guess

    def at(self, x: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return mean and standard deviation at ``x``."""
        mean, deviation = super().at(x)
        return mean + self._guess(x), deviation

    def jointly(self, x: FloatArray, others: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """Return means and deviations at ``x``, means at ``others``, and covariances between."""
        mean, deviation, mean_of_others, between = super().jointly(x, others)
        return mean + self._guess(x), deviation, mean_of_others + self._guess(others), between

    def slopes(self, x: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """Return mean and deviation at ``x``, and their derivatives by ``x``."""
        mean, deviation, mean_slope, deviation_slope = super().slopes(x)
        return mean + self._guess(x), deviation, mean_slope + self._guess.slope(x), deviation_slope

    def with_expected(self, x: FloatArray) -> GuidedPosterior:
        """Return the process as if each of ``x`` had come out as expected."""
        if not len(x):
            return self
        mean, _ = self.at(x)
        data = np.concatenate([self.y + self._guess(self.x), mean])
        return GuidedPosterior(self.layout, self.theta, np.vstack([self.x, x]), data, self._guess)
