"""The read model: what a strategy sees of the study, kept in step with the storage by applying its changes.

Notation
    loss    ``sign * value``: smaller is better whichever way the objective goes
    epoch   1-based, absolute, increasing within a curve; gaps are allowed
"""

from __future__ import annotations

import functools
import hashlib
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from hpo_plugins.objective import Objective
from hpo_plugins.records import Changes, Metrics, ReportRow, TrialRecord, TrialRow, TrialState, decode_metrics
from hpo_plugins.space import FloatArray, Params, Space
from hpo_plugins.training_times import TrainingTimes


class Curve:
    """The losses of one trial by epoch, with the running figures that rules ask for, each in one column."""

    __slots__ = ("_best", "_sum", "epochs", "losses", "seconds")

    def __init__(self) -> None:
        """Start empty."""
        self.epochs = array("q")
        self.losses = array("d")
        self.seconds = array("d")  # of training up to the epoch, over all attempts, without starting up
        self._best = array("d")
        self._sum = array("d")

    def __len__(self) -> int:
        """Return the number of epochs with a loss."""
        return len(self.epochs)

    def put(self, epoch: int, loss: float, seconds: float) -> None:
        """Add an epoch, or replace it when it is there."""
        if not self.epochs or epoch > self.epochs[-1]:
            self.epochs.append(epoch)
            self.losses.append(loss)
            self.seconds.append(seconds)
            self._best.append(min(loss, self._best[-1]) if self._best else loss)
            self._sum.append(self._sum[-1] + loss if self._sum else loss)
            return
        # A retried training writes over what its lost predecessor reported: redo the tail.
        at = bisect_left(self.epochs, epoch)
        rows = list(zip(self.epochs[at:], self.losses[at:], self.seconds[at:], strict=True))
        if rows[0][0] == epoch:
            del rows[0]
        for column in (self.epochs, self.losses, self.seconds, self._best, self._sum):
            del column[at:]
        for row in [(epoch, loss, seconds), *rows]:
            self.put(*row)

    def set_seconds(self, epoch: int, seconds: float) -> None:
        """Correct the seconds of an epoch, if it is there."""
        at = bisect_left(self.epochs, epoch)
        if at < len(self.epochs) and self.epochs[at] == epoch:
            self.seconds[at] = seconds

    def reached(self, epoch: int) -> bool:
        """Return whether the curve has a loss at this epoch or later."""
        return bool(self.epochs) and self.epochs[-1] >= epoch

    def reported_by(self, epoch: int) -> int | None:
        """Return the last epoch with a loss up to and including ``epoch``, None when there is none."""
        at = bisect_right(self.epochs, epoch)
        return self.epochs[at - 1] if at else None

    def passed(self, epoch: int, milestones: Sequence[int]) -> int | None:
        """Return the last milestone that ``epoch`` is the first report at or after, None when there is none."""
        before = self.reported_by(epoch - 1) or 0
        return next((milestone for milestone in reversed(milestones) if before < milestone <= epoch), None)

    def loss(self, epoch: int | None = None, *, at: Literal["best", "last"]) -> float | None:
        """Return the best or last loss up to and including ``epoch`` (None: all), None when there is none yet."""
        count = len(self.epochs) if epoch is None else bisect_right(self.epochs, epoch)
        if count == 0:
            return None
        return (self._best if at == "best" else self.losses)[count - 1]

    def epoch_of(self, at: Literal["best", "last"]) -> int | None:
        """Return the epoch that gives the curve its best or last loss, None when there is none yet."""
        if not self.epochs:
            return None
        return self.epochs[-1] if at == "last" else self.epochs[self.losses.index(self._best[-1])]

    def running_mean(self, epoch: int) -> float | None:
        """Return the mean of the losses up to and including ``epoch``, None when the curve has not come so far."""
        if not self.epochs or self.epochs[-1] < epoch:
            return None
        count = bisect_right(self.epochs, epoch)
        return self._sum[count - 1] / count if count else None


