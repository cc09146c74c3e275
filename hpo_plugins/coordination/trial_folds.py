"""The folds of one attempt at a trial: each is its own training run, and their mean judges the trial."""

from __future__ import annotations

from hpo_plugins.coordination.attempt import Attempt, AttemptBase
from hpo_plugins.coordination.judging import judge_fold
from hpo_plugins.coordination.training import Training
from hpo_plugins.errors import InvalidArgument
from hpo_plugins.records import Progress, TrialState


class FoldTrainings:
    """The training runs of a trial's folds in this process.

    Args:
        lease: The attempt.

    Attributes:
        trainings: The folds that this process has asked for.
        current: The last of them, None without folds.
    """

    def __init__(self, lease: AttemptBase) -> None:
        """Start without folds."""
        self.trainings: dict[int, Training] = {}
        self.current: Training | None = None
        self._attempt = lease

    def training(self, index: int) -> Training:
        """Return the training run of a fold."""
        if index not in self.trainings:
            row = self._attempt.row
            if index < row.progress.fold:
                epochs = self._attempt.session.refresh()[row.number].folds[index].epochs
                start = epochs[-1] if epochs else 0
                training = Training(self._attempt, index, start, (), is_done=True)
            elif index == row.progress.fold:
                training = Training(self._attempt, index, row.progress.start_epoch, row.progress.phases)
            else:
                training = Training(self._attempt, index, 0, ())
            self.trainings[index] = training
        self.current = self.trainings[index]
        return self.current


class TrialFolds(FoldTrainings):
    """The folds of a trial that this process trains.

    Args:
        lease: The attempt.

    Attributes:
        ended: The folds that this process has ended.
    """

    def __init__(self, lease: Attempt) -> None:
        """Declare no folds yet."""
        super().__init__(lease)
        self.ended: set[int] = set()
        self._lease = lease

    def declare(self, n: int) -> None:
        """Declare this number of folds.

        Raises:
            InvalidArgument: The trial, or another trial of the study, has another number of folds.
        """
        lease = self._lease
        with lease.session.lock:
            if not lease.check_held("training"):
                return
            row = lease.session.history[lease.number].row
            others = {trial.row.folds for trial in lease.session.history if trial.has_reports}
            if row.folds is not None:
                others.add(row.folds)
            if others - {n}:
                known = ", ".join("none" if other is None else str(other) for other in others - {n})
                raise InvalidArgument(
                    f"folds must be the same in all trials of a study, since means over different folds cannot be "
                    f"compared, but got folds({n}) after {known}. Use that number, or another name= for a new study."
                )
            if row.folds is None:
                lease.update(folds=n)

    def end(self, index: int) -> None:
        """End a fold after its training run, and judge the trial by the folds so far.

        A fold without reports stays open, since another process may train it.
        """
        lease = self._lease
        with lease.session.lock:
            if lease.is_held():
                lease.journal.flush()
                lease.session.refresh()
                self._end(index)
            self.ended.add(index)
            lease.session.answered.notify_all()

    def _end(self, index: int) -> None:
        lease = self._lease
        trial = lease.session.history[lease.number]
        is_decided = lease.journal.must_stop or lease.journal.is_refused or trial.row.decision is not None
        # A trial that is paused when a fold is complete resumes with the next one.
        is_passed = (
            trial.row.decision is TrialState.PAUSED and index in self.trainings and self.trainings[index].is_complete
        )
        if (is_decided and not is_passed) or trial.row.folds is None or index != trial.row.progress.fold:
            return
        if index >= len(trial.folds) or not len(trial.folds[index].curve):
            return
        checkpoint, n_folds = trial.row.progress.checkpoint, trial.row.folds
        lease.update(progress=Progress(fold=index + 1), phase=0)
        lease.resume_from = None
        if checkpoint is not None:
            lease.session.checkpoints.clear(lease.number)
        if (
            not is_decided
            and index + 1 < n_folds
            and (decision := judge_fold(lease.session, lease.number, index)) is not None
        ):
            lease.journal.decide(decision)

    def end_all(self) -> None:
        """End the remaining folds, in order, at the end of the attempt."""
        trial = self._lease.session.history[self._lease.number]
        if trial.row.folds is not None:
            for index in range(len(trial.folds)):
                self.end(index)
