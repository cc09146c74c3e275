"""Columns with one number per trial."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable

import numpy as np

from hpo_plugins.history.history import History
from hpo_plugins.history.trial_history import TrialHistory
from hpo_plugins.space import FloatArray


def column(history: History, key: Hashable, number_of: Callable[[TrialHistory], float | None]) -> FloatArray:
    """Return a number of every trial, shape ``(n_trials,)``, NaN where there is none.

    Args:
        history: The study.
        key: Identifies the quantity.
        number_of: Returns the number of a trial, None if it has none. It must depend on nothing but the trial.
    """
    return history.derived(("column", key), lambda: _Column(history, number_of)).numbers.copy()


class _Column:
    def __init__(self, history: History, number_of: Callable[[TrialHistory], float | None]) -> None:
        self.numbers: FloatArray = np.empty(0)
        self._history = history
        self._number_of = number_of

    def update(self, changed: Iterable[int]) -> None:
        """Compute the numbers of trials that have changed."""
        if (n_new := len(self._history) - len(self.numbers)) > 0:
            self.numbers = np.append(self.numbers, np.full(n_new, math.nan))
        for number in changed:
            value = self._number_of(self._history[number])
            self.numbers[number] = math.nan if value is None else value
