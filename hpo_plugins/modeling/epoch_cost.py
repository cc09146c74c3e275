"""The cost of epochs that take different times.

Notation
    seconds per epoch   the time that an epoch of a trial's training takes
    cost                of an option: its epochs, weighted by their time, plus start-up; in mean epochs

The epochs of a larger network take longer, and so does the start of a training run that loads a checkpoint. Both are
measured during training (``history/timing.py``). For new configurations, the time of an epoch is predicted by ridge
regression of its logarithm on the encoded configuration, since times differ by factors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from hpo_plugins.history import History, TrialHistory
from hpo_plugins.history.columns import column
from hpo_plugins.space import FloatArray

Cost = Literal["auto", "epochs", "seconds"]
"""What an epoch costs; ``"auto"``: the seconds that it takes if they differ between trials, otherwise 1."""
MIN_SECONDS_PER_EPOCH = 0.001
"""Below this mean, most time between two reports is overhead."""
MIN_RATIO = 1.5
"""Times differ if those of the slowest tenth are this many times those of the fastest tenth."""
RIDGE = 1.0


def seconds_per_epoch(history: History) -> dict[int, float]:
    """Return the seconds per epoch of every trial with timed epochs, empty if epochs are too fast to be timed."""
    seconds = column(history, "seconds per epoch", _seconds)
    numbers = np.flatnonzero(np.isfinite(seconds))
    if len(numbers) < 3 or seconds[numbers].mean() < MIN_SECONDS_PER_EPOCH:
        return {}
    return dict(zip(numbers.tolist(), seconds[numbers].tolist(), strict=True))


def _seconds(trial: TrialHistory) -> float | None:
    curve = trial.curve
    return curve.seconds[-1] / curve.epochs[-1] if len(curve) > 1 and curve.seconds[-1] > 0 else None


def counts_seconds(cost: Cost, seconds: dict[int, float]) -> bool:
    """Return whether an epoch costs the seconds that it takes.

    Args:
        cost: The user's choice.
        seconds: Seconds per epoch by trial.
    """
    if cost != "auto" or not seconds:
        return cost == "seconds"
    fast, slow = np.quantile(list(seconds.values()), (0.1, 0.9))
    return bool(slow >= MIN_RATIO * fast)


def startup_epochs(history: History, seconds: dict[int, float]) -> int:
    """Return the start-up time of a training run: the median so far, in mean epochs.

    It is rounded to 0, 1, 2, 4, 8, ... epochs, so that the same search on the same machine makes the same decisions.

    Args:
        history: The study.
        seconds: Seconds per epoch by trial.
    """
    startup = column(history, "startup", lambda trial: trial.startup_seconds)
    known = startup[np.isfinite(startup)]
    if not seconds or not len(known):
        return 0
    epochs = float(np.median(known)) / float(np.mean(list(seconds.values())))
    return 0 if epochs < 0.5 else 2 ** max(0, round(math.log2(epochs)))


def relative_epoch_cost(
    seconds: dict[int, float], known: FloatArray, inputs: FloatArray, numbers: Sequence[int | None]
) -> FloatArray:
    """Return the seconds per epoch of options, divided by the measured mean; 1 if nothing is known; shape ``(q,)``.

    Args:
        seconds: Measured seconds per epoch by trial.
        known: Inputs of those trials in their order, shape ``(n, m)``.
        inputs: Inputs of the options, shape ``(q, m)``.
        numbers: The trial of each option, None for a new configuration.
    """
    if not seconds:
        return np.ones(len(inputs))
    logs = np.log(np.array(list(seconds.values())))
    centre, level = known.mean(axis=0), logs.mean()
    x = known - centre
    weights = np.linalg.solve(x.T @ x + RIDGE * np.eye(x.shape[1]), x.T @ (logs - level))
    predicted = np.clip(level + (inputs - centre) @ weights, logs.min(), logs.max())
    cost = np.exp(predicted)
    for index, number in enumerate(numbers):
        if number in seconds:
            cost[index] = seconds[number]
    relative: FloatArray = cost / np.exp(logs).mean()
    return relative
