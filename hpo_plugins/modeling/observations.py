"""From the history to the arrays that the surrogate learns from.

Notation
    R       the last epoch of a full training; 1 where only final values count
    grid    the epochs at which curves are read: geometric, from 2 to R
    tau     ``log(epoch) / log(R)``, the place of an epoch in [0, 1]
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hpo_plugins.history import History, ParentTrial, TrialHistory
from hpo_plugins.records import TrialState
from hpo_plugins.space import FloatArray

FIRST = 2
"""The grid's first epoch. What a training shows after its very first says little of how it ends (a correlation of 0
on LCBench, against 0.4 to 0.8 after the second), and jumps as no later part of the curve does."""
GRID_FACTOR = 1.6
"""From one epoch of the grid to the next."""


class Observations(NamedTuple):
    """What is known of the losses, an entry an observation.

    Attributes:
        trial: The trial's number.
        epoch: The epoch, R for a final value.
        loss: The loss there, as the objective counts it; NaN for a trial that failed.
        settled: Whether it was there before the trainings that run now: what is learned of the process's
            hyperparameters changes only when a training ends, so that epochs cost little.
    """

    trial: NDArray[np.intp]
    epoch: NDArray[np.intp]
    loss: FloatArray
    settled: NDArray[np.bool_]

    def beside(self, others: Observations) -> Observations:
        """Return these and others after them."""
        return Observations(*(np.concatenate(columns) for columns in zip(self, others, strict=True)))

    def only(self, chosen: NDArray[np.bool_]) -> Observations:
        """Return the chosen ones."""
        return Observations(self.trial[chosen], self.epoch[chosen], self.loss[chosen], self.settled[chosen])


@functools.cache
def grid(last: int) -> tuple[int, ...]:
    """Return the epochs at which curves up to ``last`` are read and judged."""
    if last <= FIRST:
        return (last,)
    epochs = [FIRST]
    while epochs[-1] < last:
        epochs.append(max(epochs[-1] + 1, round(epochs[-1] * GRID_FACTOR)))
    if len(epochs) > 2 and last < epochs[-2] * (1 + (GRID_FACTOR - 1) / 2):
        del epochs[-2]  # too close to the last
    return (*epochs[:-1], last)


def place(epoch: NDArray[np.intp] | float, last: int) -> FloatArray:
    """Return tau."""
    return np.log(np.maximum(epoch, 1)) / math.log(max(last, 2))


def known_points(history: History) -> FloatArray:
    """Return the trials' configurations by number, and after them those of identical parents' trials."""
    earlier = [trial.point for trial in _identical(history)]
    return np.vstack([history.points(), np.array(earlier).reshape(len(earlier), len(history.space))])


def _identical(history: History) -> list[ParentTrial]:
    """Return the parents' trials that count as the study's own."""
    return [trial for parent in history.parents if parent.identical for trial in parent.trials]


def observe_identical(history: History, last: int | None) -> Observations:
    """Return what identical parents' trials teach, as if they were trials after the study's own."""
    return _columns(
        [
            row
            for number, trial in enumerate(_identical(history), len(history))
            for row in _earlier(trial, number, last, history.objective.at)
        ]
    )


def _earlier(
    trial: ParentTrial, number: int, last: int | None, at: Literal["best", "last"]
) -> Iterator[tuple[int, int, float, bool]]:
    curve, end = trial.curve, last or 1
    if trial.state is TrialState.FAILED:
        yield number, end, math.nan, True
    elif (loss := curve.loss(at=at)) is not None:
        newest = end if last is None or trial.state is TrialState.COMPLETED else min(curve.epochs[-1], end)
        for epoch in grid(end):
            if epoch < min(newest, curve.epochs[-1]) and (known := curve.loss(epoch, at=at)) is not None:
                yield number, epoch, known, True
        yield number, newest, loss, True


def observe_values(history: History) -> Observations:
    """Return one observation a finished trial: its value."""
    rows = [
        (trial.row.number, 1, loss, True)
        for trial in history
        if trial.state.is_final and (loss := _value(history, trial)) is not None
    ]
    return _columns(rows)


def observe_curves(history: History, last: int) -> Observations:
    """Return every trial's curve at the epochs of the grid, and at its newest epoch."""
    return _columns([row for trial in history for row in _curve(history, trial, last)])


