"""When a search has found enough: criteria for ``Tuner(stop_when=[...])``, any of which ends it.

A criterion is a function of the history, so every process on a study sees it met at the same time, and a restarted
one again. The trials of identical parents (``warm_start``) count: what they found need not be found again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, NamedTuple

from hpo_plugins._validation import real_number, whole_number
from hpo_plugins.errors import InvalidArgument
from hpo_plugins.history import History
from hpo_plugins.records import TrialState

SIGNIFICANT = 0.01
"""The part of the best value by which a result must be better to count as an improvement: the service's 1 %."""


@dataclass(frozen=True)
class Criterion(ABC):
    """Says when a search is over."""

    registry: ClassVar[dict[str, type[Criterion]]] = {}

    def __init_subclass__(cls) -> None:
        """Know every criterion by its name, to read it back from a stored study."""
        Criterion.registry[cls.__name__] = cls

    @abstractmethod
    def met(self, history: History) -> str | None:
        """Return why the search is over, in words, or None while it is not."""

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form that ``criterion_from_json`` reads."""
        return {"name": type(self).__name__, **asdict(self)}


@dataclass(frozen=True)
class TargetReached(Criterion):
    """A trial's value is as good as ``value``, or better.

    With ``at="best"`` a training may still run when it reaches the target; with ``at="last"`` its value is known when
    it has ended.

    Raises:
        InvalidArgument: The value is not a finite number.
    """

    value: float

    def __post_init__(self) -> None:
        real_number("value", self.value)

    def met(self, history: History) -> str | None:
        """Compare the best value with the target."""
        target, at = history.objective.loss(self.value), history.objective.at
        for parent in history.parents:
            losses = [trial.curve.loss(at=at) for trial in parent.trials if parent.identical]
            if any(loss is not None and loss <= target for loss in losses):
                return f"target reached: a trial of {parent.name!r} has {self.value:g} or better"
        for trial in history:
            loss = history.loss(trial.row.number)
            if loss is not None and loss <= target and (at == "best" or trial.state.is_final):
                found = history.objective.loss(loss)
                return f"target reached: trial {trial.row.number} has {found:.6g}, and the target is {self.value:g}"
        return None


@dataclass(frozen=True)
class NotImproving(Criterion):
    """So many trials in a row have ended without improving the best value.

    Trials count in the order in which they ended; those that failed do not count.

    Args:
        trials: How many.
        min_delta: How much better a value must be to be an improvement, as a part of the best value before it. Small
            steps add up: each is measured from the last improvement.

    Raises:
        InvalidArgument: ``trials`` is not a whole number of at least 1, or ``min_delta`` is negative.
    """

    trials: int
    min_delta: float = SIGNIFICANT

    def __post_init__(self) -> None:
        whole_number("trials", self.trials, at_least=1)
        if real_number("min_delta", self.min_delta) < 0:
            raise InvalidArgument(f"min_delta must be at least 0, but got min_delta={self.min_delta!r}.")

    def met(self, history: History) -> str | None:
        """Count the trials since the last improvement."""
        since = _progress(history, self.min_delta).since
        if since < self.trials:
            return None
        return f"not improving: none of the last {since} trials was better by {self.min_delta:.3g} of the best value"


@dataclass(frozen=True)
class Converged(Criterion):
    """Further trials are not worth their while: the last 1 % of improvement lies half of the search back.

    If one could do no better than draw configurations at random, a new best would have turned up in the second half
    of the trials with a chance of 1/2, and in a guided search with more. The criterion rests for the first ``2 *
    min_trials`` trials.

    Args:
        min_trials: How many trials without improvement there must be at the least.

    Raises:
        InvalidArgument: ``min_trials`` is not a whole number of at least 1.

    Reference:
        Arnold, Balakrishnan, Nagaraja, "Records", Wiley 1998, section 2.4: of n exchangeable draws the last n - m
        hold no record with probability m / n. The service's own rule is not published.
    """

    min_trials: int = 20

    def __post_init__(self) -> None:
        whole_number("min_trials", self.min_trials, at_least=1)

    def met(self, history: History) -> str | None:
        """Compare the trials before the last improvement with those since."""
        before, since = _progress(history, SIGNIFICANT)
        if since < max(before, self.min_trials):
            return None
        return f"converged: the last improvement of {SIGNIFICANT:.0%} came with result {before} of {before + since}"


class _Progress(NamedTuple):
    """How many trials had ended at the last improvement, that one included, and how many have since."""

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
    for parent in history.parents:
        for earlier in parent.trials if parent.identical else ():
            loss = earlier.curve.loss(at=history.objective.at)
            if loss is not None and earlier.state is not TrialState.FAILED:
                yield loss
    ended = [trial.row for trial in history if trial.state.is_final]
    for row in sorted(ended, key=lambda row: (row.ended_at, row.number)):
        loss = history.loss(row.number)
        if loss is not None:
            yield loss


def check_criteria(stop_when: object) -> tuple[Criterion, ...]:
    """Return the criteria of a list.

    Raises:
        InvalidArgument: It is not a list of criteria.
    """
    given = tuple(stop_when) if isinstance(stop_when, Sequence) and not isinstance(stop_when, str) else None
    if given is None or not all(isinstance(criterion, Criterion) for criterion in given):
        raise InvalidArgument(
            "stop_when must be a list of TargetReached(value), NotImproving(trials) and Converged(), "
            f"but got stop_when={stop_when!r}."
        )
    return given


def criterion_from_json(data: Mapping[str, Any]) -> Criterion:
    """Return the criterion that ``to_json`` described; only names known to this library are made."""
    name = data["name"]
    if name not in Criterion.registry:
        known = ", ".join(sorted(Criterion.registry))
        raise InvalidArgument(f"criterion {name!r} is not known to this version of hpo-plugins; it knows {known}.")
    return Criterion.registry[name](**{key: value for key, value in data.items() if key != "name"})
