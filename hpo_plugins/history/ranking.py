"""Order statistics over trials, kept up to date as trials change.

Ranks are updated only for changed trials (docs/decisions/0016).
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable


class Ranking:
    """Numbers of trials, in ascending order.

    Args:
        number_of: Returns the rank value of the trial with a number; None if the trial does not count.
        others: Rank values of other studies' trials.
    """

    def __init__(self, number_of: Callable[[int], float | None], others: Iterable[float] = ()) -> None:
        """Rank the others only."""
        self._number_of = number_of
        self._known = array("d")  # by trial; NaN for trials that do not count
        self._sorted = array("d", sorted(others))

    def update(self, changed: Iterable[int]) -> None:
        """Rank trials that have changed again."""
        known = self._known
        for trial in changed:
            while trial >= len(known):
                known.append(math.nan)
            before, now = known[trial], self._number_of(trial)
            if before == now:
                continue
            if before == before:
                del self._sorted[bisect_left(self._sorted, before)]
            known[trial] = math.nan if now is None else now
            if now is not None:
                insort(self._sorted, now)

    def __len__(self) -> int:
        """Return how many numbers are ranked."""
        return len(self._sorted)

    def of(self, trial: int) -> float | None:
        """Return the number of a trial, None if it does not count."""
        number = self._known[trial] if trial < len(self._known) else math.nan
        return None if math.isnan(number) else number

    def rank(self, number: float) -> int:
        """Return 1 plus the count of smaller numbers."""
        return 1 + bisect_left(self._sorted, number)

    def without(self, trials: Iterable[int]) -> array[float]:
        """Return all numbers but those of these trials, ascending."""
        numbers = self._sorted[:]
        for trial in trials:
            if (number := self.of(trial)) is not None:
                del numbers[bisect_left(numbers, number)]
        return numbers

    def smallest(self, *, but: int) -> float | None:
        """Return the smallest number of all trials but one, None if there is no other."""
        own, others = self.of(but), self._sorted
        index = int(own is not None and bool(others) and others[0] == own)
        return others[index] if index < len(others) else None
