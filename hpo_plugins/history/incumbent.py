"""The best trial so far, updated incrementally."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable


class Incumbent:
    """The trial with the smallest rank, the earliest of equals.

    A heap of ``(rank, number)`` whose outdated entries are dropped when they reach the top: a rank may rise again
    (``at="last"``), and a trial may fail.

    Args:
        rank: Returns a trial's sort key, such as ``(missing folds, loss)``; None if the trial does not count.
    """

    def __init__(self, rank: Callable[[int], tuple[int, float] | None]) -> None:
        """Create it without trials."""
        self._rank = rank
        self._heap: list[tuple[tuple[int, float], int]] = []

    def update(self, changed: Iterable[int]) -> None:
        """Rank trials that have changed again."""
        for number in changed:
            if (rank := self._rank(number)) is not None:
                heapq.heappush(self._heap, (rank, number))

    def get(self) -> int | None:
        """Return the number of the incumbent, None if no trial has a rank."""
        while self._heap:
            rank, number = self._heap[0]
            if self._rank(number) == rank:
                return number
            heapq.heappop(self._heap)
        return None
