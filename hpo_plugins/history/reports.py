"""The reports of one training run: of a trial, or of one of its folds."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

from hpo_plugins.history.curve import Curve
from hpo_plugins.history.timing import TrainingTimes
from hpo_plugins.records import EpochSeconds, Metrics, ReportRow, decode_metrics


class _Column(NamedTuple):
    """The values of one metric, as of a version: of so many reported epochs up to the last one."""

    values: Curve
    version: int
    n_epochs: int
    last: int


class Reports:
    """The epochs that one training run has reported, over all attempts.

    Attributes:
        curve: Its losses by epoch.
        epochs: The reported epochs, ascending, with or without the objective's metric.
        is_mixed: Whether two training runs have reported the same epochs in the newest attempt.
        version: Grows with each report.
    """

    __slots__ = (
        "_attempt",
        "_columns",
        "_metrics",
        "_newest_epoch",
        "_times",
        "_writer",
        "curve",
        "epochs",
        "is_mixed",
        "version",
    )

    def __init__(self) -> None:
        """Create it without reports."""
        self.curve = Curve()
        self.epochs = array("q")
        self.is_mixed = False
        self.version = 0
        self._times = TrainingTimes(self.epochs)
        self._metrics: list[dict[str, float] | str] = []
        self._attempt = 0
        self._newest_epoch = 0
        self._writer = ""
        self._columns: dict[str, _Column] = {}

    @property
    def metrics(self) -> Metrics:
        """All metrics by epoch, decoded when they are read."""
        return Metrics(self.epochs, self._metrics)

    @property
    def seconds(self) -> EpochSeconds:
        """Seconds of training up to each epoch, over all attempts."""
        return EpochSeconds(self.epochs, self._times.trained)

    def metrics_at(self, index: int) -> dict[str, float]:
        """Return the metrics of the epoch at an index of ``epochs``."""
        return decode_metrics(self._metrics[index])

    @property
    def trained(self) -> array[float]:
        """Seconds of training up to each of ``epochs``."""
        return self._times.trained

    def values(self, metric: str) -> Curve:
        """Return the values of a metric by epoch, where it was reported; only new reports are decoded."""
        known = self._columns.get(metric)
        if known is None or not self._extends(known):
            known = _Column(Curve(), 0, 0, 0)
        if known.n_epochs < len(self.epochs):
            for index in range(known.n_epochs, len(self.epochs)):
                if (value := self.metrics_at(index).get(metric)) is not None:
                    known.values.put(self.epochs[index], value, self._times.trained[index])
            known = _Column(known.values, self.version, len(self.epochs), self.epochs[-1])
        self._columns[metric] = known
        return known.values

    def _extends(self, known: _Column) -> bool:
        """Return whether all reports since then are of later epochs than those that a column contains."""
        n_new = len(self.epochs) - known.n_epochs
        return self.version - known.version == n_new and (
            not known.n_epochs or self.epochs[known.n_epochs - 1] == known.last
        )

    @property
    def startup_seconds(self) -> float | None:
        """Seconds of start-up of the newest attempt, None while unknown."""
        return self._times.startup

    @property
    def spent_seconds(self) -> float:
        """Seconds of training, over all attempts, and of the newest one's start-up."""
        return self._times.spent

    def last_epoch(self, attempt: int) -> int:
        """Return the last epoch that an attempt has reported, 0 if it is not the newest or has reported none."""
        return self._newest_epoch if attempt == self._attempt else 0

    def put(self, report: ReportRow, loss: float | None) -> None:
        """Add an epoch, or merge the report into the epoch if it is there."""
        epoch, epochs = report.epoch, self.epochs
        self._follow(report)
        index = len(epochs) if not epochs or epoch > epochs[-1] else bisect_left(epochs, epoch)
        if index < len(epochs) and epochs[index] == epoch:
            self._metrics[index] = decode_metrics(self._metrics[index]) | decode_metrics(report.metrics)
        else:
            epochs.insert(index, epoch)
            self._metrics.insert(index, report.metrics)
        if (corrected := self._times.put(report, index)) is not None:
            self.curve.set_seconds(*corrected)
        if loss is not None:
            self.curve.put(epoch, loss, self._times.trained[index])
        self.version += 1

    def _follow(self, report: ReportRow) -> None:
        """Record the newest attempt's last epoch, and whether a second training run repeats its epochs."""
        if report.attempt > self._attempt:
            self._attempt, self._newest_epoch, self._writer, self.is_mixed = report.attempt, 0, report.writer, False
        if report.attempt == self._attempt:
            self.is_mixed |= report.writer != self._writer and report.epoch <= self._newest_epoch
            self._newest_epoch = max(self._newest_epoch, report.epoch)
            self._writer = report.writer


def mean_curve(curves: Sequence[Curve], n_ended: int, *, needs_all: bool) -> Curve:
    """Return the mean of the folds' curves by epoch.

    A fold that has ended counts with its last loss at later epochs. One that still trains counts up to its last epoch.

    Args:
        curves: The curves of the folds, in their order; at least one.
        n_ended: How many of them have ended, from the first.
        needs_all: Whether an epoch that a fold has not reached has no mean; otherwise it has the mean of the other
            folds.
    """
    mean = Curve()
    for epoch in sorted(set().union(*(curve.epochs for curve in curves))):
        at = [
            curve.last_epoch_until(epoch) if number < n_ended or curve.reached(epoch) else 0
            for number, curve in enumerate(curves)
        ]
        if None in at or (needs_all and 0 in at) or not any(at):
            continue
        losses = [curve.loss(known, at="last") for curve, known in zip(curves, at, strict=True) if known]
        seconds = curves[0].seconds[bisect_left(curves[0].epochs, at[0])] if at[0] else 0.0
        mean.put(epoch, sum(loss for loss in losses if loss is not None) / len(losses), seconds)
    return mean


def mean_metrics(folds: Sequence[Reports], n_ended: int) -> dict[int, dict[str, float]]:
    """Return each metric's mean and standard deviation (``<name>-std``) over the folds, by epoch.

    Ended folds count with their last report, as in ``mean_curve``.
    """
    result: dict[int, dict[str, float]] = {}
    for epoch in sorted(set().union(*(fold.epochs for fold in folds))):
        values: dict[str, list[float]] = {}
        for number, fold in enumerate(folds):
            index = bisect_left(fold.epochs, epoch)
            if index == len(fold.epochs) or fold.epochs[index] != epoch:
                if number >= n_ended or not fold.epochs:
                    continue
                index = max(index - 1, 0)
            for name, value in fold.metrics_at(index).items():
                values.setdefault(name, []).append(value)
        result[epoch] = {}
        for name, of_folds in values.items():
            mean = sum(of_folds) / len(of_folds)
            result[epoch][name] = mean
            result[epoch][f"{name}-std"] = (sum((value - mean) ** 2 for value in of_folds) / len(of_folds)) ** 0.5
    return result
