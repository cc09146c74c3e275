"""The best trial so far, without a search through all trials whenever it is asked for."""

from __future__ import annotations

import heapq
from collections.abc import Callable


class Incumbent:
    """The trial with the smallest loss, the earliest of equals.

    A heap of ``(loss, number)`` whose outdated entries are dropped when they reach the top: a loss may rise again
    (``at="last"``), and a trial may fail. Trials that have changed are pushed when the incumbent is next asked for, so
    a report costs one addition to a set. Ending a trial took 9 ms at 3,000 trials when all were searched.

    Args:
        loss: Returns the loss of a trial by its number, None if it does not count.
    """

    def __init__(self, loss: Callable[[int], float | None]) -> None:
        """Create it without trials."""
        self._loss = loss
        self._heap: list[tuple[float, int]] = []
        self._changed: set[int] = set()

    def mark_changed(self, number: int) -> None:
        """Note that the loss of a trial may have changed."""
        self._changed.add(number)

    def get(self) -> int | None:
        """Return the number of the incumbent, None if no trial has a loss."""
        for number in self._changed:
            if (loss := self._loss(number)) is not None:
                heapq.heappush(self._heap, (loss, number))
        self._changed.clear()
        while self._heap:
            loss, number = self._heap[0]
            if self._loss(number) == loss:
                return number
            heapq.heappop(self._heap)
        return None
