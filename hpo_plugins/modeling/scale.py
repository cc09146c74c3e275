"""Scales that transform losses for the process.

Notation
    L          a loss, divided by ``unit``: losses may be of any size
    best       the smallest loss observed
    offset     the distance from it to the median

    g(L) = log(1 + (L - best) / offset)    for L > best
    g(L) = (L - best) / offset             for L <= best

Losses have a long tail of bad ones, which says little about where good ones are. On the scale of g, standardised to
mean 0 and deviation 1, differences among the better half keep their size within a factor of two, those among bad ones
shrink. The log scale improves the predictions of final values (docs/decisions/0002).
"""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

import numpy as np

from hpo_plugins.space import FloatArray

MAX_Z = 1e4
"""The largest standardised distance of a good loss: beyond it, squares lose what distinguishes the others."""
WINSOR_FACTOR = 5.0
"""Losses are winsorised above the median plus this many times the distance from the best tenth to the median."""


class Scale(Protocol):
    """A scale that transforms losses for the process."""

    def __call__(self, loss: FloatArray) -> FloatArray:
        """Return standardised losses."""

    def inverse(self, value: float) -> float:
        """Return the loss that a standardised one stands for."""


class LogScale(NamedTuple):
    """The scale of g, standardised.

    Bad losses are winsorised: a diverged training must not flatten the differences between all others.

    Attributes:
        unit: The divisor of losses.
        limit: The limit at which losses are winsorised, in units.
        best: The smallest one observed, in units.
        offset: The distance from it to the median, in units.
        mean: The mean of g of those observed.
        deviation: Their standard deviation.
        worst: The largest standardised loss; failed trials count as this.
    """

    unit: float
    limit: float
    best: float
    offset: float
    mean: float
    deviation: float
    worst: float

    @classmethod
    def of(cls, loss: FloatArray) -> LogScale:
        """Return the scale that fits losses of shape ``(n,)``; NaN, a failed trial, is ignored."""
        known = loss[np.isfinite(loss)]
        if not len(known):
            return cls(1.0, math.inf, 0.0, 1.0, 0.0, 1.0, 0.0)
        unit = float(np.abs(known).max()) or 1.0
        scaled = known / unit
        best, tenth, median, quarter = np.quantile(scaled, (0.0, 0.1, 0.5, 0.75))
        reach = float(median - tenth) or float(quarter - median)
        limit = float(median) + WINSOR_FACTOR * reach if reach > 0 else math.inf
        offset = float(median - best) or float(scaled.max() - best) or 1.0
        plain = cls(unit, limit, float(best), offset, 0.0, 1.0, math.inf)
        values = plain(known)
        mean, deviation = float(values.mean()), float(values.std())
        if not deviation > 1e-12:  # all losses are equal
            deviation = 1.0
        return plain._replace(mean=mean, deviation=deviation, worst=float((values.max() - mean) / deviation))

    def __call__(self, loss: FloatArray) -> FloatArray:
        """Return standardised losses."""
        with np.errstate(over="ignore", invalid="ignore"):
            above = (np.minimum(loss / self.unit, self.limit) - self.best) / self.offset
            value = np.where(above > 0, np.log1p(np.maximum(above, 0)), above)
            standardized = (value - self.mean) / self.deviation
        # A new loss may be far from all those that determined the scale.
        return np.where(np.isnan(standardized), self.worst, np.clip(standardized, -MAX_Z, self.worst + WINSOR_FACTOR))

    def inverse(self, value: float) -> float:
        """Return the loss that a standardised one stands for."""
        above = value * self.deviation + self.mean
        return (self.best + self.offset * (math.expm1(min(above, 700.0)) if above > 0 else above)) * self.unit


class NormalScores:
    """A scale on which the losses observed are normally distributed: each becomes the normal quantile of its rank.

    Draws for unknown configurations then have the distribution of the observed losses. On a
    linear scale, half a standard deviation below a mean of 0.5 may be a loss below 0 (docs/decisions/0021).

    Args:
        loss: The losses observed, shape ``(n,)``; NaN, a failed trial, is ignored.
    """

    def __init__(self, loss: FloatArray) -> None:
        """Rank them."""
        from scipy.special import ndtri

        self._losses, counts = np.unique(loss[np.isfinite(loss)], return_counts=True)
        self._scores = ndtri((np.cumsum(counts) - counts / 2) / counts.sum())

    def __call__(self, loss: FloatArray) -> FloatArray:
        """Return the scores of losses, those of failed trials included: they count as the worst."""
        scores: FloatArray = np.interp(np.nan_to_num(loss, nan=math.inf), self._losses, self._scores)
        return scores

    def inverse(self, value: float) -> float:
        """Return the loss of a score.

        Below the best one observed, the best tenth is extrapolated with a slope that halves every 0.7: a straight line
        promises accuracies above 100 % (docs/decisions/0021).
        """
        from scipy.special import ndtri

        beyond = self._scores[0] - value
        if beyond > 0 and len(self._losses) > 1:
            tenth = max(1, int(np.searchsorted(self._scores, ndtri(0.1))))
            tenth = min(tenth, len(self._losses) - 1)
            slope = (self._losses[tenth] - self._losses[0]) / (self._scores[tenth] - self._scores[0])
            return float(self._losses[0] - slope * -math.expm1(-beyond))
        return float(np.interp(value, self._scores, self._losses))
