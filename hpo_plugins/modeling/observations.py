"""Convert the history to the arrays for the surrogate.

Notation
    R              the last epoch of a full training run; 1 if only final values are modelled
    grid           the epochs at which curves are read: geometric, from 2 to R
    log-fidelity   ``log(epoch) / log(R)``: an epoch as a coordinate in [0, 1]
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hpo_plugins.history import History, ParentTrial, TrialHistory
from hpo_plugins.records import TrialState
from hpo_plugins.space import FloatArray

FIRST_EPOCH = 2
"""The grid's first epoch. The first epoch says little about a run's end, and curves change most after it
(docs/decisions/0009).
"""
GRID_FACTOR = 1.6
"""The ratio of neighbouring epochs of the grid."""
GOLDEN = (math.sqrt(5) - 1) / 2
"""Multiples of it are evenly spread over the unit interval, modulo 1 (van der Corput)."""
PART = 64
"""Number of trials per part; observations of unchanged parts are kept (docs/decisions/0016)."""


class Observation(NamedTuple):
    """One known loss; see ``Observations``."""

    trial: int
    epoch: int
    loss: float
    is_final: bool


class Observations(NamedTuple):
    """The known losses, one entry per observation.

    Attributes:
        trial: The number of the trial.
        epoch: The epoch; R for a final value.
        loss: The loss according to the objective; NaN for a trial that failed.
        is_final: Whether it precedes the training runs that are running: hyperparameters are learned from these only,
            so that they change when a training run ends and not with every epoch.
    """

    trial: NDArray[np.intp]
    epoch: NDArray[np.intp]
    loss: FloatArray
    is_final: NDArray[np.bool_]

    @classmethod
    def of(cls, rows: list[Observation]) -> Observations:
        """Return the columns of single observations."""
        trial, epoch, loss, is_final = zip(*rows, strict=True) if rows else ((), (), (), ())
        return cls(
            np.array(trial, dtype=np.intp),
            np.array(epoch, dtype=np.intp),
            np.array(loss, dtype=np.float64),
            np.array(is_final, dtype=bool),
        )

    @property
    def is_newest(self) -> NDArray[np.bool_]:
        """Whether each observation is its trial's last one."""
        return np.append(self.trial[1:] != self.trial[:-1], True)[: len(self.trial)]

    def append(self, others: Observations) -> Observations:
        """Return these observations followed by others."""
        return Observations(*(np.concatenate(columns) for columns in zip(self, others, strict=True)))

    def select(self, chosen: NDArray[np.bool_]) -> Observations:
        """Return the chosen observations."""
        return Observations(self.trial[chosen], self.epoch[chosen], self.loss[chosen], self.is_final[chosen])


@functools.cache
def epoch_grid(last: int) -> tuple[int, ...]:
    """Return the epochs at which curves up to epoch ``last`` are read and judged, ascending."""
    if last <= FIRST_EPOCH:
        return (last,)
    epochs = [FIRST_EPOCH]
    while epochs[-1] < last:
        epochs.append(max(epochs[-1] + 1, round(epochs[-1] * GRID_FACTOR)))
    if len(epochs) > 2 and last < epochs[-2] * (1 + (GRID_FACTOR - 1) / 2):
        del epochs[-2]  # too close to the last
    return (*epochs[:-1], last)


def log_fidelity(epoch: NDArray[np.intp] | float, last: int) -> FloatArray:
    """Return epochs as coordinates in [0, 1], where ``last`` is R."""
    return np.log(np.maximum(epoch, 1)) / math.log(max(last, 2))


def known_points(history: History) -> FloatArray:
    """Return all configurations in the unit cube, shape ``(n, d)``: the trials', then those of identical parents."""
    parents = [trial.point for trial in history.identical_trials]
    return np.vstack([history.points(), np.array(parents).reshape(len(parents), len(history.space))])


def observe(history: History, last: int | None) -> Observations:
    """Return all known losses: the trials', then those of identical parents' trials.

    Args:
        history: The study.
        last: R if curves are modelled; None if only final values are.
    """
    own = observe_values(history) if last is None else observe_curves(history, last)
    return own.append(observe_identical(history, last))


def observe_values(history: History) -> Observations:
    """Return one observation per trial that has ended: its value."""
    return Observations.of(
        [
            Observation(trial.row.number, 1, loss, is_final=True)
            for trial in history
            if trial.state.is_final and (loss := _value(history, trial)) is not None
        ]
    )


def observe_curves(history: History, last: int) -> Observations:
    """Return every trial's curve at the epochs of the grid and at its newest epoch."""
    return history.derived(("curves", last), lambda: _Curves(history, last)).get()


