"""The prior mean of a Gaussian process: a weighted sum of the predictions of other processes.

Notation
    m(x)   ``offset + sum over p of weight_p * mu_p(x)``, where mu_p is the mean that process p predicts

The other processes know configurations only: if x has a column for the epoch, they ignore it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from hpo_plugins.space import FloatArray


class Predictor(Protocol):
    """A fitted process: a ``Posterior``."""

    @property
    def layout(self) -> Any:
        """Its layout."""

    def predict(self, x: FloatArray) -> Any:
        """Return its prediction."""

    def predict_with_gradient(self, x: FloatArray) -> Any:
        """Return its prediction with the gradients."""


class PriorMean:
    """A prior mean that other processes predict.

    Args:
        processes: The other processes.
        weights: The weight of each; those with weight 0 are dropped.
        offset: A constant.
    """

    def __init__(self, processes: Sequence[Predictor], weights: Sequence[float], offset: float) -> None:
        """Keep the processes that have a weight."""
        self._terms = [(process, weight) for process, weight in zip(processes, weights, strict=True) if weight]
        self._offset = offset

    def __call__(self, x: FloatArray) -> FloatArray:
        """Return m(x), shape ``(q,)``, for inputs of shape ``(q, m)``."""
        total = np.full(len(x), self._offset)
        for process, weight in self._terms:
            total += weight * process.predict(x[:, : len(process.layout.groups)]).mean
        return total

    def gradient(self, x: FloatArray) -> FloatArray:
        """Return the derivative of m with respect to the inputs, shape ``(q, m)``."""
        total = np.zeros_like(x)
        for process, weight in self._terms:
            columns = len(process.layout.groups)
            total[:, :columns] += weight * process.predict_with_gradient(x[:, :columns]).mean_gradient
        return total