class TrialHistory:
    """One trial as strategies see it.

    Attributes:
        row: The trial as stored.
        point: Its configuration in the unit cube, shape ``(d,)``.
        curve: Its losses by epoch, over all attempts.
        last_epoch: The last epoch that the present attempt reported, 0 before its first.
    """

    __slots__ = ("_metrics", "_record", "_reported", "_times", "curve", "last_epoch", "point", "row")

    def __init__(self, row: TrialRow, point: FloatArray) -> None:
        """Start without reports."""
        self.row = row
        self.point = point
        self.curve = Curve()
        self.last_epoch = 0
        self._reported = array("q")
        self._times = TrainingTimes(self._reported)
        self._metrics: list[dict[str, float] | str] = []
        self._record: TrialRecord | None = None

    @property
    def state(self) -> TrialState:
        """Where the trial is in its life."""
        return self.row.state

    def share(self, other: TrialHistory) -> None:
        """See what ``other`` sees of reports, now and later: another view of the same trial."""
        self.curve, self._reported, self._metrics = other.curve, other._reported, other._metrics

    @property
    def reported(self) -> bool:
        """Whether any epoch was reported, with or without the objective's metric."""
        return bool(self._reported)

    @property
    def startup_seconds(self) -> float | None:
        """What the newest attempt to report took before its training began: building the model, thawing.

        None while it is not known: before the second report of the first attempt.
        """
        return self._times.startup

    def put(self, report: ReportRow, loss: float | None) -> None:
        """Add an epoch, or add to what the epoch has already."""
        epoch, metrics, reported = report.epoch, report.metrics, self._reported
        self._record = None
        if report.attempt == self.row.attempts and epoch > self.last_epoch:
            self.last_epoch = epoch
        at = len(reported) if not reported or epoch > reported[-1] else bisect_left(reported, epoch)
        if at < len(reported) and reported[at] == epoch:
            self._metrics[at] = decode_metrics(self._metrics[at]) | decode_metrics(metrics)
        else:
            reported.insert(at, epoch)
            self._metrics.insert(at, metrics)
        for known, seconds in self._times.put(report, at):
            self.curve.set_seconds(known, seconds)
        if loss is not None:
            self.curve.put(epoch, loss, self._times.trained[at])


@dataclass(frozen=True, slots=True)
class ParentTrial:
    """A trial of an earlier study, as strategies see it.

    Attributes:
        point: Its configuration in *this* study's unit cube, shape ``(d,)``.
        curve: Its losses by epoch, by this study's objective.
        state: How it ended, or how far it had come.
    """

    point: FloatArray
    curve: Curve
    state: TrialState


@dataclass(frozen=True, slots=True)
class ParentTrials:
    """Trials of one earlier study; a study's parents never change.

    Attributes:
        name: The earlier study's name.
        identical: True where data and algorithm are this study's, so that the trials count as its own observations;
            False where they only say which configurations may be good.
        trials: They lie within this study's space: clipped to its ranges where ``identical`` is false.
    """

    name: str
    identical: bool
    trials: Sequence[ParentTrial]


