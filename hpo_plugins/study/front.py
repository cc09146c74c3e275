"""The results of a study with several goals: the Pareto front, a choice on it, and what is nearest to the limits."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from hpo_plugins._text import printable
from hpo_plugins._validation import refusal
from hpo_plugins.errors import InvalidArgument, NothingReported
from hpo_plugins.history import History
from hpo_plugins.history.pareto import hypervolume, knee, preferred
from hpo_plugins.objective import Goals, Objective
from hpo_plugins.records import TrialRecord
from hpo_plugins.space import FloatArray

MARGIN = 0.1
"""How far the default reference point lies beyond the worst values on the front, relative to the front."""


def front_of(history: History) -> tuple[TrialRecord, ...]:
    """Return the trials that no other one dominates, the best in the first objective first.

    Args:
        history: The study; it has several objectives or limits.
    """
    numbers = sorted(history.front(), key=lambda number: (history.outcome(number).loss.tolist(), number))
    return tuple(history.record(number) for number in numbers)


def losses_of(records: tuple[TrialRecord, ...], objectives: tuple[Objective, ...]) -> FloatArray:
    """Return the losses of trials, shape ``(n, m)``."""
    rows = [[each.loss(record.values[each.metric]) for each in objectives] for record in records]
    return np.array(rows, dtype=np.float64).reshape(len(records), len(objectives))


def best_by(history: History, goals: Goals, weights: Mapping[str, float] | None) -> TrialRecord:
    """Return the trial of the front that weights prefer, or that at its knee.

    Args:
        history: The study.
        goals: Its goals.
        weights: How much each objective counts, by metric; None for the knee.

    Raises:
        InvalidArgument: The weights are not of the objectives, or none is above 0.
        NothingReported: No trial counts yet.
    """
    chosen = None if weights is None else checked_weights(weights, goals)
    records = front_of(history)
    if not records:
        raise NothingReported(f"No trial counts yet. {nothing_feasible(history, goals)}".strip())
    losses = losses_of(records, goals.objectives)
    return records[knee(losses) if chosen is None else preferred(losses, chosen)]


def checked_weights(weights: object, goals: Goals) -> FloatArray:
    """Return weights in the order of the objectives, shape ``(m,)``.

    Raises:
        InvalidArgument: They are not numbers from 0 on by metric, or none is above 0.
    """
    names = [objective.metric for objective in goals.objectives]
    rule = f"a dict of numbers from 0 on, for the metrics {', '.join(map(repr, names))}; those left out count 0"
    if not isinstance(weights, Mapping) or set(weights) - set(names):
        raise refusal("weights", weights, rule)
    try:
        found = np.array([float(weights.get(name, 0.0)) for name in names])
    except (TypeError, ValueError):
        raise refusal("weights", weights, rule) from None
    if not np.isfinite(found).all() or (found < 0).any() or not found.sum() > 0:
        raise refusal("weights", weights, f"{rule}, and one above 0")
    return found


def volume_of(history: History, goals: Goals, reference: Mapping[str, float] | None) -> float:
    """Return the hypervolume of the front, 0 without one.

    Args:
        history: The study.
        goals: Its goals.
        reference: A value by objective that is worse than those that count; by default, a tenth beyond the worst ones
            on the front.

    Raises:
        InvalidArgument: The reference is not a number for each objective.
    """
    point = None if reference is None else checked_reference(reference, goals)
    records = front_of(history)
    if not records:
        return 0.0
    losses = losses_of(records, goals.objectives)
    if point is None:
        worst, extent = losses.max(axis=0), np.ptp(losses, axis=0)
        point = worst + MARGIN * np.where(extent > 0, extent, np.maximum(np.abs(worst), 1.0))
    return hypervolume(losses, point)


def checked_reference(reference: object, goals: Goals) -> FloatArray:
    """Return a reference point as losses, shape ``(m,)``.

    Raises:
        InvalidArgument: It is not a finite number for each objective.
    """
    names = [objective.metric for objective in goals.objectives]
    rule = f"a dict with a finite number for each of {', '.join(map(repr, names))}"
    if not isinstance(reference, Mapping) or set(reference) != set(names):
        raise refusal("reference", reference, rule)
    try:
        found = np.array([each.loss(float(reference[each.metric])) for each in goals.objectives])
    except (TypeError, ValueError):
        raise refusal("reference", reference, rule) from None
    if not np.isfinite(found).all():
        raise refusal("reference", reference, rule)
    return found


def several(goals: Goals, name: str) -> InvalidArgument:
    """Return the error that asks for a preference between objectives."""
    names = [objective.metric for objective in goals.objectives]
    weights = ", ".join(
        f"{metric!r}: {weight}" for metric, weight in zip(names, [1, *[0.5] * (len(names) - 1)], strict=True)
    )
    return InvalidArgument(
        f"best_trial needs one objective, but study {name!r} has {len(names)}: {', '.join(map(repr, names))}. Use "
        f"best_trials, those that no other one dominates; best({{{weights}}}), the one that weights prefer; or best(), "
        "the one at the knee."
    )


def nothing_feasible(history: History, goals: Goals) -> str:
    """Return in words that no trial meets all limits, and which one is nearest; empty if none has reported anything."""
    known = [
        (number, found) for number in range(len(history)) if (found := _limited(history, goals, number)) is not None
    ]
    if not known or not goals.constraints:
        return ""
    number, values = min(known, key=lambda pair: (_violation(goals, pair[1]), pair[0]))
    return f"No feasible trial; nearest is trial {number}: {_distances(goals, values)}."


def _limited(history: History, goals: Goals, number: int) -> list[float] | None:
    """Return the limited metrics of a trial, NaN where one is not known; None if nothing is known of the trial."""
    outcome, recorded = history.outcome(number), history[number].recorded
    if outcome.row is not None:
        return [float(value) for value in outcome.limited[outcome.row]]
    values = [recorded.get(limit.metric, math.nan) for limit in goals.constraints]
    return None if all(map(math.isnan, values)) else values


def _violation(goals: Goals, values: list[float]) -> float:
    pairs = zip(goals.constraints, values, strict=True)
    return max((float(limit.violation(np.array(value))) for limit, value in pairs), default=0.0)


def _distances(goals: Goals, values: list[float]) -> str:
    """Return the values that do not meet a limit, and the limits, in words."""
    parts = []
    for limit, value in zip(goals.constraints, values, strict=True):
        if math.isnan(value):
            parts.append(f"{printable(limit.metric)} is not known ({printable(str(limit))})")
        elif limit.violation(np.array(value)) > 0:
            parts.append(f"{printable(limit.metric)} = {value:.6g} ({printable(str(limit))})")
    return ", ".join(parts)
