"""One trial as strategies see it."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from hpo_plugins.history.curve import Curve
from hpo_plugins.history.reports import Reports, mean_curve, mean_metrics
from hpo_plugins.records import WHOLE_TRIAL, ReportRow, TrialRow, TrialState, decode_metrics
from hpo_plugins.space import FloatArray


class TrialHistory:
    """One trial: its row, its configuration and everything that it has reported.

    A trial without folds has one training run, which is its fold 0.

    Attributes:
        row: The trial as stored.
        point: Its configuration in the unit cube, shape ``(d,)``.
        folds: The reports of its training runs, by fold, up to the last fold that began.
        recorded: Its metrics as a whole (``Trial.record``).
    """

    __slots__ = ("_last_fold", "_mean", "_mean_of", "folds", "point", "recorded", "row")

    def __init__(self, row: TrialRow, point: FloatArray, last_fold: int | None = None) -> None:
        """Create it without reports.

        Args:
            row: The trial as stored.
            point: Its configuration in the unit cube.
            last_fold: The last fold that its curve is the mean of, if it has one; None for all that began.
        """
        self.row = row
        self.point = point
        self.folds = [Reports()]
        self.recorded: dict[str, float] = {}
        self._last_fold = last_fold
        self._mean = Curve()
        self._mean_of: object = None

    @property
    def state(self) -> TrialState:
        """The state of the trial."""
        return self.row.state

    @property
    def curve(self) -> Curve:
        """Its losses by epoch, over all attempts: with folds, the mean over those that have reached the epoch."""
        if self.row.folds is None:
            return self.folds[0].curve
        version = (self.row.progress.fold, *(fold.version for fold in self.folds))
        if self._mean_of != version:
            self._mean_of, self._mean = version, self._mean_curve()
        return self._mean

    def _mean_curve(self) -> Curve:
        return self._mean_of_folds([fold.curve for fold in self.folds])

    def values(self, metric: str) -> Curve:
        """Return the values of a metric by epoch, where it was reported: with folds, their mean, as of losses."""
        curves = [fold.values(metric) for fold in self.folds]
        return curves[0] if self.row.folds is None else self._mean_of_folds(curves)

    def _mean_of_folds(self, curves: Sequence[Curve]) -> Curve:
        last = self._last_fold
        if last is None:
            return mean_curve(curves, self.row.progress.fold, needs_all=False)
        if last >= len(curves):
            return Curve()
        return mean_curve(curves[: last + 1], self.row.progress.fold, needs_all=True)

    def share_reports(self, other: TrialHistory) -> None:
        """Share the reports of ``other``, present and future: this is another view of the same trial."""
        self.folds, self.recorded = other.folds, other.recorded

    @property
    def missing_folds(self) -> int:
        """Number of its folds that have not ended."""
        return 0 if self.row.folds is None else self.row.folds - self.row.progress.fold

    @property
    def has_reports(self) -> bool:
        """Whether any epoch was reported, with or without the objective's metric."""
        return any(fold.epochs for fold in self.folds)

    @property
    def is_reporting(self) -> bool:
        """Whether the current attempt has reported an epoch."""
        return any(fold.last_epoch(self.row.attempts) for fold in self.folds)

    @property
    def is_mixed(self) -> bool:
        """Whether two training runs have reported the same epochs of it in the current attempt."""
        return any(fold.is_mixed and fold.last_epoch(self.row.attempts) for fold in self.folds)

    @property
    def epochs(self) -> int:
        """The last epoch that was reported, 0 if there is none."""
        return max((fold.epochs[-1] for fold in self.folds if fold.epochs), default=0)

    @property
    def trained_epochs(self) -> int:
        """Number of trained epochs, over all folds."""
        return sum(fold.epochs[-1] for fold in self.folds if fold.epochs)

    @property
    def last_epoch(self) -> int:
        """The last epoch that the current attempt reported in the current fold, 0 before its first report."""
        return self.last_epoch_of(self.row.progress.fold)

    def last_epoch_of(self, fold: int) -> int:
        """Return the last epoch that the current attempt reported in a fold, 0 before its first report."""
        return self.folds[fold].last_epoch(self.row.attempts) if fold < len(self.folds) else 0

    @property
    def metrics(self) -> Mapping[int, dict[str, float]]:
        """All metrics by epoch; with folds, their means, and their standard deviations as ``<name>-std``."""
        return self.folds[0].metrics if self.row.folds is None else mean_metrics(self.folds, self.row.progress.fold)

    def std(self, epoch: int) -> float:
        """Return the standard deviation of the losses that the mean at an epoch consists of."""
        curves = [
            fold.curve
            for number, fold in enumerate(self.folds)
            if number < self.row.progress.fold or fold.curve.reached(epoch)
        ]
        return statistics.pstdev(loss for curve in curves if (loss := curve.loss(epoch, at="last")) is not None)

    @property
    def startup_seconds(self) -> float | None:
        """Seconds of start-up of the newest reporting attempt, such as to build the model or to load it.

        None while unknown: before the second report of the first attempt.
        """
        return self.folds[0].startup_seconds

    @property
    def spent_seconds(self) -> float:
        """Seconds of training, over all folds and attempts, and of the newest one's start-up."""
        return sum(fold.spent_seconds for fold in self.folds)

    def put(self, report: ReportRow, loss: float | None) -> None:
        """Add an epoch, or merge the report into the epoch if it is there; epoch 0 is the trial as a whole."""
        if report.epoch == WHOLE_TRIAL:
            self.recorded.update(decode_metrics(report.metrics))
            return
        while report.fold >= len(self.folds):
            self.folds.append(Reports())
        self.folds[report.fold].put(report, loss)
