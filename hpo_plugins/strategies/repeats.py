"""Stop a training run that repeats an earlier one exactly: it has nothing to add.

Runs repeat each other where the parameters in which they differ change nothing: a penalty below every split's gain, a
minimum of samples that no leaf comes near, a learning rate so large that training stands still. A surrogate cannot know
this before it has seen it, and successive halving continues all of them, since they tie at every rung.

Notation
    k    first values of a trial, all equal to those of an earlier one
    D    number of different first values of the study's trials

First values may also be equal by accident: an accuracy on 100 samples has 101 values. An accident of k values has a
chance of about ``D ** -k``. How far accidents go, the study tells, too: where two curves were equal and then differed.

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
MOST_VALUES = 9
"""Runs are compared by so many of their first values. Where more than four were equal by accident, none is stopped."""

_Values = tuple[tuple[int, float], ...]


def stop_of_repeat(history: History, number: int) -> Decision | None:
    """Return the decision to stop a trial whose values so far are exactly those of an earlier one, otherwise None.

    They must not all be the same, be unlikely to agree by accident, and be more than twice as many as two trials have
    shared by accident. With several objectives or limits, no trial is stopped: its other metrics may differ.
    """
    k = len(history[number].curve)
    if not 2 <= k <= MOST_VALUES or isinstance(history, WeightedHistory):
        return None
    first = history.derived("first values", lambda: _FirstValues(history))
    own = _first_values(history, number)
    if first.n_different**-k > MAX_CHANCE or k <= 2 * first.longest_accident or len({loss for _, loss in own}) == 1:
        return None
    earlier = first.trial_with(own)
    if earlier >= number or history[earlier].state is TrialState.FAILED:
        return None
    return Decision(
        TrialState.STOPPED, "repeats an earlier trial", f"its {k} values are exactly those of trial {earlier}"
    )


def _first_values(history: History, number: int) -> _Values:
    """Return the first epochs and losses of a trial."""
    curve = history[number].curve
    return tuple(zip(curve.epochs[:MOST_VALUES], curve.losses[:MOST_VALUES], strict=True))


class _FirstValues:
    """The first values of all trials.

    Attributes:
        n_different: D.
        longest_accident: The largest number of first values that two trials have shared before they differed.
    """

    def __init__(self, history: History) -> None:
        self.n_different = self.longest_accident = 0
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
                self._trials[known] = min(number, self._trials.get(known, number))
                if self._next.setdefault(values[: count - 1], value) != value:
                    self.longest_accident = max(self.longest_accident, count - 1)

    def trial_with(self, values: _Values) -> int:
        """Return the number of the first trial that has these values."""
        return self._trials[values]
