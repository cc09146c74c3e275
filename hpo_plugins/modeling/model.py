"""The surrogate of a study: a Gaussian process that is fitted to its history, and its predictions.

It is a function of the history; the seed matters only through the random draws of the initial design. Caches change
only the time it takes; a process that takes over a study computes the same values.

Notation
    R       the last epoch of a full training run, ``last``; None if only final values are modelled
    final   observed before the training runs that are running (see ``Observations``)
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
from cachetools import LRUCache, cached
from numpy.typing import NDArray

from hpo_plugins.history import History, TrialHistory
from hpo_plugins.history.columns import column
from hpo_plugins.modeling import epoch_cost
from hpo_plugins.modeling.guides import learn_prior_mean
from hpo_plugins.modeling.observations import (
    Observations,
    curves_of_some,
    known_points,
    log_fidelity,
    most_informative,
    observe,
)
from hpo_plugins.modeling.scale import LogScale, Scale
from hpo_plugins.records import TrialState
from hpo_plugins.space import FloatArray
from hpo_plugins.surrogate.acquisition import probability_of_improvement
from hpo_plugins.surrogate.encoding import InputEncoder
from hpo_plugins.surrogate.gp import Posterior, fit
from hpo_plugins.surrogate.hyperparameters import Layout
from hpo_plugins.surrogate.prior_mean import PriorMean

D = TypeVar("D")
MAX_FIT = 100
"""Maximum number of observations that hyperparameters are learned from; more make every iteration expensive, and which
ones they are matters more (docs/decisions/0048)."""
MAX_CONDITION = 400
"""Maximum number of observations that the process is conditioned on."""
MAX_ITER = 30
"""Iterations of the search for hyperparameters."""
REFIT_BITS = 4
"""Hyperparameters are learned again when the number of trials has changed in its leading bits: after each of the first
15 trials, later whenever there are an eighth to a sixteenth more (docs/decisions/0046)."""


class Fit(NamedTuple):
    """The parameters that are learned from the final observations.

    Attributes:
        layout: Which hyperparameters there are.
        theta: Their logarithms.
        scale: The scale of the losses.
        mean: The prior mean from earlier studies and beliefs; None without any, or if they are not trusted.
    """

    layout: Layout
    theta: FloatArray
    scale: Scale
    mean: PriorMean | None


class Forecast(NamedTuple):
    """The prediction for a trial at the last epoch.

    Attributes:
        value: The expected value of the objective.
        deviation: Its standard deviation.
        best: The best value observed so far.
        win_probability: The probability that the trial becomes better than that.
    """

    value: float
    deviation: float
    best: float
    win_probability: float


class Model:
    """The surrogate of a study.

    Args:
        history: The study.
        last: R, or None.
        observed: The observations that the process is conditioned on.
        fitted: The parameters learned from the final observations.
        encoder: Encodes configurations as inputs.
        points: The snapped configurations of all trials, identical parents' included, shape ``(n_trials, d)``.

    Attributes:
        y: The standardised losses of ``observed``.
        scale: Converts between losses and standardised losses.
    """

    def __init__(
        self,
        history: History,
        last: int | None,
        observed: Observations,
        fitted: Fit,
        encoder: InputEncoder,
        points: FloatArray,
    ) -> None:
        """Defer expensive computations."""
        self.history = history
        self.last = last
        self.observed = observed
        self.encoder = encoder
        self.scale = fitted.scale
        self.points = points
        self.y = self.scale(observed.loss)
        self._fit = fitted
        self._derived: dict[str, Any] = {}
        self._is_hopeless = np.isin(observed.trial, sorted(history.hopeless))  # of each observation

    @functools.cached_property
    def posterior(self) -> Posterior:
        """The process, conditioned on the observations or, if there are many, on the most informative ones."""
        kept = most_informative(self.observed, self.y, MAX_CONDITION)
        x = self.inputs(self.points[self.observed.trial[kept]], self.observed.epoch[kept])
        return Posterior(self._fit.layout, self._fit.theta, x, self.y[kept], self._fit.mean)

    @property
    def data_key(self) -> Hashable:
        """All inputs that it depends on."""
        return _data_key(self.history, self.last, self.observed, self.points)

    def derived(self, key: str, make: Callable[[], D]) -> D:
        """Return what is computed from this surrogate once."""
        if key not in self._derived:
            self._derived[key] = make()
        return self._derived[key]  # type: ignore[no-any-return]  # what ``make`` has made

    @property
    def has_prior_mean(self) -> bool:
        """Whether earlier studies or a belief are trusted."""
        return self._fit.mean is not None

    @property
    def knows_nothing(self) -> bool:
        """Whether more than two trials have losses and all are equal: two equal ones may both have learned nothing."""
        return bool(np.ptp(self.y) == 0) and len(np.unique(self.observed.trial)) > 2

    @property
    def best(self) -> float:
        """The smallest standardised loss observed; with limits, of the trials that may meet them.

        If none may, it is the largest loss: any configuration that meets the limits is then an improvement.
        """
        known = np.isfinite(self.observed.loss)
        counts = known & ~self._is_hopeless
        return float(self.y[counts].min() if counts.any() else self.y[known].max())

    def inputs(self, points: FloatArray, epochs: NDArray[np.intp] | int) -> FloatArray:
        """Return the process's inputs.

        Args:
            points: Snapped configurations, shape ``(q, d)``.
            epochs: Their epochs, shape ``(q,)``, or one for all.
        """
        if self.last is None:
            return self.encoder.inputs(points)
        fidelities = np.broadcast_to(log_fidelity(np.asarray(epochs), self.last), (len(points),))
        return self.encoder.inputs(points, fidelities)

    def incumbents(self, count: int) -> NDArray[np.intp]:
        """Return the numbers of the ``count`` trials with the smallest losses observed, the best first."""
        newest = np.flatnonzero(self.observed.is_newest)
        y = np.where(self._is_hopeless, np.inf, self.y) if self._is_hopeless.any() else self.y
        best = np.minimum.reduceat(y, np.append(0, newest[:-1] + 1))
        return self.observed.trial[newest[np.argsort(best, kind="stable")[:count]]]

    def improvable(self) -> NDArray[np.intp]:
        """Return the numbers of the trials that are complete or can be trained further, and may meet all limits."""
        found = np.flatnonzero(column(self.history, "improvable", _improvable))
        return np.setdiff1d(found, sorted(self.history.hopeless)) if self.history.limits else found

    def best_improvable(self, count: int) -> NDArray[np.intp]:
        """Return the ``count`` of them with the smallest losses observed, ascending; all if there are not more."""
        numbers = self.improvable()
        if len(numbers) <= count:
            return numbers
        best = self.incumbents(len(self.points))
        return np.sort(best[np.isin(best, numbers)][:count])

    def running(self, *, but: int | None = None) -> tuple[int, ...]:
        """Return the numbers of the trials that are running, without trial ``but``."""
        return tuple(number for number in self.history.running if number != but)

    def without_running(self) -> Model:
        """Return the surrogate without the observations of running training runs."""
        final = _final(self.observed)
        if final is self.observed:
            return self
        return Model(self.history, self.last, final, self._fit, self.encoder, self.points)

    def forecast(self, number: int) -> Forecast:
        """Return the prediction for a trial at the last epoch."""
        prediction = self.posterior.predict(self.inputs(self.points[[number]], self.last or 1))
        value_of, inverse = self.history.objective.loss, self.scale.inverse
        mean, deviation = float(prediction.mean[0]), float(prediction.deviation[0])
        return Forecast(
            value=value_of(inverse(mean)),
            deviation=(inverse(mean + deviation) - inverse(mean - deviation)) / 2,
            best=value_of(inverse(self.best)),
            win_probability=float(probability_of_improvement(*prediction, self.best)[0]),
        )

    def relative_epoch_cost(
        self, seconds: dict[int, float], points: FloatArray, numbers: Sequence[int | None]
    ) -> FloatArray:
        """Return the seconds of an epoch relative to the measured mean, 1 if nothing is known; shape ``(q,)``.

        Args:
            seconds: Measured seconds per epoch by trial.
            points: Snapped configurations, shape ``(q, d)``.
            numbers: The trial of each, None for a new configuration.
        """
        known, inputs = (self.encoder.inputs(rows) for rows in (self.points[list(seconds)], points))
        return epoch_cost.relative_epoch_cost(seconds, known, inputs, numbers)


def _improvable(trial: TrialHistory) -> bool:
    return trial.state not in (TrialState.STOPPED, TrialState.FAILED)


def _data_key(history: History, last: int | None, observed: Observations, points: FloatArray) -> Hashable:
    """Return all inputs that the surrogate depends on."""
    columns = (observed.trial, observed.epoch, observed.loss, points[observed.trial])
    return (history.space, last, history.parents_digest, *(column.tobytes() for column in columns))


def fit_model(
    history: History, last: int | None, scale_of: Callable[[FloatArray], Scale] = LogScale.of
) -> Model | None:
    """Return the surrogate of a study given all results, None if there are too few.

    Args:
        history: The study.
        last: R if curves are modelled, otherwise None.
        scale_of: Returns the scale for the losses observed.
    """
    history = history.modelled
    observed = observe(history, last)
    encoder = InputEncoder(history.space)
    if np.isfinite(observed.loss).sum() < 2 or not encoder.columns:
        return None
    points = encoder.snap(known_points(history))
    fitted = _fit(history, last, _final(observed), points, encoder, scale_of)
    return Model(history, last, observed, fitted, encoder, points)


def refit_without_parts(history: History, last: int | None, parts: int) -> list[Model]:
    """Return surrogates that are each fitted without one part of the trials; their differences measure uncertainty.

    Args:
        history: The study.
        last: R if curves are modelled, otherwise None.
        parts: Number of parts into which to divide the trials.
    """
    observed, encoder = observe(history, last), InputEncoder(history.space)
    if not encoder.columns:
        return []
    points, models = encoder.snap(known_points(history)), []
    for part in range(parts):
        kept = observed.select(observed.trial % parts != part)
        if np.isfinite(kept.loss).sum() >= 2:
            models.append(Model(history, last, kept, _fit(history, last, kept, points, encoder), encoder, points))
    return models


def _final(observed: Observations) -> Observations:
    """Return the final observations, or all while too few are final."""
    if observed.is_final.all() or np.isfinite(observed.loss[observed.is_final]).sum() < 2:
        return observed
    return observed.select(observed.is_final)


def _fit_key(
    history: History,
    last: int | None,
    observed: Observations,
    points: FloatArray,
    encoder: InputEncoder,  # noqa: ARG001 - made for the space
    scale_of: Callable[[FloatArray], Scale] = LogScale.of,
) -> Hashable:
    return _data_key(history, last, observed, points), scale_of


def _settled(history: History, observed: Observations) -> Observations:
    """Return the observations that hyperparameters are learned from: those of the first trials, and of parents."""
    count = len(history)
    count -= count % 2 ** max(0, count.bit_length() - REFIT_BITS)
    if count == len(history):
        return observed
    settled = observed.select((observed.trial < count) | (observed.trial >= len(history)))
    return settled if np.isfinite(settled.loss).sum() >= 2 else observed


@cached(LRUCache(maxsize=32), key=_fit_key, lock=threading.Lock())
def _fit(
    history: History,
    last: int | None,
    observed: Observations,
    points: FloatArray,
    encoder: InputEncoder,
    scale_of: Callable[[FloatArray], Scale] = LogScale.of,
) -> Fit:
    """Return the scale and the prior mean of all final observations, and the hyperparameters of the settled ones."""
    settled = _settled(history, observed)
    learned = _learn(history, last, settled, points, encoder, scale_of)
    if settled is observed:
        return learned
    scale = scale_of(observed.loss)
    mean = learn_prior_mean(history, observed, scale(observed.loss), points, encoder)
    return learned._replace(scale=scale, mean=mean)


@cached(LRUCache(maxsize=32), key=_fit_key, lock=threading.Lock())
def _learn(
    history: History,
    last: int | None,
    observed: Observations,
    points: FloatArray,
    encoder: InputEncoder,
    scale_of: Callable[[FloatArray], Scale] = LogScale.of,
) -> Fit:
    scale = scale_of(observed.loss)
    y = scale(observed.loss)
    kept = curves_of_some(observed, MAX_FIT)
    layout = encoder.layout(curves=last is not None)
    fidelities = None if last is None else log_fidelity(observed.epoch[kept], last)
    x = encoder.inputs(points[observed.trial[kept]], fidelities)
    mean = learn_prior_mean(history, observed, y, points, encoder)
    theta = fit(layout, x, y[kept] if mean is None else y[kept] - mean(x), max_iter=MAX_ITER)
    return Fit(layout, theta, scale, mean)
