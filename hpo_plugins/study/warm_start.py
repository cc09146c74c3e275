"""Warm start: the trials of earlier studies, the parents, become part of a new study's definition.

Parents' trials are copied when the new study is created, and stored with it. Every process and every later run sees the
same trials, whatever happens to the parents. Only a parent's own trials are copied, not those of its own parents; give
these as further parents.

The rules of compatibility are SageMaker's. A *hyperparameter* is a tuned parameter or a fixed one here; a tuned one
with a single value counts as fixed.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import attrs
import numpy as np

from hpo_plugins._fields import checked, frozen
from hpo_plugins._validation import boolean, refusal
from hpo_plugins.errors import InvalidArgument
from hpo_plugins.history import Curve, ParentTrial, ParentTrials, TrialHistory
from hpo_plugins.history.outcomes import Outcome, outcome_of
from hpo_plugins.history.trial_record import with_goals
from hpo_plugins.objective import Goals, Objective
from hpo_plugins.records import WHOLE_TRIAL, ReportRow, TrialRecord, TrialRow, TrialState
from hpo_plugins.space import Continuous, DefinitionSpace, FloatArray, Integer, Listed, Parameter, Space, Value

MAX_PARENTS = 5
MAX_CHANGES = 10
"""Maximum number of hyperparameters that become fixed or change their fixed value; each categorical value counts."""


def _listed(_: str, parents: Sequence[Any]) -> Sequence[Any]:
    if isinstance(parents, str) or not isinstance(parents, Sequence):
        raise refusal("warm_start", parents, "a list of parents")
    if not 1 <= len(parents) <= MAX_PARENTS:
        raise InvalidArgument(f"warm_start must have 1 to {MAX_PARENTS} parents, but got {len(parents)}.")
    return parents


@frozen()
class WarmStart:
    """Earlier studies to start from: ``Tuner(warm_start=WarmStart([parent], identical=True))``.

    A plain list of parents is the same with ``identical=False``.

    Args:
        parents: 1 to 5 tuners, or paths or URLs of storages that hold one study each (of a storage with several, pass
            ``Tuner.load(storage, name)``). None of their trials may be running.
        identical: True means that data and algorithm are the same, SageMaker's ``IdenticalDataAndAlgorithm``: the
            parents' trials count as own observations, and ``best_trial`` may be one of theirs. False is
            ``TransferLearning``: their results guide the start, as far as the new study's own results confirm them.

    Raises:
        InvalidArgument: There are not 1 to 5 parents, or ``identical`` is not a bool.
    """

    parents: Sequence[Any] = checked(_listed)
    identical: bool = checked(boolean, default=False)


@frozen()
class EarlierTrial:
    """A parent's trial, as it is stored with the new study.

    Attributes:
        curve: Epoch and objective's value of each epoch where it is finite.
        times: When it was started and ended, see ``TrialRecord``, as for the other attributes.
        metrics: Metric to the epoch and value of each epoch where it is finite, for the metrics of several goals; an
            epoch of 0 stands for the trial as a whole.
    """

    number: int
    params: Mapping[str, Value]
    state: TrialState
    epochs: int
    curve: tuple[tuple[int, float], ...]
    stop_reason: str | None
    error: str | None
    times: tuple[float, float | None]
    metrics: Mapping[str, tuple[tuple[int, float], ...]] = attrs.field(factory=dict, kw_only=True)


@frozen()
class Parent:
    """An earlier study, as it was when the new one was created.

    Args:
        name: Its name.
        space: Its search space.
        objective: Its objective.
        trials: Its trials.
    """

    name: str
    space: Space
    objective: Objective
    trials: tuple[EarlierTrial, ...]

    @classmethod
    def of(
        cls,
        name: str,
        space: Space,
        objective: Objective,
        records: Sequence[TrialRecord],
        running: Sequence[int],
        metrics: Sequence[str] = (),
    ) -> Parent:
        """Return a study as a parent.

        Args:
            name: Its name.
            space: Its search space.
            objective: Its objective.
            records: Its trials.
            running: The numbers of its trials that are running.
            metrics: The metrics of the new study's goals, if it has several.

        Raises:
            InvalidArgument: A trial is running, or the study has several training definitions.
        """
        if running:
            raise InvalidArgument(
                f"warm_start must have parents without running trials, but trial {running[0]} of {name!r} is running. "
                "Wait for its end, or stop that search."
            )
        if isinstance(space, DefinitionSpace):
            raise InvalidArgument(
                f"warm_start must have parents with one training definition, but {name!r} has "
                f"{len(space.definitions)}: {', '.join(space.definitions)}."
            )
        trials = [
            EarlierTrial(
                record.number,
                record.params,
                record.state,
                record.epochs,
                tuple(record.curve.items()),
                record.stop_reason,
                record.error,
                (record.started_at, record.ended_at),
                metrics={metric: values for metric in metrics if (values := _values(record, metric))},
            )
            for record in records
        ]
        return cls(name, space, objective, tuple(trials))

    @functools.cached_property
    def records(self) -> tuple[TrialRecord, ...]:
        """Its trials, as far as they are stored with the new study."""
        return tuple(map(self._record, self.trials))

    def _record(self, trial: EarlierTrial) -> TrialRecord:
        curve = dict(trial.curve)
        best_epoch = None if trial.state is TrialState.FAILED else self.objective.epoch_of(curve)
        return TrialRecord(
            number=trial.number,
            params=dict(trial.params),
            state=trial.state,
            value=None if best_epoch is None else curve[best_epoch],
            best_epoch=best_epoch,
            epochs=trial.epochs,
            curve=curve,
            metrics={epoch: {self.objective.metric: value} for epoch, value in curve.items()},
            checkpoint=None,
            stop_reason=trial.stop_reason,
            error=trial.error,
            started_at=trial.times[0],
            ended_at=trial.times[1],
            attempts=1,
            parent=self.name,
        )


@frozen()
class Parents:
    """All parents of a study, and whether their data and algorithm are the study's."""

    identical: bool
    studies: tuple[Parent, ...]

    def check(self, space: Space, objective: Objective) -> None:
        """Raise InvalidArgument if a parent does not fit a study with this space and objective."""
        if isinstance(space, DefinitionSpace):
            raise InvalidArgument("warm_start must be None in a search with several training definitions.")
        for parent in self.studies:
            _check_objective(parent, objective)
            _check_names(parent, space)
            _check_types(parent, space)
            _check_changes(parent, space)

    def trials(self, space: Space, objective: Objective, goals: Goals | None = None) -> tuple[ParentTrials, ...]:
        """Return the parents' trials as a study with this space and objective sees them.

        A trial of an identical parent that is not a configuration of this space (a range was narrowed, or it has
        another value of what is now fixed) only guides, like the trials of other parents.
        """
        groups = []
        for parent in self.studies:
            own: list[ParentTrial] = []
            guides: list[ParentTrial] = []
            for earlier, record in zip(parent.trials, parent.records, strict=True):
                point, exact = _nearest_point(space, parent.space.fixed | record.params)
                if point is not None:
                    trial = ParentTrial(point, _curve(record, objective), record.state, _outcome(earlier, goals, point))
                    (own if self.identical and exact else guides).append(trial)
            groups += [ParentTrials(parent.name, True, own)] if own else []
            groups += [ParentTrials(parent.name, False, guides)] if guides else []
        return tuple(groups)

    def best(self, objective: Objective, goals: Goals | None = None) -> TrialRecord | None:
        """Return the best trial of identical parents, the earliest of equals; None for other parents or without any.

        With limits, only trials that are known to meet them count.
        """
        found = [
            (objective.loss(record.value), index, record.number, record)
            for index, parent in enumerate(self.studies)
            for record in (parent.records if goals is None else _feasible(parent, goals))
            if record.value is not None
        ]
        return min(found)[-1] if found and self.identical else None


