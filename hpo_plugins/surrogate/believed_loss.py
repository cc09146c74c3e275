"""A belief as a predictor of losses, beside the processes of earlier studies (``prior_mean``)."""

from __future__ import annotations

from typing import NamedTuple

from hpo_plugins.space import FloatArray
from hpo_plugins.surrogate.encoding import InputEncoder
from hpo_plugins.surrogate.hyperparameters import Layout


class Believed(NamedTuple):
    """The believed losses, shape ``(q,)``."""

    mean: FloatArray


class BelievedGradient(NamedTuple):
    """Their derivatives with respect to the inputs, shape ``(q, m)``."""

    mean_gradient: FloatArray


class BelievedLoss:
    """Predicts minus the logarithm of the believed density: its scale is learned with its weight.

    Args:
        encoder: Encodes the configurations of a space that comes with a belief.
    """

    def __init__(self, encoder: InputEncoder) -> None:
        """Keep the belief."""
        self._encoder = encoder
        self._belief = encoder.space.belief

    @property
    def layout(self) -> Layout:
        """The layout of its inputs: configurations, without epochs."""
        return self._encoder.layout(curves=False)

    def predict(self, x: FloatArray) -> Believed:
        """Return the believed losses of inputs, shape ``(q, m)``."""
        points = self._encoder.points(x)
        return Believed(self._belief.loss(points, self._encoder.active(points)))

    def predict_with_gradient(self, x: FloatArray) -> BelievedGradient:
        """Return their derivatives."""
        points = self._encoder.points(x)
        gradient = self._belief.gradient(points, self._encoder.active(points))
        return BelievedGradient(self._encoder.columns_of(gradient))
