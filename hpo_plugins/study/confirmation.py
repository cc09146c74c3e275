"""Confirm the winner of a search: which trials are the finalists, when it is clear, and what is known of each.

The repeats of the finalists are the trials of a second study in the same storage. Its name says which finalists it
confirms, so all workers of a search work on the same one, and it survives a kill as any study does.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

from hpo_plugins import modeling
from hpo_plugins._fields import checked, frozen
from hpo_plugins._validation import real_number, refusal
from hpo_plugins.history import History
from hpo_plugins.history.weighted import seen_by
from hpo_plugins.records import TrialRecord, TrialState
from hpo_plugins.strategies.confirmation import MIN_REPEATS, losses_of, probabilities
from hpo_plugins.study.termination import Criterion

_MARK = " (confirms "


@dataclass(frozen=True)
class Confirmed:
    """What the repeats of one finalist have shown.

    Attributes:
        number: The number of its trial in the search.
        mean: The mean of its values over the repeats; None without one.
        std: Their standard deviation; None with fewer than two.
        repeats: Number of completed repeats.
        probability: The probability that it is the best of the finalists.
    """

    number: int
    mean: float | None
    std: float | None
    repeats: int
    probability: float


def _confidence(name: str, value: object) -> float:
    plain = real_number(name, value, at_least=0.5)
    if plain >= 1:
        raise refusal(name, value, "below 1")
    return plain


@frozen()
class ClearlyBest(Criterion):
    """One finalist is the best with a probability of at least ``confidence``.

    Args:
        confidence: The probability.
    """

    confidence: float = checked(_confidence)

    def met(self, history: History) -> str | None:
        """Compare the finalists' repeats."""
        losses = losses_of(history)
        if len(losses) < 2 or min(map(len, losses.values())) < MIN_REPEATS:
            return None
        p = probabilities(list(losses.values()))
        best = max(range(len(p)), key=lambda place: p[place])
        if p[best] < self.confidence:
            return None
        return f"trial {list(losses)[best]} is the best with probability {p[best]:.3f}"


def confirmation_name(name: str, finalists: Sequence[int]) -> str:
    """Return the name of the study that confirms these trials of a study."""
    return f"{name}{_MARK}{', '.join(map(str, finalists))})"


def confirmations_of(name: str, names: Sequence[str]) -> list[str]:
    """Return the names of the studies that confirm a study, in order of creation."""
    return [other for other in names if other.startswith(name + _MARK) and _MARK not in other[len(name) + len(_MARK) :]]


def is_confirmation(name: str, names: Sequence[str]) -> bool:
    """Return whether a study confirms another one of the same storage."""
    return any(name in confirmations_of(other, names) for other in names)


def finalists_of(ranked: Sequence[TrialRecord], top: int) -> list[TrialRecord]:
    """Return the trials to train again: the best completed ones, then the best of the others.

    Args:
        ranked: The trials that have a value, the best first.
        top: Their number, at most.
    """
    own = [record for record in ranked if record.parent is None]
    order = sorted(own, key=lambda record: record.state is not TrialState.COMPLETED)  # stable
    return sorted(order[:top], key=lambda record: record.number)


def standings(history: History) -> tuple[Confirmed, ...]:
    """Return what is known of each finalist, the probably best first."""
    losses, loss = losses_of(history), history.objective.loss
    p = probabilities(list(losses.values()))
    found = [
        Confirmed(
            number,
            loss(statistics.fmean(own)) if own else None,
            statistics.stdev(own) if len(own) > 1 else None,
            len(own),
            float(probability),
        )
        for (number, own), probability in zip(losses.items(), p, strict=True)
    ]
    mean_loss = {each.number: loss(each.mean) if each.mean is not None else float("inf") for each in found}
    return tuple(sorted(found, key=lambda each: (-each.probability, mean_loss[each.number], each.number)))


def with_expectation(best: TrialRecord, confirmation: Sequence[Confirmed], history: History) -> TrialRecord:
    """Return the best trial with what to expect if it is trained again.

    Its own repeats say it, if there are two or more; otherwise the surrogate of all trials does.

    Args:
        best: The best trial.
        confirmation: The finalists.
        history: The search.
    """
    own = next((each for each in confirmation if each.number == best.number and best.parent is None), None)
    if own is None or own.std is None:
        return modeling.expectation.with_expectation(best, seen_by(history, 0, 0).modelled)
    # A new training run deviates by its own noise and by that of the mean.
    return replace(best, expected=own.mean, expected_std=own.std * math.sqrt(1 + 1 / own.repeats))