# The rules.


def _check_objective(parent: Parent, objective: Objective) -> None:
    if parent.objective != objective:
        raise InvalidArgument(
            f"warm_start must have parents with the same objective, {objective!r}, but {parent.name!r} has "
            f"{parent.objective!r}."
        )


def _check_names(parent: Parent, space: Space) -> None:
    ours, theirs = {*space, *space.fixed}, {*parent.space, *parent.space.fixed}
    if ours != theirs:
        new, missing = sorted(ours - theirs), sorted(theirs - ours)
        raise InvalidArgument(
            f"warm_start must have parents with the same hyperparameters, tuned or fixed, but {parent.name!r} "
            + " and ".join([f"lacks {new}"] * bool(new) + [f"has {missing} besides"] * bool(missing))
            + ". To fix a tuned one, give it a single value."
        )


def _check_types(parent: Parent, space: Space) -> None:
    for name in (*space, *space.fixed):
        (ours, our_value), (theirs, their_value) = _role(space, name), _role(parent.space, name)
        if ours is not None and theirs is not None:
            fits = ours.kind == theirs.kind or (isinstance(ours, Listed) and isinstance(theirs, Listed))
        else:
            fits = _is_of_type(theirs, our_value) and _is_of_type(ours, their_value)
        if not fits:
            raise InvalidArgument(
                f"warm_start must have parents whose hyperparameters have the same types, but {name!r} is "
                f"{ours or our_value!r} here and {theirs or their_value!r} in {parent.name!r}."
            )


