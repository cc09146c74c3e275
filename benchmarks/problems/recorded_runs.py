"""Training runs that are trained as far as a search asks, and kept in a cache folder of the user.

Every search of every method then sees the same run of a configuration, and pays for its training once.
``HPO_PLUGINS_BENCHMARK_CACHE`` names another folder than ``~/.cache/hpo-plugins/benchmarks``.
"""

from __future__ import annotations

import json
import math
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

Params = dict[str, Any]
Start = Callable[[Params], Iterator[float]]
"""From a configuration to its values, an epoch each; larger is better, NaN: diverged. The same in every call."""


def folder() -> Path:
    """Return the folder of the kept runs."""
    named = os.environ.get("HPO_PLUGINS_BENCHMARK_CACHE")
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(named) if named else Path(root) / "hpo-plugins" / "benchmarks"


def key(params: Params) -> str:
    """Return a configuration as text that does not depend on the order of its parameters."""
    return json.dumps(params, sort_keys=True)


class RecordedRun:
    """The values of a training run; once it has diverged, all are NaN.

    Args:
        known: What was trained before.
        start: Begins it again: values that are known are trained again on the way to further ones.
    """

    def __init__(self, known: list[float], start: Callable[[], Iterator[float]]) -> None:
        """Train nothing yet."""
        self.values = known
        self.has_grown = False
        self._start = start
        self._steps: Iterator[float] | None = None

    def value(self, index: int) -> float:
        """Return the value after epoch ``index + 1``."""
        while len(self.values) <= index:
            dead = bool(self.values) and math.isnan(self.values[-1])
            value = math.nan if dead else next(self._trained())
            self.values.append(value if math.isfinite(value) else math.nan)
            self.has_grown = True
        return self.values[index]

    def _trained(self) -> Iterator[float]:
        if self._steps is None:
            self._steps = self._start()
            for _ in self.values:
                next(self._steps)
        return self._steps


class Values:
    """A run as a sequence, in which divergence has a value of its own."""

    def __init__(self, run: RecordedRun, diverged: float) -> None:
        """Wrap it."""
        self._run, self._diverged = run, diverged

    def __getitem__(self, index: int, /) -> float:
        """Return the value after epoch ``index + 1``."""
        value = self._run.value(index)
        return self._diverged if math.isnan(value) else value


class RecordedRuns:
    """The runs of a task.

    Args:
        name: The task, with the versions of what trains it: another version may train otherwise.
        start: Begins a training run.
        at: The folder to keep them in.
    """

    def __init__(self, name: str, start: Start, at: Path | None = None) -> None:
        """Open the cache."""
        self._name, self._start = name, start
        self._used: dict[str, RecordedRun] = {}
        at = at or folder()
        at.mkdir(parents=True, exist_ok=True)
        self._file = sqlite3.connect(at / "runs.sqlite", timeout=120)
        self._file.execute(
            "CREATE TABLE IF NOT EXISTS run (task TEXT, params TEXT, value BLOB, PRIMARY KEY (task, params))"
        )

    def run(self, params: Params) -> RecordedRun:
        """Return the run of a configuration."""
        text = key(params)
        if text not in self._used:
            row = self._file.execute(
                "SELECT value FROM run WHERE task = ? AND params = ?", (self._name, text)
            ).fetchone()
            known = np.frombuffer(row[0]).tolist() if row else []
            self._used[text] = RecordedRun(known, lambda: self._start(params))
        return self._used[text]

    def save(self) -> None:
        """Keep what was trained, and forget what was asked for."""
        grown = [
            (self._name, text, np.array(run.values).tobytes()) for text, run in self._used.items() if run.has_grown
        ]
        with self._file:
            self._file.executemany("REPLACE INTO run VALUES (?, ?, ?)", grown)
        self._used.clear()
