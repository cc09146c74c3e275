"""Warm start: what earlier studies found becomes part of a new one's definition.

The parents' trials are copied when the new study is made, and stored with it: whatever becomes of the parents later,
every process on the study and every restart sees the same. Only a parent's own trials are copied, not those that it
had from parents of its own; give those as further parents.

The rules of compatibility are the service's. A *hyperparameter* here is a tuned parameter or a fixed one; a tuned one
with a single value counts as fixed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpo_plugins.errors import InvalidArgument
from hpo_plugins.history import Curve, ParentTrial, ParentTrials
from hpo_plugins.objective import Objective, objective_from_json
from hpo_plugins.records import TrialRecord, TrialState
from hpo_plugins.space import (
    Categorical,
    Continuous,
    DefinitionSpace,
    FloatArray,
    Integer,
    Parameter,
    Space,
    Value,
    space_from_json,
)

MAX_PARENTS = 5
MAX_CHANGES = 10
"""How many hyperparameters may become fixed or get another fixed value; each value of a categorical one counts."""


@dataclass(frozen=True)
class WarmStart:
    """Earlier studies to start from: ``Tuner(warm_start=WarmStart([parent], identical=True))``.

    A plain list of parents is the same with ``identical=False``.

    Args:
        parents: 1 to 5 tuners, or paths or URLs of storages that hold one study each (of several, give
            ``Tuner.load(storage, name)``). None of their trials may be under way.
        identical: True says that data and algorithm are the same, the service's ``IdenticalDataAndAlgorithm``: the
            parents' trials count as own observations, and ``best_trial`` may be one of theirs. False is
            ``TransferLearning``: their results guide the start, as far as the new study's own results bear them out.

    Raises:
        InvalidArgument: There are not 1 to 5 parents, or ``identical`` is not a bool.
    """

    parents: Sequence[Any]
    identical: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.parents, str) or not isinstance(self.parents, Sequence):
            raise InvalidArgument(f"warm_start must be a list of parents, but got warm_start={self.parents!r}.")
        if not 1 <= len(self.parents) <= MAX_PARENTS:
            raise InvalidArgument(f"warm_start must have 1 to {MAX_PARENTS} parents, but got {len(self.parents)}.")
        if not isinstance(self.identical, bool):
            raise InvalidArgument(f"identical must be True or False, but got identical={self.identical!r}.")


@dataclass(frozen=True)
class Parent:
    """An earlier study, as it was when the new one was made.

    Raises:
        InvalidArgument: A trial is under way, or the study had several training definitions.
    """

    name: str
    space: Space
    objective: Objective
    records: Sequence[TrialRecord]

    @classmethod
    def of(
        cls, name: str, space: Space, objective: Objective, records: Sequence[TrialRecord], running: Sequence[int]
    ) -> Parent:
        """Return the parent that a study is, whose trials ``running`` are under way."""
        if running:
            raise InvalidArgument(
                f"warm_start must have parents that are at rest, but trial {running[0]} of {name!r} is under way. "
                "Wait for its end, or stop that search."
            )
        if isinstance(space, DefinitionSpace):
            raise InvalidArgument(
                f"warm_start must have parents with one training definition, but {name!r} has "
                f"{len(space.definitions)}: {', '.join(space.definitions)}."
            )
        return cls(name, space, objective, records)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form that ``parents_from_json`` reads."""
        return {
            "name": self.name,
            "space": self.space.to_json(),
            "objective": self.objective.to_json(),
            "trials": [
                {
                    "number": record.number,
                    "params": record.params,
                    "state": record.state.value,
                    "epochs": record.epochs,
                    "curve": list(record.curve.items()),
                    "stop_reason": record.stop_reason,
                    "error": record.error,
                    "times": [record.started_at, record.ended_at],
                }
                for record in self.records
            ],
        }


