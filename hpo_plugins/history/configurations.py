"""The configurations of all trials, as a set and as points of the unit cube."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from hpo_plugins.history.trial_history import TrialHistory
from hpo_plugins.space import FloatArray, Space, Value


class Configurations:
    """The configurations of the trials of one history.

    Args:
        space: The search space.
        trials: The trials, a list that grows.
    """

    def __init__(self, space: Space, trials: Sequence[TrialHistory]) -> None:
        """Start empty."""
        self._space = space
        self._trials = trials
        self._keys: set[str] = set()
        self._points: FloatArray = np.empty((0, len(space)))  # of the known trials, with room for more
        self._n_known = 0

    def update(self, changed: Iterable[int]) -> None:  # noqa: ARG002 - a trial keeps its configuration
        """Add the new trials."""
        new = self._trials[self._n_known :]
        known = self._n_known + len(new)
        if len(self._points) < known:
            self._points = np.resize(self._points, (2 * known, len(self._space)))
        for trial in new:
            self._keys.add(self._space.key(trial.row.params))
            self._points[self._n_known] = trial.point
            self._n_known += 1

    def contains(self, params: Mapping[str, Value]) -> bool:
        """Return whether a trial has this configuration."""
        return self._space.key(params) in self._keys

    def points(self) -> FloatArray:
        """Return all of them in the unit cube, shape ``(n_trials, d)``."""
        return self._points[: self._n_known].copy()
