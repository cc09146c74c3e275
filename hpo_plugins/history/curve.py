"""The learning curve of a trial: its losses by epoch.

Notation
    loss    ``sign * value``: smaller is better, whatever the objective's direction
    epoch   1-based, absolute, increasing within a curve; gaps are allowed
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hpo_plugins.space import FloatArray


class Curve:
    """The losses of one trial by epoch, with the running aggregates that rules need, one column each.

    Attributes:
        epochs: The epochs that have a loss, ascending.
        losses: The loss at each of them.
        seconds: Seconds of training up to each of them, over all attempts, without start-up.
    """

    __slots__ = ("_best", "_sum", "epochs", "losses", "seconds")

    def __init__(self) -> None:
        """Create an empty curve."""
        self.epochs = array("q")
        self.losses = array("d")
        self.seconds = array("d")
        self._best = array("d")
        self._sum = array("d")

    @classmethod
    def of(cls, epochs: NDArray[Any], losses: FloatArray, seconds: FloatArray) -> Curve:
        """Return a curve of whole columns, shape ``(n,)`` each; the epochs ascend."""
        curve = cls()
        curve.epochs = array("q", epochs.astype(np.int64).tobytes())
        columns = (losses, seconds, np.minimum.accumulate(losses), np.cumsum(losses))
        curve.losses, curve.seconds, curve._best, curve._sum = (
            array("d", column.astype(np.float64).tobytes()) for column in columns
        )
        return curve

    def __len__(self) -> int:
        """Return the number of epochs with a loss."""
        return len(self.epochs)

    def put(self, epoch: int, loss: float, seconds: float) -> None:
        """Add an epoch, or replace it if it exists."""
        if not self.epochs or epoch > self.epochs[-1]:
            self.epochs.append(epoch)
            self.losses.append(loss)
            self.seconds.append(seconds)
            self._best.append(min(loss, self._best[-1]) if self._best else loss)
            self._sum.append(self._sum[-1] + loss if self._sum else loss)
            return
        # A retried training overwrites what the attempt before it reported: rebuild the tail.
        index = bisect_left(self.epochs, epoch)
        tail = list(zip(self.epochs[index:], self.losses[index:], self.seconds[index:], strict=True))
        if tail[0][0] == epoch:
            del tail[0]
        for column in (self.epochs, self.losses, self.seconds, self._best, self._sum):
            del column[index:]
        for row in [(epoch, loss, seconds), *tail]:
            self.put(*row)

    def set_seconds(self, epoch: int, seconds: float) -> None:
        """Correct the training time of an epoch, if the curve has it."""
        index = bisect_left(self.epochs, epoch)
        if index < len(self.epochs) and self.epochs[index] == epoch:
            self.seconds[index] = seconds

    def reached(self, epoch: int) -> bool:
        """Return whether the curve has a loss at this epoch or later."""
        return bool(self.epochs) and self.epochs[-1] >= epoch

    def last_epoch_until(self, epoch: int) -> int | None:
        """Return the last epoch with a loss up to and including ``epoch``, None if there is none."""
        index = bisect_right(self.epochs, epoch)
        return self.epochs[index - 1] if index else None

    def milestone_passed(self, epoch: int, milestones: Sequence[int]) -> int | None:
        """Return the last milestone for which ``epoch`` is the first epoch at or after it, None if there is none.

        Args:
            epoch: An epoch that was just reported.
            milestones: Epochs, ascending.
        """
        before = self.last_epoch_until(epoch - 1) or 0
        return next((milestone for milestone in reversed(milestones) if before < milestone <= epoch), None)

    def loss(self, epoch: int | None = None, *, at: Literal["best", "last"]) -> float | None:
        """Return the best or last loss up to and including ``epoch``, None if there is none.

        Args:
            epoch: The last epoch that counts; None for all.
            at: Which loss to return.
        """
        count = len(self.epochs) if epoch is None else bisect_right(self.epochs, epoch)
        if count == 0:
            return None
        return (self._best if at == "best" else self.losses)[count - 1]

    def epoch_that_counts(self, *, at: Literal["best", "last"]) -> int | None:
        """Return the earliest epoch with the loss ``loss(at=at)``, None if there is none."""
        if not self.epochs:
            return None
        return self.epochs[-1] if at == "last" else self.epochs[self.losses.index(self._best[-1])]

    def running_mean(self, epoch: int) -> float | None:
        """Return the mean of the losses up to and including ``epoch``, None if the curve has not reached it."""
        if not self.epochs or self.epochs[-1] < epoch:
            return None
        count = bisect_right(self.epochs, epoch)
        return self._sum[count - 1] / count if count else None
