"""Termination criteria, ``Tuner(stop_when=[...])``: the first one that is met ends the search.

A criterion is a function of the history, so every process that works on a study, and every later run, comes to the same
conclusion. The trials of identical parents (``warm_start``) count as results.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from hpo_plugins._fields import checked, frozen
from hpo_plugins._validation import real_number, refusal, whole_number
from hpo_plugins.history import History
from hpo_plugins.records import TrialState
from hpo_plugins.strategies import Component

MIN_IMPROVEMENT = 0.01
"""Minimum improvement of a result, relative to the best value: 1 % in SageMaker."""


class Criterion(Component):
    """Decides when a search is over."""

    @abstractmethod
    def met(self, history: History) -> str | None:
        """Return why the search is over, in words, or None while it is not."""


@frozen()
class TargetReached(Criterion):
    """A trial's value is at least as good as ``value``.

    With ``at="best"``, the training run that reaches the target may still be running; with ``at="last"``, its value is
    known when it has ended.

    Args:
        value: The target.

    Raises:
        InvalidArgument: The value is not a finite number.
    """

    value: float = checked(real_number)

    def met(self, history: History) -> str | None:
        """Compare the best value with the target."""
        target, at = history.objective.loss(self.value), history.objective.at
        for parent in history.parents:
            losses = [history.earlier_loss(trial) for trial in parent.trials if parent.identical]
            if any(loss is not None and loss <= target for loss in losses):
                return f"target reached: a trial of {parent.name!r} has {self.value:g} or better"
        number = history.incumbent(final=at == "last")
        loss = None if number is None else history.loss(number)
        if number is None or loss is None or loss > target or history[number].missing_folds:
            return None
        return (
            f"target reached: trial {number} has {history.objective.loss(loss):.6g}, and the target is {self.value:g}"
        )


@frozen()
class NotImproving(Criterion):
    """The best value has not improved for a number of trials in a row.

    Trials count in the order in which they ended; failed ones do not count.

    Args:
        trials: The number of trials.
        min_delta: Minimum improvement of a value, relative to the best value before it. Small
            steps add up, since each is compared with the last improvement.

    Raises:
        InvalidArgument: ``trials`` is not a whole number of at least 1, or ``min_delta`` is negative.
    """

    trials: int = checked(whole_number, at_least=1)
    min_delta: float = checked(real_number, at_least=0, default=MIN_IMPROVEMENT)

    def met(self, history: History) -> str | None:
        """Count the trials since the last improvement."""
        since = _progress(history, self.min_delta).since
        if since < self.trials:
            return None
        return f"not improving: none of the last {since} trials was better by {self.min_delta:.3g} of the best value"


@frozen()
class Converged(Criterion):
    """Further trials are not worth their cost: the second half of the search has not improved the best value by 1 %.

    Even with random configurations, the second half contains a new best with probability 1/2; a guided search does
    better. The criterion is never met before ``2 * min_trials`` trials.

    Args:
        min_trials: The minimum number of trials without an improvement.

    Raises:
        InvalidArgument: ``min_trials`` is not a whole number of at least 1.

    Reference:
        Arnold, Balakrishnan, Nagaraja, "Records", Wiley 1998, section 2.4: of n exchangeable draws the last n - m
        hold no record with probability m / n. The service's own rule is not published.
    """

    min_trials: int = checked(whole_number, at_least=1, default=20)

    def met(self, history: History) -> str | None:
        """Compare the trials before the last improvement with those since."""
        before, since = _progress(history, MIN_IMPROVEMENT)
        if since < max(before, self.min_trials):
            return None
        return f"converged: the last improvement of {MIN_IMPROVEMENT:.0%} came with result {before} of {before + since}"


class _Progress(NamedTuple):
    """Number of trials that had ended up to and including the last improvement, and number since."""

    before: int
    since: int


def _progress(history: History, min_delta: float) -> _Progress:
    best: float | None = None
    count = before = 0
    for count, loss in enumerate(_losses(history), start=1):
        if best is None or loss < best - min_delta * abs(best):
            best, before = loss, count
    return _Progress(before, count - before)


def _losses(history: History) -> Iterator[float]:
    """Yield the losses of identical parents, then those of this study's trials, in the order in which they ended."""
    for earlier in history.identical_trials:
        loss = history.earlier_loss(earlier)
        if loss is not None and earlier.state is not TrialState.FAILED:
            yield loss
    yield from history.final_losses()


def check_criteria(name: str, stop_when: object) -> tuple[Criterion, ...]:
    """Return the criteria as a tuple.

    Raises:
        InvalidArgument: ``stop_when`` is not a list of criteria.
    """
    given = tuple(stop_when) if isinstance(stop_when, Sequence) and not isinstance(stop_when, str) else None
    if given is None or not all(isinstance(criterion, Criterion) for criterion in given):
        raise refusal(name, stop_when, "a list of TargetReached(value), NotImproving(trials) and Converged()")
    return given
