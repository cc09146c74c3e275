"""What epochs cost, where they do not all last the same.

Notation
    pace      seconds of training an epoch takes
    cost      of an option: its epochs, each weighed by its pace, and what starting up takes; in mean epochs

A larger network's epoch takes longer, and so does the start of a training that loads a checkpoint. Both are measured
while trainings run (see ``training_times``). The paces of configurations not tried yet are predicted by ridge
regression of log pace on the process's inputs: time grows by factors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from hpo_plugins.history import History
from hpo_plugins.space import FloatArray

NOTICEABLE = 0.05
"""Seconds: below this mean pace, what passes between two reports is not the training's own time."""
RIDGE = 1.0


def measured(history: History) -> dict[int, float]:
    """Return the pace of every trial whose epochs were timed, empty where they pass too fast to tell."""
    paces = {
        trial.row.number: trial.curve.seconds[-1] / trial.curve.epochs[-1]
        for trial in history
        if len(trial.curve) > 1 and trial.curve.seconds[-1] > 0
    }
    if len(paces) < 3 or np.mean(list(paces.values())) < NOTICEABLE:
        return {}
    return paces


def startup(history: History, paces: dict[int, float]) -> int:
    """Return what starting a training takes, in mean epochs: the median of what it took so far.

    It is rounded to 0, 1, 2, 4, 8, ... epochs, so that the same search on the same machine decides the same.
    """
    known = [trial.startup_seconds for trial in history if trial.startup_seconds is not None]
    if not paces or not known:
        return 0
    epochs = float(np.median(known)) / float(np.mean(list(paces.values())))
    return 0 if epochs < 0.5 else 2 ** max(0, round(math.log2(epochs)))


def relative(
    paces: dict[int, float], known: FloatArray, points: FloatArray, numbers: Sequence[int | None]
) -> FloatArray:
    """Return the pace of each option divided by the mean pace, 1 where nothing is known.

    Args:
        paces: Measured paces by trial.
        known: Inputs of those trials in their order, shape ``(n, m)``.
        points: Inputs of the options, shape ``(q, m)``.
        numbers: The trial of each option, None for a new configuration.
    """
    if not paces:
        return np.ones(len(points))
    logs = np.log(np.array(list(paces.values())))
    centre, level = known.mean(axis=0), logs.mean()
    x = known - centre
    slope = np.linalg.solve(x.T @ x + RIDGE * np.eye(x.shape[1]), x.T @ (logs - level))
    predicted = np.clip(level + (points - centre) @ slope, logs.min(), logs.max())
    pace = np.exp(predicted)
    for index, number in enumerate(numbers):
        if number in paces:
            pace[index] = paces[number]
    result: FloatArray = pace / np.exp(logs).mean()
    return result
