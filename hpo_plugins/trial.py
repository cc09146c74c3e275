"""A trial as the user's loop holds it: its configuration, and where its metrics go."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hpo_plugins.coordination.trial_lease import TrialLease
from hpo_plugins.objective import Objective
from hpo_plugins.space import Params, Value


class Trial:
    """One configuration to train, yielded by a tuner.

    It can be pickled: in another process of the same machine it reports to the same study.

    Args:
        lease: The attempt that this process trains; tuners acquire it.

    Attributes:
        number: Its number in the study, from 0.
        params: Its configuration, plain Python values.
        definition: Its training definition, None if the study has only one.
        start_epoch: Epochs that are already trained, 0 if it starts afresh.
        resume_from: Path of the checkpoint to resume from, else None.
    """

    def __init__(self, lease: TrialLease) -> None:
        """Bind the trial to its lease."""
        self._lease = lease
        self.number: int = lease.number
        self.params: Params = lease.params
        self.definition: str | None = lease.definition
        self.start_epoch: int = lease.start_epoch
        self.resume_from: str | None = lease.resume_from

    def __getitem__(self, name: str) -> Value:
        """Return the value of one parameter."""
        return self.params[name]

    def __repr__(self) -> str:
        """Return number and configuration."""
        return f"Trial(number={self.number}, params={self.params!r})"

    @property
    def objective(self) -> Objective:
        """The objective: which metric is judged, and in which direction."""
        return self._lease.objective

    @property
    def attempt(self) -> int:
        """Which attempt this is, from 1: more than 1 if the trial is resumed or retried."""
        return self._lease.attempt

    @property
    def checkpoint_dir(self) -> Path:
        """The trial's own folder for checkpoints; it exists."""
        folder = self._lease.folder
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @property
    def can_pause(self) -> bool:
        """Whether the strategy pauses trainings, so that this one must be able to resume from a checkpoint."""
        return self._lease.session.config.strategy.pauses

    def report(self, epoch: int, metrics: Mapping[str, Any], *, objective_follows: bool = False) -> bool:
        """Record an epoch's metrics, and return whether to stop the training now.

        Args:
            epoch: Completed epochs (boosting rounds), absolute, from 1. An epoch that is reported again counts once:
                it keeps its metrics, and takes the new values of those that are reported again.
            metrics: Name to number; all are recorded, and the objective's metric is judged.
            objective_follows: Whether the first epochs may lack the objective's metric, since the first validation
                comes later. Once the metric has been reported, any later epoch may lack it.

        Raises:
            InvalidReport: The epoch goes backwards or is not a whole number from 1 on, or a value is not a number.
            MetricNotFound: No epoch had the objective's metric so far, and ``objective_follows`` is false.
        """
        return self._lease.report(epoch, metrics, objective_follows=objective_follows)

    @property
    def save_is_due(self) -> bool:
        """Whether to call ``save`` now, after a report.

        True if the trial is to be paused; if it is complete and the best so far; and, if another process could
        continue the study, once saving takes less than 5 % of the time and the last save was at least a second ago.
        """
        return self._lease.is_save_due()

    def save(self, write: Callable[[Path], object], *, suffix: str = "") -> bool:
        """Write a checkpoint of the last reported epoch, from which the trial is resumed after a pause or a crash.

        The next attempt finds its path in ``resume_from`` and its epoch in ``start_epoch``; the previous checkpoint is
        deleted. A process that is killed while it writes leaves the previous one.

        Args:
            write: Called with a path, to write the checkpoint there.
            suffix: What the path ends with, for libraries that insist on it.

        Returns:
            Whether it was saved. False, with a warning, if the disk or the storage refused it or another worker has
            taken the trial over; the training continues without it.

        Raises:
            InvalidArgument: Nothing was reported yet.
            CheckpointError: ``write`` wrote nothing to the path.
        """
        return self._lease.save(write, suffix)

    def start_over(self) -> None:
        """Declare that this training begins at its first epoch, although the trial has a checkpoint."""
        self._lease.start_over()

    def end(self) -> None:
        """Declare that the training is over; its reports tell whether the trial completed, stopped or paused."""
        self._lease.end()

    def fail(self, error: BaseException | str) -> None:
        """Declare that the training ended with an error; the search continues.

        The trial is FAILED, or retried if the error is one of the tuner's ``retry_on``.

        Args:
            error: The exception, or a reason in words.
        """
        self._lease.fail(error)

    def __reduce__(self) -> tuple[Any, ...]:
        """Cross a process boundary: the other process opens the study when it first needs it."""
        return Trial, (self._lease,)

    def __deepcopy__(self, memo: dict[int, Any]) -> Trial:
        """Return itself: scikit-learn's ``clone`` copies callbacks, and a copy must report to the same trial."""
        return self
