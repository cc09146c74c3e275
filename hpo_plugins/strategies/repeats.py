"""Stop a training run that repeats an earlier one exactly, where equal first values have proved to stay equal.

Runs repeat each other where the parameters in which they differ change nothing: those of another optimizer, a minimum
of samples that no leaf comes near. A surrogate cannot know this before it has seen it, and successive halving continues
all of them, since they tie at every rung.

Notation
    k    first values of a trial, all equal to those of an earlier one
    D    number of different first values of the study's trials

Equal first values prove nothing by themselves. They may be an accident: an accuracy on 100 samples has 101 values, and
k of them agree with a chance of about ``D ** -k``. They may differ later: a penalty that no split comes near in the
first rounds of boosting matters in later ones. Therefore the study must tell: some trials have gone on to repeat an
earlier one for ``N_COMPARED`` values and all later ones, and no two have shared half as many as k and differed then.

``Bayesian`` without pauses has no such rule: it stops training runs for good by a forecast, and one that repeats a run
stopped too early is the second chance to train it (docs/decisions/0049).
"""

from __future__ import annotations

from collections.abc import Iterable

from hpo_plugins.history import History
from hpo_plugins.history.weighted_history import WeightedHistory
from hpo_plugins.records import Decision, TrialState

MAX_CHANCE = 0.01
"""The largest chance of an accident for which a training run is stopped."""
N_COMPARED = 9
"""Runs are compared by so many of their first values. Where more than four were equal and others then differed, none is
stopped."""
MIN_PROVED = 3
"""Number of trials that must have repeated an earlier one for so many values before others are stopped."""

_Values = tuple[tuple[int, float], ...]


def stop_of_repeat(history: History, number: int) -> Decision | None:
    """Return the decision to stop a trial whose values so far are exactly those of an earlier one, otherwise None.

    With several objectives or limits, no trial is stopped: its other metrics may differ.
    """
    k = len(history[number].curve)
    if not 2 <= k <= N_COMPARED or isinstance(history, WeightedHistory):
        return None
    first = history.derived("first values", lambda: _FirstValues(history))
    if len(first.proved) < MIN_PROVED or first.n_different**-k > MAX_CHANCE or k <= 2 * first.longest_shared:
        return None
    own = _first_values(history, number)
    earlier = first.trial_with(own)
    if earlier >= number or _stands_still(own) or history[earlier].state is TrialState.FAILED:
        return None
    return Decision(
        TrialState.STOPPED, "repeats an earlier trial", f"its {k} values are exactly those of trial {earlier}"
    )


def _first_values(history: History, number: int) -> _Values:
    """Return the first epochs and losses of a trial."""
    curve = history[number].curve
    return tuple(zip(curve.epochs[:N_COMPARED], curve.losses[:N_COMPARED], strict=True))


def _stands_still(values: _Values) -> bool:
    return len({loss for _, loss in values}) == 1


class _FirstValues:
    """The first values of all trials.

    Attributes:
        n_different: D.
        longest_shared: The largest number of first values that two trials have shared before they differed.
        proved: The trials that have ``N_COMPARED`` values, not all the same, and are equal to an earlier one as far as
            both are trained.
    """

    def __init__(self, history: History) -> None:
        self.n_different = self.longest_shared = 0
        self.proved: set[int] = set()
        self._history = history
        self._trials: dict[_Values, int] = {}  # to the first trial that has them
        self._next: dict[_Values, tuple[int, float]] = {}  # to the value that has followed

    def update(self, changed: Iterable[int]) -> None:
        """Add the values of trials that have changed."""
        for number in changed:
            values = _first_values(self._history, number)
            for count, value in enumerate(values, 1):
                known = values[:count]
                self.n_different += count == 1 and known not in self._trials
                earlier = self._trials[known] = min(number, self._trials.get(known, number))
                if count == N_COMPARED and earlier != number and not _stands_still(known):
                    self._compare_whole(earlier, number)
                if self._next.setdefault(known[:-1], value) != value:
                    self.longest_shared = max(self.longest_shared, count - 1)

    def _compare_whole(self, earlier: int, number: int) -> None:
        """Note whether two trials with the same first values are equal as far as both are trained."""
        one, other = (self._history[trial].curve.losses for trial in (earlier, number))
        length = min(len(one), len(other))
        if one[:length] == other[:length]:
            self.proved.add(number)
        else:
            self.longest_shared = max(self.longest_shared, N_COMPARED)

    def trial_with(self, values: _Values) -> int:
        """Return the number of the first trial that has these values."""
        return self._trials[values]
