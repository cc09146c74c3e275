"""Which configurations meet the limits of a study, learned from the values of the limited metrics.

Each limited metric has a surrogate of its own: a Gaussian process of its values, in the same way as that of the
objective. The boundary is therefore learned from how far trials are from it, not only from which side they are on.

Notation
    b          the limit, standardised as the metric's values are
    mu, s      the metric's predicted mean and deviation; s includes the noise of an observation

    P = Phi((b - mu) / s)                the probability to meet a limit (Gardner et al., equation 6)
    log EI + sum log P                   the acquisition function (Schonlau et al. 1998; Gardner et al., equation 5)

A metric is *steady* if it hardly changes in a training run, such as a latency or a size. Its values are modelled
without epochs, and one value of a trial is enough to know whether it meets the limit. A complete training run shows
it; or several incomplete ones, if the metric differs between them: an accuracy that has not begun to rise does not.

References:
    Schonlau, Welch, Jones, "Global versus Local Search in Constrained Optimization of Computer Models", 1998.
    Gardner, Kusner, Xu, Weinberger, Cunningham, "Bayesian Optimization with Inequality Constraints", ICML 2014.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr

from hpo_plugins.history import History, TrialHistory
from hpo_plugins.history.columns import column
from hpo_plugins.history.metric_view import metric_view
from hpo_plugins.history.weighted_history import WeightedHistory
from hpo_plugins.modeling.model import Model, fit_model
from hpo_plugins.modeling.observations import epoch_grid
from hpo_plugins.objective import Limit, Minimize
from hpo_plugins.records import TrialState
from hpo_plugins.space import FloatArray
from hpo_plugins.surrogate.threads import single_threaded

STEADY = 0.05
"""A metric is steady if the median of its relative spreads within training runs is at most this."""
MIN_DIFFERING = 3
"""Incomplete training runs that together show whether a metric is steady."""
MIN_KNOWN = 4
"""Trials with a metric, without which nothing is predicted of it."""
MAX_Z = 1e4
"""Deviations beyond which a limit is not met, so that the logarithm of the probability is finite. It must not be small:
where the expected improvement is minute in all configurations that meet the limits, another one would be chosen."""


class _LimitModel(NamedTuple):
    """The surrogate of one limited metric, and its limit on the surrogate's scale."""

    model: Model
    bound: float

    def log_probability(self, points: FloatArray, epochs: NDArray[np.intp] | int | None = None) -> FloatArray:
        """Return the logarithms of the probabilities to meet the limit, shape ``(q,)``.

        Args:
            points: Snapped configurations, shape ``(q, d)``.
            epochs: Their epochs, shape ``(q,)``; the last one by default.
        """
        posterior, last = self.model.posterior, self.model.last or 1
        mean, deviation = posterior.predict(self.model.inputs(points, last if epochs is None else epochs))
        total = np.sqrt(deviation**2 + posterior.hyperparameters.noise)
        return np.asarray(log_ndtr(np.maximum((self.bound - mean) / total, -MAX_Z)))

    def gradient(self, points: FloatArray) -> FloatArray:
        """Return the derivatives of the logarithms with respect to the inputs, shape ``(q, n_inputs)``."""
        posterior = self.model.posterior
        found = posterior.predict_with_gradient(self.model.inputs(points, self.model.last or 1))
        total = np.sqrt(found.deviation**2 + posterior.hyperparameters.noise)
        z = np.maximum((self.bound - found.mean) / total, -MAX_Z)
        slope = np.exp(-0.5 * z * z - 0.5 * np.log(2 * np.pi) - log_ndtr(z)) / total  # phi(z) / Phi(z) / s
        by_deviation = (z * found.deviation / total)[:, None] * found.deviation_gradient
        gradient: FloatArray = -slope[:, None] * (found.mean_gradient + by_deviation)
        return gradient


class Feasibility:
    """The probabilities that configurations meet all limits of a study.

    Args:
        parts: The surrogates of the limited metrics, at least one.
    """

    def __init__(self, parts: list[_LimitModel]) -> None:
        """Store them."""
        self._parts = parts

    @property
    def key(self) -> Hashable:
        """All inputs that it depends on."""
        return tuple((part.model.data_key, part.bound) for part in self._parts)

    def log_probability(self, points: FloatArray) -> FloatArray:
        """Return the logarithms of the probabilities, shape ``(q,)``.

        Args:
            points: Snapped configurations, shape ``(q, d)``.
        """
        return np.asarray(sum(part.log_probability(points) for part in self._parts))

    def gradient(self, points: FloatArray, columns: NDArray[np.intp]) -> FloatArray:
        """Return their derivatives with respect to some inputs, shape ``(q, len(columns))``."""
        return np.asarray(sum(part.gradient(points)[:, columns] for part in self._parts))


