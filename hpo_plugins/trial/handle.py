"""The handle of one training run, for callbacks and loops: a trial, or one fold of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hpo_plugins.coordination.training import Training
from hpo_plugins.objective import Objective
from hpo_plugins.space import Params, Value
from hpo_plugins.trial.devices import told_devices
from hpo_plugins.trial.plugin import TrainedTrial, TrainingPlugin


class TrainingHandle(ABC):
    """The handle of one training run, for callbacks and loops: a trial, or one fold of it.

    Attributes:
        number: The trial's number in the study, or the fold's in the trial, from 0.
        params: The configuration, plain Python values.
        definition: The trial's training definition, None if the study has only one.
        objective: The objective: which metric is judged, and in which direction.
        trial_number: The trial's number in the study, from 0.
        seed: A seed for the training run, from 0 to below 2**31: another one in each trial, and the same in each of its
            attempts. It depends on the study's seed and the trial's number only.
    """

    number: int
    objective: Objective
    trial_number: int
    params: Params
    seed: int
    definition: str | None
    _lease: TrainedTrial

    @property
    @abstractmethod
    def _training(self) -> Training:
        """The training run that receives its reports."""

    def __getitem__(self, name: str) -> Value:
        """Return the value of one parameter."""
        try:
            return self.params[name]
        except KeyError:
            raise KeyError(f"There is no parameter {name!r} here, only {', '.join(map(repr, self.params))}.") from None

    @property
    def attempt(self) -> int:
        """The number of this attempt, from 1; above 1 if the trial is resumed or retried."""
        return self._lease.attempt

    @property
    def start_epoch(self) -> int:
        """Number of epochs that are already trained, 0 for a fresh start."""
        return self._training.start_epoch

    @property
    def resume_from(self) -> str | None:
        """Path of the checkpoint to resume from, otherwise None.

        With several phases, it is None in phases that ended before the interruption.
        """
        self._training.has_shown_checkpoint = True
        return self._training.resume_from

    @property
    def devices(self) -> tuple[str, ...]:
        """The accelerators that this worker process sees, by index or UUID; empty if it was not given any.

        ``Tuner.run(workers=)`` divides them. Within the process, frameworks count from 0: the first is ``cuda:0``.
        """
        return told_devices()

    @property
    def checkpoint_dir(self) -> Path:
        """The trial's own folder for checkpoints; it exists."""
        return self._lease.session.checkpoints.make_folder(self.trial_number)

    @property
    def plugin(self) -> TrainingPlugin:
        """The interface for callbacks of frameworks, beyond reports and checkpoints."""
        return TrainingPlugin(self._training, self._lease)

    @property
    def should_stop(self) -> bool:
        """Whether the training run must stop: the answer to the last report."""
        return self._training.should_stop()

    def report(self, epoch: int, metrics: Mapping[str, Any], *, objective_follows: bool = False) -> bool:
        """Record an epoch's metrics, and return whether to stop the training run now.

        A trial with a refused report ends FAILED, even if other code catches the error.

        Args:
            epoch: Completed epochs (boosting rounds), absolute, from 1. An epoch that is reported again counts once:
                it keeps its metrics, and takes the new values of those that are reported again.
            metrics: Name to number; the objective's metric is judged. All are recorded, except values that are not
                single numbers; a warning names these.
            objective_follows: Whether the first epochs may lack the objective's metric, since the first validation
                comes later. Once the metric has been reported, any later epoch may lack it.

        Raises:
            InvalidReport: The epoch goes backwards or is not a whole number from 1 on, the objective is not a number,
                or another training run has reported the epoch.
            MetricNotFound: No epoch had the objective's metric so far, and ``objective_follows`` is false.
        """
        try:
            return self._training.report(epoch, metrics, objective_follows=objective_follows)
        except (KeyboardInterrupt, SystemExit):  # release the trial at once, even if the exception leaves no loop
            self._lease.release_quietly()
            raise

    def next_phase(self) -> None:
        """Declare that the next training run continues this one, although its model is another object.

        This is needed for copies only, such as a model that was loaded from a file between two calls of ``fit``.
        """
        self._training.next_phase()

    # Checkpoints.

    @property
    def save_is_due(self) -> bool:
        """Whether to call ``save`` now, after a report.

        True if the trial is to be paused; if it is complete and the best so far; with ``Tuner(checkpoints="best")`` if
        the epoch is the study's best so far; and, if another process could
        continue the study, once saving takes less than 5 % of the time and the last save was at least a second ago.
        """
        return self._training.is_save_due()

    def save(self, write: Callable[[Path], object], *, suffix: str = "") -> bool:
        """Write a checkpoint of the last reported epoch, from which the trial is resumed after a pause or a crash.

        The next attempt finds its path in ``resume_from`` and its epoch in ``start_epoch``; the previous checkpoint is
        deleted. A process that is killed while it writes leaves the previous one.

        Args:
            write: Called with a path, to write the checkpoint there.
            suffix: What the path ends with, for libraries that insist on it.

        Returns:
            Whether it was saved. False, with a warning, if the disk or the storage refused it or another worker has
            taken the trial over; the training run continues without it.

        Raises:
            InvalidArgument: Nothing was reported yet.
            CheckpointError: ``write`` wrote nothing to the path.
        """
        return self._training.save(write, suffix)

    def __deepcopy__(self, memo: dict[int, Any]) -> TrainingHandle:
        """Return itself: scikit-learn's ``clone`` copies callbacks, and a copy must report to the same trial."""
        return self

    def __copy__(self) -> TrainingHandle:
        """Return itself."""
        return self
