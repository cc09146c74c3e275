"""Families of training runs to search among: what is true of one of them may be luck, what is true of all is not."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

from benchmarks.harness.interfaces import Problem
from benchmarks.problems import boosting, lcbench, real_tasks, small_trainings, taskset


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
def _real(name: str) -> Iterator[Problem]:
    """Hold a task of real training runs, and keep what was trained."""
    task = real_tasks.RealTask(name)
    yield task.problem
    task.remember()


FAMILIES = {
    "real": Family("Real trainings", real_tasks.names, _real, in_seconds=True),
    "lcbench": Family("LCBench", lambda: lcbench.DEV, lambda name: contextlib.nullcontext(lcbench.problem(name))),
    "taskset": Family("TaskSet", taskset.names, lambda name: contextlib.nullcontext(taskset.problem(name))),
    "boosting": Family("Boosting", boosting.names, lambda name: contextlib.nullcontext(boosting.problem(name))),
    "small": Family(
        "Small trainings",
        small_trainings.names,
        lambda name: contextlib.nullcontext(small_trainings.problem(name)),
    ),
}
