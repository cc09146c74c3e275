"""Families of training runs to search among: what is true of one of them may be luck, what is true of all is not."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import NamedTuple

from benchmarks.harness.interfaces import Problem
from benchmarks.problems import boosting, lcbench, real_tasks, real_trainings, small_trainings, taskset
from benchmarks.problems.recorded_runs import RecordedRuns


class Family(NamedTuple):
    """Problems of one kind.

    Attributes:
        title: What they are.
        names: Returns their names.
        problem: Returns a context that holds a problem.
        in_seconds: Whether the budget is simulated time, with any number of workers; otherwise epochs.
    """

    title: str
    names: Callable[[], tuple[str, ...]]
    problem: Callable[[str], contextlib.AbstractContextManager[Problem]]
    in_seconds: bool = False


@contextlib.contextmanager
def _outside(name: str) -> Iterator[Problem]:
    """Hold a task of real training runs that is not part of this project, and keep what was trained."""
    task = real_tasks.RealTask(name)
    yield task.problem
    task.remember()


@contextlib.contextmanager
def _keeping(runs: RecordedRuns, make: Callable[[RecordedRuns], Problem]) -> Iterator[Problem]:
    """Hold a problem of training runs, and keep what was trained."""
    yield make(runs)
    runs.save()


def _trained(tasks: ModuleType) -> Callable[[str], contextlib.AbstractContextManager[Problem]]:
    return lambda name: _keeping(tasks.recorded(name), functools.partial(tasks.problem, name))


SHIPPED = Family("Real trainings", real_trainings.names, _trained(real_trainings), in_seconds=True)
"""The real training runs that are part of this project."""
OUTSIDE = Family("Real trainings", real_tasks.names, _outside, in_seconds=True)
"""Those of the folder that the environment names."""


FAMILIES = {
    "shipped": SHIPPED,
    "real": OUTSIDE if real_tasks.is_named() else SHIPPED,
    "lcbench": Family("LCBench", lambda: lcbench.DEV, lambda name: contextlib.nullcontext(lcbench.problem(name))),
    "taskset": Family("TaskSet", taskset.names, lambda name: contextlib.nullcontext(taskset.problem(name))),
    "boosting": Family("Boosting", boosting.names, lambda name: contextlib.nullcontext(boosting.problem(name))),
    "small": Family("Small trainings", small_trainings.names, _trained(small_trainings)),
}