class History(Sequence[TrialHistory]):
    """All trials of a study by number.

    Args:
        space: Encodes configurations to points.
        objective: Turns values into losses.
        limit: How many trials there will be at the most, None for no limit.
        checkpoint_root: The folder to which stored checkpoints are relative.
        parents: What earlier studies found (``warm_start``).
    """

    def __init__(
        self,
        space: Space,
        objective: Objective,
        limit: int | None = None,
        checkpoint_root: Path | None = None,
        parents: tuple[ParentTrials, ...] = (),
    ) -> None:
        """Start empty, at revision 0."""
        self.space = space
        self.objective = objective
        self.limit = limit
        self.checkpoint_root = Path() if checkpoint_root is None else checkpoint_root
        self.parents = parents
        self.revision = 0
        self.hand_outs = 0
        self.now = 0.0
        self.runtime = 0.0
        self.unfinished: set[int] = set()
        self.with_checkpoint: set[int] = set()
        self._trials: list[TrialHistory] = []

    def __getitem__(self, number: int) -> TrialHistory:  # type: ignore[override]
        """Return one trial by its number."""
        return self._trials[number]

    def __len__(self) -> int:
        """Return how many trials were started."""
        return len(self._trials)

    def __iter__(self) -> Iterator[TrialHistory]:
        """Iterate over the trials by number."""
        return iter(self._trials)

    @functools.cached_property
    def parents_digest(self) -> str:
        """A text that differs where parents' trials do."""
        digest = hashlib.sha256()
        for parent in self.parents:
            digest.update(f"{parent.name!r} {parent.identical}".encode())
            for trial in parent.trials:
                digest.update(trial.state.encode() + trial.point.tobytes())
                digest.update(trial.curve.epochs.tobytes() + trial.curve.losses.tobytes())
        return digest.hexdigest()

    @property
    def may_start(self) -> bool:
        """Whether the limit leaves room for another trial."""
        return self.limit is None or len(self) < self.limit

    def apply(self, changes: Changes) -> None:
        """Take in what the storage says has changed; the same change twice changes nothing."""
        for row in sorted(changes.trials, key=lambda row: row.number):
            self.put_trial(row)
        for report in changes.reports:
            self.put_report(report)
        self.revision = max(self.revision, changes.revision)
        self.hand_outs = max(self.hand_outs, changes.hand_outs)
        self.now = changes.now
        self.runtime = changes.runtime

    def put_trial(self, row: TrialRow) -> None:
        """Add or update a trial."""
        if row.number == len(self._trials):
            self._trials.append(TrialHistory(row, self.space.encode(row.params)))
        trial = self._trials[row.number]
        if row.attempts > trial.row.attempts:
            trial.last_epoch = 0
        trial.row = row
        trial._record = None
        if row.state.is_final:
            self.unfinished.discard(row.number)
        else:
            self.unfinished.add(row.number)
        if row.checkpoint is None:
            self.with_checkpoint.discard(row.number)
        else:
            self.with_checkpoint.add(row.number)

    def put_report(self, report: ReportRow) -> None:
        """Add an epoch to a trial, or to what the epoch has already."""
        value = report.value
        self._trials[report.number].put(report, None if value is None else self.objective.loss(value))

    def loss(self, number: int) -> float | None:
        """Return the loss that the objective gives a trial, None without reports and for failed trials."""
        trial = self._trials[number]
        return None if trial.state is TrialState.FAILED else trial.curve.loss(at=self.objective.at)

    def points(self) -> FloatArray:
        """Return all configurations in the unit cube, shape ``(n_trials, d)``."""
        return np.array([trial.point for trial in self._trials]).reshape(len(self), len(self.space))

    def params(self, number: int) -> Params:
        """Return the configuration of a trial."""
        return self._trials[number].row.params

    def best(self, *, ended: bool = False) -> int | None:
        """Return the number of the trial with the smallest loss, the earliest of equals, None without any.

        With ``ended`` only trials that are over count.
        """
        losses = [
            (loss, trial.row.number)
            for trial in self._trials
            if (trial.state.is_final or not ended) and (loss := self.loss(trial.row.number)) is not None
        ]
        return min(losses)[1] if losses else None

    def record(self, number: int) -> TrialRecord:
        """Return the frozen record of a trial."""
        trial = self._trials[number]
        if trial._record is None:
            row, loss = trial.row, self.loss(number)
            curve = trial.curve
            trial._record = TrialRecord(
                number=number,
                params=self.space.params_of(row.params),
                state=row.state,
                value=None if loss is None else self.objective.loss(loss),
                epochs=trial._reported[-1] if trial._reported else 0,
                curve={e: self.objective.loss(v) for e, v in zip(curve.epochs, curve.losses, strict=True)},
                metrics=Metrics(trial._reported, trial._metrics),
                checkpoint=None if row.checkpoint is None else str(self.checkpoint_root / row.checkpoint),
                stop_reason=row.stop_reason,
                error=row.error,
                started_at=row.started_at,
                ended_at=row.ended_at,
                attempts=row.attempts,
                definition=self.space.definition_of(row.params),
            )
        return trial._record
