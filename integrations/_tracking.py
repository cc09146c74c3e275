"""Helpers of several trackers' callbacks: names of trials, and the data to write."""

from __future__ import annotations

import hashlib
import math
from datetime import UTC, datetime

from hpo_plugins.objective import Objective
from hpo_plugins.records import TrialRecord
from hpo_plugins.space import Value
from hpo_plugins.tuner import Tuner


def study_title(tuner: Tuner) -> str:
    """Return a name that tells apart two studies of one name: it ends with when the first trial was started."""
    first = tuner.history.record(0).started_at
    return f"{tuner.name} {datetime.fromtimestamp(first, UTC):%Y-%m-%d %H.%M.%S}"


def trial_id(tuner: Tuner, trial: TrialRecord) -> str:
    """Return a key of a trial, the same in all processes and different from all other studies' trials."""
    return hashlib.sha256(f"{tuner.name}/{trial.number}/{trial.started_at!r}".encode()).hexdigest()[:16]


def value_name(objective: Objective) -> str:
    """Return the name of a trial's value, distinct from the curve of its metric."""
    return f"{objective.at} {objective.metric}"


def final_values(tuner: Tuner, trial: TrialRecord) -> dict[str, float]:
    """Return the numbers by which trials are compared: the value, if there is one, and the epochs."""
    value = {} if trial.value is None else {value_name(tuner.objective): trial.value}
    std = {} if trial.std is None else {f"{value_name(tuner.objective)} std": trial.std}
    goals = {f"{tuner.objective.at} {name}": each for name, each in trial.values.items()}
    return goals | trial.recorded | value | std | {"epochs": float(trial.epochs)}


def epoch_time(trial: TrialRecord, epoch: int) -> float:
    """Return the approximate end of an epoch, in seconds since 1970; a pause before it is not counted."""
    return trial.started_at + trial.seconds.get(epoch, 0.0)


def end_time(trial: TrialRecord) -> float:
    """Return when a trial ended, in seconds since 1970."""
    return trial.started_at if trial.ended_at is None else trial.ended_at


def finite(metrics: dict[str, float]) -> dict[str, float]:
    """Return the metrics that are finite."""
    return {name: value for name, value in metrics.items() if math.isfinite(value)}


def notes(trial: TrialRecord) -> dict[str, str]:
    """Describe a trial in words."""
    known = {"state": trial.state.value, "stop_reason": trial.stop_reason, "error": trial.error}
    return {name: text for name, text in (known | {"definition": trial.definition}).items() if text is not None}


def as_text(value: Value) -> str:
    """Return a parameter's value as a string that differs for values of different types."""
    return value if isinstance(value, str) else repr(value)