def feasibility(model: Model) -> Feasibility | None:
    """Return what is known of the limits, None if the study has none, or too little is known.

    Args:
        model: The surrogate of the study.
    """
    return model.derived("feasibility", lambda: _feasibility(model.history, model.last))


def choices_key(model: Model) -> Hashable:
    """Return all inputs that a choice by the surrogate of a study with limits depends on; None without limits."""
    if not model.history.limits:
        return None
    known = feasibility(model)
    return model.history.hopeless, None if known is None else known.key


def probably_feasible(model: Model, points: FloatArray) -> NDArray[np.bool_]:
    """Return which configurations meet the limits more probably than not, shape ``(q,)``; all if none does.

    Args:
        model: The surrogate of the study.
        points: Snapped configurations, shape ``(q, d)``.
    """
    known = feasibility(model)
    if known is None or not len(points):
        return np.ones(len(points), dtype=bool)
    found = known.log_probability(points) > np.log(0.5)
    return np.asarray(found if found.any() else ~found)


def _feasibility(history: History, last: int | None) -> Feasibility | None:
    if not isinstance(history, WeightedHistory):
        return None
    parts = [_limit_model(history, index, last) for index in range(len(history.limits))]
    known = [part for part in parts if part is not None]
    return Feasibility(known) if known else None


def _limit_model(history: WeightedHistory, index: int, last: int | None) -> _LimitModel | None:
    limit = history.limits[index]
    metric = metric_view(history.whole, Minimize(limit.metric, at="last"), limit.sign)
    if sum(bool(len(trial.curve)) for trial in metric) < MIN_KNOWN:
        return None
    model = fit_model(metric, None if is_steady(history, limit) else last)
    if model is None:
        return None
    return _LimitModel(model, float(model.scale(np.array([limit.sign * limit.value]))[0]))


def is_steady(history: WeightedHistory, limit: Limit) -> bool:
    """Return whether the training runs show that a metric hardly changes in them."""
    spreads, values, is_complete = _seen(history, limit)
    if not len(spreads) or np.median(spreads) > STEADY:
        return False
    is_different = len(values) >= MIN_DIFFERING and np.ptp(values) > 4 * STEADY * np.abs(values).mean()
    return bool(is_different or is_complete.any())


def _seen(history: WeightedHistory, limit: Limit) -> tuple[FloatArray, FloatArray, NDArray[np.bool_]]:
    """Return spreads, last values and completeness of the training runs that show how a metric changes."""
    whole, metric = history.whole, limit.metric
    spreads = column(whole, ("spread", metric), lambda trial: _spread(trial, metric))
    values = column(whole, ("value", metric), lambda trial: _value(trial, metric))
    is_complete = column(whole, "complete", lambda trial: float(trial.state is TrialState.COMPLETED))
    shows = np.isfinite(spreads)
    return spreads[shows], values[shows], is_complete[shows] == 1


def _value(trial: TrialHistory, metric: str) -> float | None:
    values = trial.values(metric)
    return values.losses[-1] if len(values) else trial.recorded.get(metric)


def _spread(trial: TrialHistory, metric: str) -> float | None:
    """Return the relative spread of a metric in a training run, None if the run does not show it."""
    values = trial.values(metric)
    if not len(values):
        return 0.0 if metric in trial.recorded else None
    if trial.epochs <= 2 * values.epochs[0]:  # it may be reported again
        return None
    found = np.array(values.losses)
    if not np.isfinite(found).all():
        return None
    size = float(np.abs(found).mean())
    return float(np.ptp(found)) / size if size > 0 else 0.0


@single_threaded
def chance_to_meet(history: WeightedHistory, index: int, number: int, epoch: int, last: int | None) -> float | None:
    """Return the probability that a later epoch of a training run meets a limit, None if nothing is known of that.

    Args:
        history: The study, as strategies see it.
        index: The limit, which the last epoch does not meet.
        number: The trial.
        epoch: Its last epoch.
        last: R, None if it is not known.
    """
    limit, trial = history.limits[index], history.whole[number]
    if not len(trial.values(limit.metric)):
        return 0.0  # it was recorded for the trial as a whole
    if is_steady(history, limit):
        violation = history.whole.outcome(number).violation[-1, index]
        return 0.0 if violation > 2 * float(np.median(_seen(history, limit)[0])) else None
    part = _limit_model(history, index, last) if last is not None and last > epoch else None
    if part is None or part.model.last is None:
        return None
    later = np.array([each for each in epoch_grid(part.model.last) if each > epoch])
    point = np.repeat(part.model.points[[number]], len(later), axis=0)
    return float(np.exp(part.log_probability(point, later)).max())
