"""Further real training runs, from a folder outside: tasks like those of ``real_trainings.py``, and recorded runs.

``HPO_PLUGINS_REAL_CURVES`` names the folder with ``tasks.py`` (real learning curves with a cost model, so that
simulated time is reproducible). Training runs are kept in ``REAL_CURVES_CACHE``.
"""

from __future__ import annotations

import functools
import math
import os
from types import ModuleType
from typing import Any

import numpy as np

import hpo_plugins as hpo
from benchmarks.harness.interfaces import Curve, Problem
from benchmarks.problems import outside
from hpo_plugins.space import Parameter

BATCH_SIZE = 64
"""The batch size that a user of a shipped space would name."""


VARIABLE = "HPO_PLUGINS_REAL_CURVES"


def is_named() -> bool:
    """Return whether the environment names the folder."""
    return VARIABLE in os.environ


def library() -> ModuleType:
    """Return the tasks' own module."""
    return outside.module("tasks", VARIABLE)


def names() -> tuple[str, ...]:
    """Return the tasks."""
    return tuple(library().TASKS)


class _Values:
    """The values of a training run, which is trained as far as it is asked for."""

    def __init__(self, values: Any, sign: float, diverged: float) -> None:
        self._values, self._sign, self._diverged = values, sign, diverged

    def __getitem__(self, index: int, /) -> float:
        value = self._sign * float(self._values[index])
        return self._diverged if math.isnan(value) else value


class RealTask:
    """A task, and what was trained of it."""

    def __init__(self, name: str) -> None:
        """Load it."""
        tasks = library()
        self.real, known = tasks.Real(name), tasks.constants(name)
        self._trained: list[Any] = []
        seconds = float(np.mean(self.recorded["sec"].sum(axis=1)))
        self.problem = Problem(
            self._space(), self.real.max_epoch, self._train, known["limit"], known["median"], seconds,
            setting=self._setting(),
        )  # fmt: skip

    @functools.cached_property
    def recorded(self) -> dict[str, Any]:
        """Recorded training runs: ``U`` the configurations in the unit cube, ``val`` and ``sec`` by epoch."""
        found: dict[str, Any] = self.real.recorded()
        return found

    def remember(self) -> None:
        """Keep what was trained."""
        self.real.remember(self._trained)

    def _setting(self) -> dict[str, int]:
        """Return what is known before the search."""
        inputs = self.real.kind.parts()[0][0]
        if hasattr(self.real.kind, "rounds"):
            return {"rows": len(inputs), "features": inputs.shape[1], "num_boost_round": self.real.kind.rounds}
        return {"steps": len(inputs) // BATCH_SIZE * self.real.max_epoch, "batch_size": BATCH_SIZE}

    def _space(self) -> dict[str, Parameter]:
        space: dict[str, Parameter] = {}
        for p in self.real.space:
            if p["type"] == "cat":
                space[p["name"]] = hpo.Categorical(p["choices"])
            else:
                kind = hpo.Integer if p["type"] == "int" else hpo.Continuous
                space[p["name"]] = kind(p["low"], p["high"], "log" if p.get("log") else "linear")
        return space

    def _train(self, params: dict[str, Any]) -> Curve:
        values, seconds, _, training = self.real.curve(params)
        self._trained.append(training)
        sign = self.real.sign
        return Curve(_Values(values, sign, -math.inf), seconds, _Values(values, sign, math.nan))