def _check_changes(parent: Parent, space: Space) -> None:
    changes: dict[str, int] = {}
    for name in (*space, *space.fixed):
        (ours, our_value), (theirs, their_value) = _role(space, name), _role(parent.space, name)
        if ours is None and theirs is not None:
            changes[name] = len(theirs.values) if isinstance(theirs, Listed) else 1
        elif ours is None and _text(our_value) != _text(their_value):
            changes[name] = 1
    if sum(changes.values()) > MAX_CHANGES:
        counted = ", ".join(f"{name}: {count}" for name, count in changes.items())
        raise InvalidArgument(
            f"warm_start must have parents with at most {MAX_CHANGES} changes from tuned to fixed or of fixed values, "
            f"where each value of a categorical parameter counts, but {parent.name!r} has {sum(changes.values())} "
            f"({counted}). Leave more of them tuned."
        )


def _role(space: Space, name: str) -> tuple[Parameter | None, Value]:
    """Return a tuned hyperparameter's parameter, or None and a fixed one's value."""
    if name in space.fixed:
        return None, space.fixed[name]
    parameter = space[name]
    return (None, parameter.from_unit(0.5)) if parameter.size == 1 else (parameter, None)


def _text(value: Value) -> str:
    """Return a value as in requests, where all fixed values are strings."""
    return str(value)


# The conversion of configurations from one space to another.


def _nearest_point(space: Space, params: Mapping[str, Value]) -> tuple[FloatArray | None, bool]:
    """Return the nearest point of a space, None if a value cannot be expressed in it, and whether it is exact."""
    exact = all(_text(params[name]) == _text(value) for name, value in space.fixed.items())
    units = []
    for name, parameter in space.items():
        if name not in params and parameter.when is not None:
            units.append(0.5)
            continue
        if parameter.size == 1:
            exact &= _text(params[name]) == _text(parameter.from_unit(0.5))
            units.append(0.5)
            continue
        if isinstance(parameter, Listed):
            same = [value for value in parameter.values if _text(value) == _text(params[name])]
            if not same:
                return None, False
            units.append(parameter.to_unit(same[0]))
            continue
        number = _number(parameter, params[name])
        if number is None:
            return None, False
        unit = parameter.to_unit(number)  # type: ignore[arg-type]  # of the parameter's type, by _number
        exact &= parameter.low <= number <= parameter.high
        exact &= parameter.step is None or parameter.from_unit(unit) == number
        units.append(unit)
    point = np.array(units, dtype=np.float64)
    if not space.conditions.of:
        return point, exact
    configuration = space.decode(point)
    return space.encode(configuration), exact and configuration.keys() == params.keys()


def _is_of_type(parameter: Parameter | None, value: Value) -> bool:
    """Return whether a fixed value is of a tuned parameter's type, its range aside."""
    return parameter is None or isinstance(parameter, Listed) or _number(parameter, value) is not None


def _number(parameter: Continuous | Integer, value: Value) -> float | int | None:
    """Return a value as the parameter's kind of number, None if it is not one; numbers in requests are strings."""
    if value is None or isinstance(value, bool):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    if isinstance(parameter, Continuous):
        return number
    return int(number) if number.is_integer() else None


def _values(record: TrialRecord, metric: str) -> tuple[tuple[int, float], ...]:
    """Return the epochs and finite values of a metric of a trial; epoch 0 is the trial as a whole."""
    whole = {WHOLE_TRIAL: record.recorded[metric]} if metric in record.recorded else {}
    values = whole | {epoch: known[metric] for epoch, known in record.metrics.items() if metric in known}
    return tuple((epoch, value) for epoch, value in values.items() if math.isfinite(value))


def _outcome(trial: EarlierTrial, goals: Goals | None, point: FloatArray) -> Outcome | None:
    """Return what a parent's trial has reached of several goals; None with one, or if it does not know that."""
    if goals is None or not trial.metrics:
        return None
    row = TrialRow(trial.number, dict(trial.params), trial.state, 1, 0, "", None, 0.0, rule=trial.stop_reason)
    history = TrialHistory(row, point)
    objective, by_epoch = goals.objectives[0], dict[int, dict[str, float]]()
    for metric, values in trial.metrics.items():
        for epoch, value in values:
            by_epoch.setdefault(epoch, {})[metric] = value
    for epoch, metrics in sorted(by_epoch.items()):
        own = metrics.get(objective.metric) if epoch else None
        loss = None if own is None else objective.loss(own)
        history.put(ReportRow(trial.number, 1, epoch, own, metrics, 0.0), loss)
    return outcome_of(history, goals)


def _feasible(parent: Parent, goals: Goals) -> Iterator[TrialRecord]:
    """Yield a parent's trials that meet all limits, with their values there."""
    for trial, record in zip(parent.trials, parent.records, strict=True):
        outcome = _outcome(trial, goals, np.empty(0))
        if outcome is not None and outcome.row is not None and outcome.counts:
            own, epoch = goals.objectives[0].loss(float(outcome.loss[0])), int(outcome.epochs[outcome.row])
            yield with_goals(replace(record, value=own, best_epoch=epoch), outcome, goals)


def _curve(record: TrialRecord, objective: Objective) -> Curve:
    curve = Curve()
    for epoch, value in record.curve.items():
        curve.put(epoch, objective.loss(value), 0.0)
    return curve
