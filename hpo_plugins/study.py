"""What a study is, apart from its results: the definition that every process on it must share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hpo_plugins.errors import InvalidArgument, StudyMismatch
from hpo_plugins.objective import Objective, objective_from_json
from hpo_plugins.space import Space
from hpo_plugins.strategies import Judge, Strategy, judge_from_json


@dataclass(frozen=True)
class Study:
    """The definition of a search.

    Raises:
        InvalidArgument: A part has the wrong type, or parts do not fit each other.
    """

    space: Space
    objective: Objective
    strategy: Strategy
    early_stopping: Judge | None
    seed: int
    max_trials: int | None

    def __post_init__(self) -> None:
        if not isinstance(self.objective, Objective):
            raise InvalidArgument(
                f"objective must be Minimize(metric) or Maximize(metric), but got objective={self.objective!r}."
            )
        if not isinstance(self.strategy, Strategy):
            cure = " Make an object of it: add ()." if isinstance(self.strategy, type) else ""
            raise InvalidArgument(
                f"strategy must be Grid(), Random() or Hyperband(...), but got strategy={self.strategy!r}.{cure}"
            )
        if self.early_stopping is not None:
            if not isinstance(self.early_stopping, Judge) or isinstance(self.early_stopping, Strategy):
                raise InvalidArgument(
                    f"early_stopping must be MedianRule() or None, but got early_stopping={self.early_stopping!r}."
                )
            if self.strategy.stops_trainings:
                raise InvalidArgument(
                    f"early_stopping must be None with {type(self.strategy).__name__}, which stops trainings itself, "
                    f"but got early_stopping={self.early_stopping!r}. Two rules on one curve would undo each other."
                )
        if self.max_trials is not None and (
            isinstance(self.max_trials, bool) or not isinstance(self.max_trials, int) or self.max_trials < 1
        ):
            raise InvalidArgument(
                f"max_trials must be a whole number of at least 1, or None, but got max_trials={self.max_trials!r}."
            )
        self.strategy.check(self.space, self.max_trials)

    @property
    def judges(self) -> tuple[Judge, ...]:
        """Who has a say about a running training; the first verdict holds."""
        return (self.strategy,) if self.early_stopping is None else (self.strategy, self.early_stopping)

    @property
    def trial_limit(self) -> int | None:
        """How many trials there will be at the most, None for no limit."""
        limits = [limit for limit in (self.max_trials, self.space.size) if limit is not None]
        return min(limits, default=None)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form that ``from_json`` reads."""
        return {
            "space": self.space.to_json(),
            "objective": self.objective.to_json(),
            "strategy": self.strategy.to_json(),
            "early_stopping": None if self.early_stopping is None else self.early_stopping.to_json(),
            "seed": self.seed,
            "max_trials": self.max_trials,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Study:
        """Return the study that ``to_json`` described."""
        rule = data["early_stopping"]
        return cls(
            space=Space.from_json(data["space"]),
            objective=objective_from_json(data["objective"]),
            strategy=judge_from_json(data["strategy"]),
            early_stopping=None if rule is None else judge_from_json(rule),
            seed=data["seed"],
            max_trials=data["max_trials"],
        )


def check_same(stored: Mapping[str, Any], given: Mapping[str, Any], name: str) -> None:
    """Raise StudyMismatch when two definitions differ in more than the number of trials."""
    changes = [
        line for part in stored if part != "max_trials" for line in _differences(part, stored[part], given[part])
    ]
    if changes:
        raise StudyMismatch(
            f"The stored study {name!r} was defined differently: {'; '.join(changes)}. "
            "Give the stored definition to go on with it, or another name= to start a new study."
        )


def _differences(place: str, stored: Any, given: Any) -> Iterator[str]:
    if isinstance(stored, dict) and isinstance(given, dict):
        for key in stored | given:  # in the order in which they were written
            if key not in given:
                yield f"{place}.{key} is missing (stored {stored[key]!r})"
            elif key not in stored:
                yield f"{place}.{key} is new (given {given[key]!r})"
            else:
                yield from _differences(f"{place}.{key}", stored[key], given[key])
        if place == "space" and stored.keys() == given.keys() and list(stored) != list(given):
            yield f"space is in another order (stored {list(stored)}, given {list(given)})"
    elif repr(stored) != repr(given):  # tells True, 1 and 1.0 apart
        yield f"{place} is {given!r} (stored {stored!r})"
