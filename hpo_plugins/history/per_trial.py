"""A number of every trial, computed again only for trials that have changed.

Without this cache, each decision of a surrogate would scan all trials (docs/decisions/0016).
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Hashable
from weakref import WeakKeyDictionary

import numpy as np

from hpo_plugins.history.history import History
from hpo_plugins.history.trial_history import TrialHistory
from hpo_plugins.space import FloatArray

_lock = threading.Lock()
_known: WeakKeyDictionary[History, dict[Hashable, tuple[FloatArray, int]]] = WeakKeyDictionary()


def per_trial(history: History, key: Hashable, number_of: Callable[[TrialHistory], float | None]) -> FloatArray:
    """Return a number of every trial, shape ``(n_trials,)``, NaN where there is none.

    Args:
        history: The study.
        key: Identifies what the number is.
        number_of: Returns the number of a trial, None if it has none. It must depend on nothing but the trial.
    """
    with _lock:
        of_history = _known.setdefault(history, {})
        numbers, followed = of_history.get(key) or (np.empty(0), 0)
        changed, followed = history.changed_since(followed)
        if len(numbers) < len(history):
            numbers = np.append(numbers, np.full(len(history) - len(numbers), math.nan))
        for number in changed:
            value = number_of(history[number])
            numbers[number] = math.nan if value is None else value
        of_history[key] = numbers, followed
        return numbers.copy()
