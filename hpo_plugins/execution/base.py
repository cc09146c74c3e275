"""The protocols of an executor and of the search that it executes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Protocol

from hpo_plugins.coordination.session import StudySession
from hpo_plugins.history import History
from hpo_plugins.storage import StudyStore
from hpo_plugins.storage.checkpoints import Checkpoints
from hpo_plugins.trial import Trial

Train = Callable[[Trial], object]
"""Trains one trial; its return value is ignored."""


class Search(Protocol):
    """The search of a tuner, as executors see it; it can be pickled."""

    @property
    def store(self) -> StudyStore:
        """The study in its storage."""

    @property
    def checkpoints(self) -> Checkpoints:
        """The checkpoint files of its trials."""

    @property
    def is_done(self) -> bool:
        """Whether the search is over."""

    @property
    def is_stopping(self) -> bool:
        """Whether ``stop`` was called in this process."""

    def stop(self) -> None:
        """Start no more trials in this process."""

    def run_worker(self, train: Train) -> None:
        """Train trials in this process until the search is over."""

    def for_worker(self, store: StudyStore, checkpoints: Checkpoints, worker: str) -> Search:
        """Return the search for a worker of that name with its own access to the study and its files."""

    def mark_dead(self, worker: str) -> None:
        """Make the trials of a dead worker available to other workers."""

    def end_silent(self, processes: Collection[str]) -> set[str]:
        """End trials that have reported nothing for longer than ``max_trial_seconds`` and a grace.

        Args:
            processes: Names of processes (``storage.processes.name_of``); only the trials of their workers are ended.

        Returns:
            The processes of these workers, which still train: the executor ends them.
        """

    def look(self) -> None:
        """Update the observers; executors call it from time to time while workers train."""


class Observer(Protocol):
    """Observes the loops of one process, such as to show progress; its methods raise nothing."""

    def begin(self) -> None:
        """Note that a loop begins."""

    def look(self) -> None:
        """Update; called between training runs and while workers train."""

    def end(self) -> None:
        """Note that it has ended."""


class Executor(Protocol):
    """Trains a search with several workers: ``tuner.run(train, workers=executor)``."""

    def run(self, search: Search, train: Train) -> None:
        """Train until the search is over."""


class Loop(Protocol):
    """The loop over the trials of a search, as a tuner sees it: this process's own, or that of a further rank."""

    session: StudySession

    def __iter__(self) -> Iterator[Trial]:
        """Yield trials until the search is over, each after the training run of the one before."""

    def run(self, train: Train, workers: int | Executor, devices_per_worker: int | None = None) -> None:
        """Train until the search is over."""

    def acquire(self) -> Trial | None:
        """Return the next trial to train, or None if there is nothing to train now."""

    def abandon_acquisition(self) -> None:
        """Release the trial of an ``acquire`` that was interrupted."""

    def enqueue(self, params: Mapping[str, Any]) -> None:
        """Enqueue a configuration, to be tried before the strategy's next one."""

    def stop(self) -> None:
        """Start no more trials in this process."""

    def history(self) -> History:
        """Return the history, up to date with the storage."""
