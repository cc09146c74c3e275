"""What an executor is, and what it may ask of the search that it executes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

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
        """Return the search for a worker of that name, which reaches the study and its files in other ways."""

    def mark_dead(self, worker: str) -> None:
        """Let other workers acquire the trials of a worker that is known to be dead."""

    def look(self) -> None:
        """Let the observers see what is new; to be called from time to time while workers train."""


class Observer(Protocol):
    """Watches the loops of one process, such as to show progress; its methods raise nothing."""

    def begin(self) -> None:
        """Note that a loop begins."""

    def look(self) -> None:
        """See what is new: called between trainings, and while workers train."""

    def end(self) -> None:
        """Note that it has ended."""


class Executor(Protocol):
    """Trains a search with several workers: ``tuner.run(train, workers=executor)``."""

    def run(self, search: Search, train: Train) -> None:
        """Train until the search is over."""
