"""The training time of a trial, without the time to build its model and to load its checkpoint."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from dataclasses import dataclass

from hpo_plugins.records import ReportRow


@dataclass(slots=True)
class AttemptTimer:
    """Separates training from start-up in the times of one attempt's reports.

    Times count from the moment at which the trial was acquired, so the first report includes building the model and
    loading the checkpoint. The start-up is the first report's time minus its epochs at the pace of the later ones.
    Until there is a second report, the pace of an earlier attempt is used; without one, nothing is subtracted.

    Attributes:
        attempt: Which attempt of the trial.
        first_epoch: The epoch of its first report.
        first_seconds: The time of its first report.
        epochs: Number of epochs that the first report covers.
        base: Seconds that earlier attempts trained up to the epoch that this one started from.
        pace: Seconds per epoch, None while unknown.
        startup: Seconds of start-up, None while unknown.
        is_final: Whether ``startup`` comes from this attempt's own pace.
        seconds: The time of its last report.
    """

    attempt: int
    first_epoch: int
    first_seconds: float
    epochs: int
    base: float
    pace: float | None
    startup: float | None = None
    is_final: bool = False
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self._estimate_startup()

    def observe(self, epoch: int, seconds: float) -> None:
        """Update the pace from an epoch after the first."""
        self.seconds = max(self.seconds, seconds)
        if epoch > self.first_epoch:
            self.pace = (seconds - self.first_seconds) / (epoch - self.first_epoch)
            if not self.is_final:
                self.is_final = True
                self._estimate_startup()

    def trained(self, seconds: float) -> float:
        """Return the seconds of training, over all attempts, at a time of this attempt."""
        return self.base + seconds - (self.startup or 0.0)

    def _estimate_startup(self) -> None:
        if self.pace is not None:
            self.startup = max(0.0, self.first_seconds - self.pace * self.epochs)


class TrainingTimes:
    """The training times of one trial.

    Args:
        epochs: The reported epochs, which the caller keeps up to date.

    Attributes:
        trained: Seconds of training, over all attempts, up to each of ``epochs``.
    """

    __slots__ = ("_epochs", "_timer", "trained")

    def __init__(self, epochs: array[int]) -> None:
        """Create it before the first report."""
        self.trained = array("d")
        self._epochs = epochs
        self._timer: AttemptTimer | None = None

    @property
    def startup(self) -> float | None:
        """Seconds of start-up of the newest attempt, None while unknown."""
        return None if self._timer is None else self._timer.startup

    @property
    def spent(self) -> float:
        """Seconds of training, over all attempts, and of the newest one's start-up."""
        return 0.0 if self._timer is None else self._timer.base + self._timer.seconds

    def put(self, report: ReportRow, index: int) -> tuple[int, float] | None:
        """Add the time of a report, and return the epoch whose training time it corrects, if any, and that time.

        Args:
            report: The report.
            index: The index of its epoch in ``epochs``.
        """
        attempt, epoch, seconds = report.attempt, report.epoch, report.seconds
        timer = self._timer
        if timer is None or attempt > timer.attempt:
            start, base = (self._epochs[index - 1], self.trained[index - 1]) if index else (0, 0.0)
            pace = None if timer is None else timer.pace
            timer = self._timer = AttemptTimer(attempt, epoch, seconds, epoch - start, base, pace)
        was_final = timer.is_final
        timer.observe(epoch, seconds)
        if len(self.trained) < len(self._epochs):
            self.trained.insert(index, 0.0)
        self.trained[index] = timer.trained(seconds)
        if was_final or not timer.is_final:
            return None
        first = bisect_left(self._epochs, timer.first_epoch)  # the second report reveals its share of start-up
        self.trained[first] = timer.trained(timer.first_seconds)
        return timer.first_epoch, self.trained[first]
