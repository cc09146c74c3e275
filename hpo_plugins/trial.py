"""A trial as the loop holds it: its configuration, and the way back for its metrics."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpo_plugins.execution import ranks as relay
from hpo_plugins.objective import Objective
from hpo_plugins.space import Params, Value

if TYPE_CHECKING:
    from hpo_plugins.coordination.coordinator import Coordinator


class Trial:
    """One configuration to train, handed out by a tuner.

    It can be pickled: in another process of the same machine it reports to the same study.

    Attributes:
        number: Its place in the search, from 0.
        params: Its configuration, plain Python values.
        definition: Which training definition it belongs to, where the search has several, else None.
        start_epoch: Epochs that were already trained, 0 when fresh.
        resume_from: Path of the checkpoint to go on from, else None.
    """

    def __init__(
        self,
        coordinator: Coordinator,
        number: int,
        params: Params,
        *,
        definition: str | None = None,
        attempt: int = 1,
        start_epoch: int = 0,
        resume_from: str | None = None,
    ) -> None:
        """Bind the trial to the coordinator that judges it; tuners do this."""
        self._coordinator = coordinator
        self._attempt = attempt
        self.number = number
        self.params = params
        self.definition = definition
        self.start_epoch = start_epoch
        self.resume_from = resume_from

    def __getitem__(self, name: str) -> Value:
        """Return the value of one parameter."""
        return self.params[name]

    def __repr__(self) -> str:
        """Show number and configuration."""
        return f"Trial(number={self.number}, params={self.params!r})"

    @property
    def objective(self) -> Objective:
        """The objective: which metric is judged, and which way."""
        return self._coordinator.study.objective_of(self.definition)

    @property
    def attempt(self) -> int:
        """How often it was handed out, this time included: above 1 when it goes on or is tried again."""
        return self._attempt

    @property
    def checkpoint_dir(self) -> Path:
        """The trial's own folder for checkpoints, made when first asked for."""
        folder = self._coordinator.checkpoints.folder(self.number)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @property
    def save_is_due(self) -> bool:
        """Whether to ``save`` now, after a report.

        True when the trial is to be paused, when it is complete and the best so far, and, where another process could
        go on with it, when the last save's cost is under 5 % of the time since then and a second has passed.
        """
        return self._coordinator.save_is_due(self)

    def save(self, write: Callable[[Path], object], *, suffix: str = "") -> bool:
        """Write a checkpoint of the last reported epoch, from which the trial goes on after a pause or a crash.

        The trial's next hand-out has its path in ``resume_from`` and its epoch in ``start_epoch``; the one before is
        deleted. A process that is killed while it writes leaves the one before.

        Args:
            write: Called with a path, to write the checkpoint there.
            suffix: What the path ends with, for libraries that insist on it.

        Returns:
            Whether it is in place. False when the disk or the storage refused it (a warning says so), or the trial is
            another worker's by now: a training goes on without.

        Raises:
            InvalidArgument: Nothing was reported yet.
            CheckpointError: ``write`` wrote nothing at its path.
        """
        return self._coordinator.save(self, write, suffix)

    def report(self, epoch: int, metrics: Mapping[str, Any], *, objective_follows: bool = False) -> bool:
        """Record an epoch's metrics and return whether to stop the training now.

        Args:
            epoch: Completed epochs (boosting rounds), absolute, from 1. An epoch reported again
                counts once: it keeps its metrics, and takes the new values of those that come again.
            metrics: Name to number; all are recorded, the objective's metric is judged.
            objective_follows: The first epochs may lack the objective's metric, since the first validation comes
                later. Once it has been seen, any later epoch may leave it out.

        Raises:
            InvalidReport: The epoch goes backwards or is not a whole number from 1 on, or a value is not a number.
            MetricNotFound: No epoch had the objective's metric so far, and ``objective_follows`` is false.
        """
        return self._coordinator.report(self, epoch, metrics, objective_follows=objective_follows)

    @property
    def can_pause(self) -> bool:
        """Whether the strategy pauses trainings, so that this one must be able to go on from a checkpoint."""
        return self._coordinator.study.strategy.pauses

    def start_over(self) -> None:
        """Say that this training begins at its first epoch, although the trial has a checkpoint."""
        self._coordinator.start_over(self)

    def end(self) -> None:
        """Say that the body is over; whether the trial completed or was stopped is known from its reports."""
        self._coordinator.end(self)

    def fail(self, error: BaseException | str) -> None:
        """Say that the body ended with an error; the search goes on.

        The trial is FAILED, or handed out again when the error is one of the tuner's ``retry_on``.
        """
        self._coordinator.fail(self, error)

    def __reduce__(self) -> tuple[Any, ...]:
        """Cross a process boundary: the other side opens the study anew, when it first needs it."""
        arguments = {
            "definition": self.definition,
            "attempt": self._attempt,
            "start_epoch": self.start_epoch,
            "resume_from": self.resume_from,
        }
        return _rebuild, (self._coordinator, self.number, self.params, arguments)

    def __deepcopy__(self, memo: dict[int, Any]) -> Trial:
        """Return itself: scikit-learn's ``clone`` copies callbacks, and a copy must report to the same trial."""
        return self


def _rebuild(coordinator: Coordinator, number: int, params: Params, arguments: dict[str, Any]) -> Trial:
    return Trial(coordinator, number, params, **arguments)


class TrialReference:
    """A trial that finds its study again after ``fork`` and ``spawn``.

    A forked child has copies of the parent's locks, connections and memory, none of which it may use. So the trial
    is pickled beforehand, and a process other than the maker's uses what it unpickles.
    """

    def __init__(self, trial: Trial) -> None:
        """Make the trial reachable from processes that this one starts."""
        self._trial = trial
        self._pid = os.getpid()
        self._pickled = pickle.dumps(trial)
        relay.lead()

    def __call__(self) -> Trial:
        """Return the trial, as this process may use it."""
        if self._pid != os.getpid():
            self._trial = pickle.loads(self._pickled)  # noqa: S301 - what this process's parent pickled
            self._pid = os.getpid()
        return self._trial

    def __getstate__(self) -> dict[str, Any]:
        """Send the pickled trial only."""
        return {"_pid": -1, "_pickled": self._pickled, "_trial": None}

    def __deepcopy__(self, memo: dict[int, Any]) -> TrialReference:
        """Return itself, as the trial does."""
        return self
