"""How long a trial has trained, without what building its model and loading its checkpoint took."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass

from hpo_plugins.records import ReportRow


@dataclass(slots=True)
class Stopwatch:
    """Tells training from starting up, in the times at which an attempt's reports came.

    A worker measures from the hand-out, so its first report includes building the model and loading the checkpoint.
    What that took is the first report's time without the pace at which the epochs after it came. Before there is a
    second report an earlier attempt's pace serves; where there was none, nothing is taken off.
    """

    attempt: int
    first: int
    seconds: float
    """Of the first report, from the hand-out."""
    epochs: int
    """How many epochs the first report stands for."""
    base: float
    """Seconds that earlier attempts trained up to where this one started."""
    pace: float | None
    startup: float | None = None
    is_settled: bool = False

    def __post_init__(self) -> None:
        self._take_off()

    def see(self, epoch: int, seconds: float) -> None:
        """Learn the pace from an epoch after the first."""
        if epoch > self.first:
            self.pace = (seconds - self.seconds) / (epoch - self.first)
            if not self.is_settled:
                self.is_settled = True
                self._take_off()

    def trained(self, seconds: float) -> float:
        """Return the seconds of training up to ``seconds`` after the hand-out."""
        return self.base + seconds - (self.startup or 0.0)

    def _take_off(self) -> None:
        if self.pace is not None:
            self.startup = max(0.0, self.seconds - self.pace * self.epochs)


class TrainingTimes:
    """The times of one trial.

    Attributes:
        trained: Seconds of training, over all attempts, up to each epoch of ``epochs``.
    """

    __slots__ = ("_epochs", "_watch", "trained")

    def __init__(self, epochs: array[int]) -> None:
        """Start before the first report; ``epochs`` are the reported ones, kept by the caller."""
        self.trained = array("d")
        self._epochs = epochs
        self._watch: Stopwatch | None = None

    @property
    def startup(self) -> float | None:
        """What the newest attempt took before its training began, None while it is not known."""
        return None if self._watch is None else self._watch.startup

    def put(self, report: ReportRow, at: int) -> Iterator[tuple[int, float]]:
        """Add the time of a report whose epoch stands at place ``at``; yield what is corrected by it."""
        _, attempt, epoch, _, _, seconds = report
        watch = self._watch
        if watch is None or attempt > watch.attempt:
            start, base = (self._epochs[at - 1], self.trained[at - 1]) if at else (0, 0.0)
            pace = None if watch is None else watch.pace
            watch = self._watch = Stopwatch(attempt, epoch, seconds, epoch - start, base, pace)
        was_settled = watch.is_settled
        watch.see(epoch, seconds)
        if len(self.trained) < len(self._epochs):
            self.trained.insert(at, 0.0)
        self.trained[at] = watch.trained(seconds)
        if watch.is_settled and not was_settled:  # now it is known what of the first report was starting up
            first = bisect_left(self._epochs, watch.first)
            self.trained[first] = watch.trained(watch.seconds)
            yield watch.first, self.trained[first]