def _curve(history: History, trial: TrialHistory, last: int) -> Iterator[tuple[int, int, float, bool]]:
    number, curve = trial.row.number, trial.curve
    if trial.state is TrialState.FAILED:
        if not trial.row.failed_attempts:
            yield number, last, math.nan, True
        return
    if not len(curve):
        return
    newest = curve.epochs[-1]
    settled = trial.row.start_epoch if trial.state is TrialState.RUNNING else newest
    ended = trial.state is TrialState.COMPLETED  # perhaps early, by itself: its value holds to the end
    # Where not every epoch is reported, a report stands for itself alone: at its own epoch.
    marks = (*grid(last), settled, newest)
    read = {epoch for mark in marks if (epoch := curve.last_epoch_until(mark)) is not None}
    for epoch in sorted(read):
        loss = curve.loss(epoch, at=history.objective.at)
        if loss is not None and (epoch >= grid(last)[0] or ended):
            at = last if ended and epoch == newest else min(epoch, last)
            yield number, at, loss, epoch <= settled


def _value(history: History, trial: TrialHistory) -> float | None:
    """Return what a finished trial teaches: its loss, NaN when it failed by itself, None when it is no lesson."""
    if trial.state is TrialState.FAILED:
        return None if trial.row.failed_attempts else math.nan
    return history.loss(trial.row.number)


def _columns(rows: list[tuple[int, int, float, bool]]) -> Observations:
    trial, epoch, loss, settled = zip(*rows, strict=True) if rows else ((), (), (), ())
    return Observations(
        np.array(trial, dtype=np.intp),
        np.array(epoch, dtype=np.intp),
        np.array(loss, dtype=np.float64),
        np.array(settled, dtype=bool),
    )


class Standardization(NamedTuple):
    """The scale on which the process sees losses.

    Losses may be of any size, so they are first divided by ``unit``. Bad ones are drawn in: how bad a bad
    configuration is says little about where good ones are, and one diverged training must not flatten all the rest.
    """

    unit: float
    limit: float
    middle: float
    spread: float
    worst: float
    """The largest standardised loss, which failures count as."""

    @classmethod
    def of(cls, loss: FloatArray) -> Standardization:
        """Return the scale that fits these losses; NaN, a failure, counts for nothing."""
        known = loss[np.isfinite(loss)]
        if not len(known):
            return cls(1.0, math.inf, 0.0, 1.0, 0.0)
        unit = float(np.abs(known).max()) or 1.0
        scaled = known / unit
        tenth, median, quarter = np.quantile(scaled, (0.1, 0.5, 0.75))
        reach = float(median - tenth) or float(quarter - median)
        limit = float(median) + TAIL * reach if reach > 0 else math.inf
        drawn = np.minimum(scaled, limit)
        middle, spread = float(drawn.mean()), float(drawn.std())
        if not spread > 1e-12 * float(np.abs(drawn).max()):  # all the same
            spread = 1.0
        return cls(unit, limit, middle, spread, float((drawn.max() - middle) / spread))

    def __call__(self, loss: FloatArray) -> FloatArray:
        """Return standardised losses."""
        with np.errstate(over="ignore"):
            standardized = (np.minimum(loss / self.unit, self.limit) - self.middle) / self.spread
        # A new loss may lie far from all that the scale was made of.
        return np.where(np.isnan(standardized), self.worst, np.clip(standardized, -FAR, self.worst + TAIL))

    def back(self, value: float) -> float:
        """Return the loss of a standardised one."""
        return (value * self.spread + self.middle) * self.unit


FAR = 1e4
"""The largest standardised distance of a good loss: beyond it, squares would lose what tells the others apart."""
TAIL = 5.0
"""Losses further above the median than so many times the distance of the good tenth below it are drawn in."""
