"""One trial as strategies see it."""

from __future__ import annotations

from array import array
from bisect import bisect_left

from hpo_plugins.history.curve import Curve
from hpo_plugins.history.timing import TrainingTimes
from hpo_plugins.records import Metrics, ReportRow, TrialRow, TrialState, decode_metrics
from hpo_plugins.space import FloatArray


class TrialHistory:
    """One trial: its row, its configuration and everything that it has reported.

    Attributes:
        row: The trial as stored.
        point: Its configuration in the unit cube, shape ``(d,)``.
        curve: Its losses by epoch, over all attempts.
        last_epoch: The last epoch that the current attempt reported, 0 before its first report.
    """

    __slots__ = ("_metrics", "_reported_epochs", "_times", "curve", "last_epoch", "point", "row")

    def __init__(self, row: TrialRow, point: FloatArray) -> None:
        """Create it without reports."""
        self.row = row
        self.point = point
        self.curve = Curve()
        self.last_epoch = 0
        self._reported_epochs = array("q")
        self._times = TrainingTimes(self._reported_epochs)
        self._metrics: list[dict[str, float] | str] = []

    @property
    def state(self) -> TrialState:
        """The state of the trial."""
        return self.row.state

    def share_reports(self, other: TrialHistory) -> None:
        """Share the reports of ``other``, present and future: this is another view of the same trial."""
        self.curve, self._reported_epochs, self._metrics = other.curve, other._reported_epochs, other._metrics

    @property
    def has_reports(self) -> bool:
        """Whether any epoch was reported, with or without the objective's metric."""
        return bool(self._reported_epochs)

    @property
    def epochs(self) -> int:
        """The last epoch that was reported, 0 if there is none."""
        return self._reported_epochs[-1] if self._reported_epochs else 0

    @property
    def metrics(self) -> Metrics:
        """All metrics by epoch, decoded when they are read."""
        return Metrics(self._reported_epochs, self._metrics)

    @property
    def startup_seconds(self) -> float | None:
        """Seconds that the newest reporting attempt took before it trained, such as to build the model or to load it.

        None while unknown: before the second report of the first attempt.
        """
        return self._times.startup

    def put(self, report: ReportRow, loss: float | None) -> None:
        """Add an epoch, or merge the report into the epoch if it is there."""
        epoch, epochs = report.epoch, self._reported_epochs
        if report.attempt == self.row.attempts and epoch > self.last_epoch:
            self.last_epoch = epoch
        index = len(epochs) if not epochs or epoch > epochs[-1] else bisect_left(epochs, epoch)
        if index < len(epochs) and epochs[index] == epoch:
            self._metrics[index] = decode_metrics(self._metrics[index]) | decode_metrics(report.metrics)
        else:
            epochs.insert(index, epoch)
            self._metrics.insert(index, report.metrics)
        for corrected, seconds in self._times.put(report, index):
            self.curve.set_seconds(corrected, seconds)
        if loss is not None:
            self.curve.put(epoch, loss, self._times.trained[index])