@dataclass(frozen=True)
class Parents:
    """All parents of a study."""

    identical: bool
    studies: tuple[Parent, ...]

    def check(self, space: Space, objective: Objective) -> None:
        """Raise InvalidArgument when a parent does not fit a study with this space and objective."""
        if isinstance(space, DefinitionSpace):
            raise InvalidArgument("warm_start must be None in a search with several training definitions.")
        for parent in self.studies:
            _check_objective(parent, objective)
            _check_names(parent, space)
            _check_types(parent, space)
            _check_changes(parent, space)

    def trials(self, space: Space, objective: Objective) -> tuple[ParentTrials, ...]:
        """Return the parents' trials as a study with this space and objective sees them.

        Of an identical parent, a trial that is no configuration of this space (a range was narrowed, or the trial had
        another value of what is fixed now) guides, as those of the other kind of parent do.
        """
        groups = []
        for parent in self.studies:
            own: list[ParentTrial] = []
            guides: list[ParentTrial] = []
            for record in parent.records:
                point, exact = _place(space, parent.space.fixed | record.params)
                if point is not None:
                    trial = ParentTrial(point, _curve(record, objective), record.state)
                    (own if self.identical and exact else guides).append(trial)
            groups += [ParentTrials(parent.name, True, own)] if own else []
            groups += [ParentTrials(parent.name, False, guides)] if guides else []
        return tuple(groups)

    def best(self, objective: Objective) -> TrialRecord | None:
        """Return the best trial of identical parents, the earliest of equals; None of others, or without any."""
        found = [
            (objective.loss(record.value), index, record.number, record)
            for index, parent in enumerate(self.studies)
            for record in parent.records
            if record.value is not None
        ]
        return min(found)[-1] if found and self.identical else None

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form that ``parents_from_json`` reads."""
        return {"identical": self.identical, "studies": [parent.to_json() for parent in self.studies]}


def parents_from_json(data: Mapping[str, Any]) -> Parents:
    """Return the parents that ``to_json`` described."""
    return Parents(data["identical"], tuple(_parent_from_json(study) for study in data["studies"]))


def _parent_from_json(study: Mapping[str, Any]) -> Parent:
    objective = objective_from_json(study["objective"])
    records = []
    for trial in study["trials"]:
        curve = {int(epoch): value for epoch, value in trial["curve"]}
        state = TrialState(trial["state"])
        records.append(
            TrialRecord(
                number=trial["number"],
                params=trial["params"],
                state=state,
                value=None if state is TrialState.FAILED else objective.value_of(curve),
                epochs=trial["epochs"],
                curve=curve,
                metrics={epoch: {objective.metric: value} for epoch, value in curve.items()},
                checkpoint=None,
                stop_reason=trial["stop_reason"],
                error=trial["error"],
                started_at=trial["times"][0],
                ended_at=trial["times"][1],
                attempts=1,
                parent=study["name"],
            )
        )
    return Parent(study["name"], space_from_json(study["space"]), objective, records)


# The rules.


def _check_objective(parent: Parent, objective: Objective) -> None:
    if parent.objective.to_json() != objective.to_json():
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
            fits = ours.kind == theirs.kind
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
            changes[name] = len(theirs.values) if isinstance(theirs, Categorical) else 1
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
    """Return a value as requests write it: the fixed values in them are strings, whatever they mean."""
    return str(value)


# The way of a configuration from one space to another.


def _place(space: Space, params: Mapping[str, Value]) -> tuple[FloatArray | None, bool]:
    """Return the nearest point of a space, None where a value has no place in it, and whether it is exact."""
    exact = all(_text(params[name]) == _text(value) for name, value in space.fixed.items())
    units = []
    for name, parameter in space.items():
        if parameter.size == 1:
            exact &= _text(params[name]) == _text(parameter.from_unit(0.5))
            units.append(0.5)
            continue
        if isinstance(parameter, Categorical):
            same = [value for value in parameter.values if _text(value) == _text(params[name])]
            if not same:
                return None, False
            units.append(parameter.to_unit(same[0]))
            continue
        number = _number(parameter, params[name])
        if number is None:
            return None, False
        exact &= parameter.low <= number <= parameter.high
        units.append(parameter.to_unit(number))  # type: ignore[arg-type]  # clips; _number made it of its type
    return np.array(units, dtype=np.float64), exact


def _is_of_type(parameter: Parameter | None, value: Value) -> bool:
    """Return whether a fixed value is of a tuned parameter's type, its range aside."""
    return parameter is None or isinstance(parameter, Categorical) or _number(parameter, value) is not None


def _number(parameter: Continuous | Integer, value: Value) -> float | int | None:
    """Return a value as the parameter's kind of number, None where it is none; requests write numbers as strings."""
    if value is None or isinstance(value, bool):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    if isinstance(parameter, Continuous):
        return number
    return int(number) if number.is_integer() else None


def _curve(record: TrialRecord, objective: Objective) -> Curve:
    curve = Curve()
    for epoch, value in record.curve.items():
        curve.put(epoch, objective.loss(value), 0.0)
    return curve
