"""TaskSet's learning curves of Adam configurations on text networks (Metz et al. 2020), as tuning problems.

The data is not part of this project: ``HPO_PLUGINS_TASKSET`` names the folder with ``taskset.py``, whose table answers
a configuration with the curve of its nearest neighbour. More than a third of a task's configurations never beat chance.
"""

from __future__ import annotations

import functools
import math
from types import ModuleType
from typing import Any

import numpy as np

import hpo_plugins as hpo
from benchmarks.harness.interfaces import Curve, Problem
from benchmarks.problems import outside


def library() -> ModuleType:
    """Return the tasks' own module."""
    return outside.module("taskset", "HPO_PLUGINS_TASKSET")


def names() -> tuple[str, ...]:
    """Return the tasks for development."""
    return tuple(library().TASKS)


@functools.cache
def problem(name: str) -> Problem:
    """Return a task to search; its regret is 1 at chance and above."""
    task = library().TaskSet(name)
    seconds = np.arange(1.0, task.max_epoch + 1)

    def train(params: dict[str, Any]) -> Curve:
        losses = task.curve(params)[0]
        return Curve(-np.where(np.isnan(losses), math.inf, losses), seconds, -losses)

    space = {p["name"]: hpo.Continuous(p["low"], p["high"], "log") for p in task.space}
    return Problem(space, task.max_epoch, train, -task.best, -library().CHANCE, task.max_epoch, worst=1.0)