class _Curves:
    """The observations of curves, kept in parts; only parts with changed trials are rebuilt.

    Args:
        history: The study.
        last: R.
    """

    def __init__(self, history: History, last: int) -> None:
        self._history = history
        self._last = last
        self._parts: list[Observations] = []

    def update(self, changed: Iterable[int]) -> None:
        """Rebuild the parts that contain changed trials."""
        history = self._history
        for part in sorted({number // PART for number in changed}):
            trials = [history[number] for number in range(part * PART, min((part + 1) * PART, len(history)))]
            made = Observations.of([row for trial in trials for row in _curve(history, trial, self._last)])
            self._parts[part : part + 1] = [made]

    def get(self) -> Observations:
        """Return all observations."""
        if not self._parts:
            return Observations.of([])
        return Observations(*(np.concatenate(columns) for columns in zip(*self._parts, strict=True)))


def observe_identical(history: History, last: int | None) -> Observations:
    """Return the losses of identical parents' trials, as trials numbered after the study's own."""
    return Observations.of(
        [
            row
            for number, trial in enumerate(history.identical_trials, len(history))
            for row in _parent_curve(trial, number, last, history.objective.at)
        ]
    )


def most_informative(observed: Observations, y: FloatArray, count: int) -> NDArray[np.intp]:
    """Return the indices of at most ``count`` observations, ascending.

    The newest of every trial come first, then all of the five best trials, then the later ones of the others.

    Args:
        observed: All observations.
        y: Their standardised losses.
        count: How many to keep.
    """
    if len(y) <= count:
        return np.arange(len(y))
    newest = observed.is_newest
    best = np.isin(observed.trial, observed.trial[np.argpartition(y, 5)[:5]])
    # The newest alone are sorted, if they suffice: all observations of a large study take long (docs/decisions/0016).
    candidates = np.flatnonzero(newest) if newest.sum() >= count else np.arange(len(y))
    rank = np.lexsort((y[candidates], -observed.epoch[candidates], ~best[candidates], ~newest[candidates]))
    return np.sort(candidates[rank[:count]])


def curves_of_some(observed: Observations, count: int) -> NDArray[np.intp]:
    """Return the indices of at most ``count`` observations, ascending: whole curves, whatever their losses.

    They are of trials that are spread evenly over the study.
    """
    order = np.argsort(observed.trial * GOLDEN % 1, kind="stable")
    return np.sort(order[:count])


def _parent_curve(
    trial: ParentTrial, number: int, last: int | None, at: Literal["best", "last"]
) -> Iterator[Observation]:
    curve, end = trial.curve, last or 1
    if trial.state is TrialState.FAILED:
        yield Observation(number, end, math.nan, is_final=True)
    elif (loss := curve.loss(at=at)) is not None:
        newest = end if last is None or trial.state is TrialState.COMPLETED else min(curve.epochs[-1], end)
        for epoch in epoch_grid(end):
            if epoch < min(newest, curve.epochs[-1]) and (known := curve.loss(epoch, at=at)) is not None:
                yield Observation(number, epoch, known, is_final=True)
        yield Observation(number, newest, loss, is_final=True)


def _curve(history: History, trial: TrialHistory, last: int) -> Iterator[Observation]:
    number, curve = trial.row.number, trial.curve
    if trial.state is TrialState.FAILED:
        if not trial.row.failed_attempts:
            yield Observation(number, last, math.nan, is_final=True)
        return
    if not len(curve):
        return
    newest = curve.epochs[-1]
    final_epoch = trial.row.progress.start_epoch if trial.state is TrialState.RUNNING else newest
    completed = trial.state is TrialState.COMPLETED  # perhaps early, by itself; its value counts at R
    # A training run that ends before the grid begins has no other observation.
    first = epoch_grid(last)[0] if trial.state is TrialState.RUNNING else min(epoch_grid(last)[0], newest)
    # If not every epoch is reported, a report stands for its own epoch only.
    epochs = (*epoch_grid(last), final_epoch, newest)
    reported = {known for epoch in epochs if (known := curve.last_epoch_until(epoch)) is not None}
    for epoch in sorted(reported):
        loss = curve.loss(epoch, at=history.objective.at)
        if loss is not None and (epoch >= first or completed):
            fidelity = last if completed and epoch == newest else min(epoch, last)
            yield Observation(number, fidelity, loss, is_final=epoch <= final_epoch)


def _value(history: History, trial: TrialHistory) -> float | None:
    """Return the loss of an ended trial, NaN if its training run failed, None if only its workers failed."""
    if trial.state is TrialState.FAILED:
        return None if trial.row.failed_attempts else math.nan
    return history.loss(trial.row.number)
