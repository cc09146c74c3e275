"""What to expect of the best trial if its configuration is trained again.

The best of many noisy values is partly luck: a new training run of its configuration is usually worse. The expectation
is computed from the trials that were trained about as far (``noisy_runs``), for the best trial only.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from hpo_plugins.history import Curve, History, TrialHistory
from hpo_plugins.modeling.noisy_runs import expected_loss
from hpo_plugins.records import TrialRecord, TrialState
from hpo_plugins.space import FloatArray

MIN_TRIALS = 6
"""Minimum number of comparable trials."""
AS_FAR = 2 / 3
"""A trial is comparable if it was trained for at least this share of the best trial's epochs."""


class Expectation(NamedTuple):
    """The value to expect of a new training run, and its standard deviation, the run's own noise included.

    ``value`` plus and minus 1.645 times ``deviation`` is a 90 % interval. The deviation is 0 if training runs seem to
    repeat exactly.
    """

    value: float
    deviation: float


def with_expectation(record: TrialRecord, history: History) -> TrialRecord:
    """Return the record of the best trial with what to expect of it; unchanged if that is unknown.

    Args:
        record: The best trial, of the study or of an identical parent.
        history: The study.
    """
    found = expect(record, history)
    return record if found is None else replace(record, expected=found.value, expected_std=found.deviation)


def expect(record: TrialRecord, history: History) -> Expectation | None:
    """Return what to expect if the best trial is trained again as far; None if too few trials are comparable.

    Args:
        record: The best trial, of the study or of an identical parent.
        history: The study.
    """
    if record.value is None:
        return None
    compared = _comparable(record, history)
    if compared is None or len(compared.losses) < MIN_TRIALS:
        return None
    found = expected_loss(history.space, compared.points, compared.losses, compared.best)
    return None if found is None else Expectation(history.objective.loss(found[0]), found[1])


class _Compared(NamedTuple):
    """Comparable trials: their configurations, shape ``(n, d)``, their losses, and the index of the best trial."""

    points: FloatArray
    losses: FloatArray
    best: int


def _comparable(record: TrialRecord, history: History) -> _Compared | None:
    best = history[record.number] if record.parent is None else None
    last, loss = record.epochs, history.objective.loss(record.value or 0.0)
    points: list[FloatArray] = []
    losses: list[float] = []
    index: int | None = None
    for trial, point, curve, ended in _trials(history, best):
        known = curve.loss(last, at=history.objective.at)
        if known is None or not math.isfinite(known):
            continue
        is_best = trial is best if best is not None else trial is None and index is None and known == loss
        if is_best:
            index = len(losses)
        elif not (ended or curve.reached(math.ceil(AS_FAR * last))):
            continue
        points.append(point)
        losses.append(known)
    return None if index is None else _Compared(np.array(points), np.array(losses), index)


def _trials(
    history: History, best: TrialHistory | None
) -> Iterator[tuple[TrialHistory | None, FloatArray, Curve, bool]]:
    """Yield the trials that may count: the study's (None for a parent's), point, curve, whether it ended by itself."""
    for trial in history:
        done = trial.state not in (TrialState.FAILED, TrialState.RUNNING)
        same_folds = best is None or trial.missing_folds == best.missing_folds
        if trial is best or (done and same_folds):
            yield trial, trial.point, trial.curve, trial.state is TrialState.COMPLETED
    if best is not None and history.n_folds is not None:
        return  # parents' trials have other folds or none
    for parent in history.identical_trials:
        if parent.state is not TrialState.FAILED:
            yield None, parent.point, parent.curve, parent.state is TrialState.COMPLETED
