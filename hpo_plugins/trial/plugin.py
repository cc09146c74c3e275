"""The interface of a training run for the callbacks of frameworks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from hpo_plugins._validation import non_empty_string
from hpo_plugins.coordination.phases import Phase
from hpo_plugins.coordination.session import StudySession
from hpo_plugins.coordination.training import Training
from hpo_plugins.coordination.visiting import Ticket
from hpo_plugins.objective import Objective
from hpo_plugins.records import TrialRow
from hpo_plugins.space import Params


class Folds(Protocol):
    """The folds of a trial in training."""

    def declare(self, n: int) -> None:
        """Train the trial in this many folds."""

    def training(self, index: int) -> Training:
        """Return the training run of a fold."""

    def end(self, index: int) -> None:
        """End a fold whose training is over."""


class TrainedTrial(Protocol):
    """The lease of a trial: its own, a visitor's, or that of a rank that follows rank 0."""

    session: StudySession
    row: TrialRow
    number: int
    attempt: int
    params: Params
    definition: str | None
    objective: Objective
    resume_from: str | None
    training: Training

    @property
    def folds(self) -> Folds:
        """Its training runs in folds."""

    @property
    def ticket(self) -> Ticket:
        """The ticket by which another process of this machine reports to the trial."""

    def end(self) -> None:
        """End the trial as decided."""

    def fail(self, error: BaseException | str) -> bool:
        """End the trial with an error."""

    def release_quietly(self) -> None:
        """Release the trial, and raise nothing."""


class TrainingPlugin:
    """The side of a trial or a fold that callbacks use: ``trial.plugin``.

    A callback calls ``begin_phase`` when the framework's training begins, reports epochs counted from that phase on,
    saves where the framework allows it, and calls ``end_phase`` when the training run ends.

    Args:
        training: The training run of this process.
        lease: The attempt that it belongs to.
    """

    def __init__(self, training: Training, lease: TrainedTrial) -> None:
        """Bind to a training run."""
        self._training = training
        self._lease = lease

    @property
    def can_pause(self) -> bool:
        """Whether the strategy pauses training runs, so that this one must be able to resume from a checkpoint."""
        return self._lease.session.config.strategy.pauses

    @property
    def state_of_phases(self) -> dict[int, Any]:
        """Data of callbacks for later checkpoints, by phase number."""
        return self._training.state_of_phases

    def begin_phase(self, first: int = 0, weights: Iterable[object] = (), *, continues: bool = False) -> Phase:
        """Begin one of the successive training runs (calls of ``fit``) that together train the model.

        Callbacks call it when a training run begins, and count the trial's epochs from the returned phase on.

        Args:
            first: Epochs that the model was trained before, if this is the first phase.
            weights: The objects that contain the model's weights. A phase that has one of them in common with the
                phase before continues it.
            continues: Whether it continues the phase before in any case.

        Raises:
            InvalidReport: It is another model's training, and ``next_phase`` was not called.
        """
        return self._training.begin_phase(first, weights, continues=continues)

    def follow_phase(self, phase: Phase) -> None:
        """Register a phase that another rank of the same training run has begun."""
        self._training.follow_phase(phase)

    def end_phase(self, *, is_complete: bool) -> None:
        """Register the end of a phase; callbacks call it when the framework's training ends.

        A trial with a pending pause at that epoch has nothing left to train. It is COMPLETED, unless the script begins
        another phase.

        Args:
            is_complete: Whether the phase has nothing left to train: it has trained all its epochs, or the framework or
                another callback, such as early stopping, has ended it at the epoch that was reported last.
        """
        self._training.end_phase(is_complete=is_complete)

    def start_over(self) -> None:
        """Declare that this training run begins at its first epoch and ignores its checkpoint."""
        self._training.start_over()

    def warn_once(self, subject: str, message: str) -> None:
        """Log a warning once in this study and process, such as about state that a callback cannot restore.

        Args:
            subject: What the warning is about; another warning about it is not logged.
            message: The warning.

        Raises:
            InvalidArgument: The subject is not a non-empty string.
        """
        self._lease.session.warn_once(non_empty_string("subject", subject), message)

    def visit(self) -> TrainedTrial:
        """Return the lease by which this process reports; for further ranks of a training run."""
        return self._lease
