"""What a study is, apart from its results: the definition that every process on it must share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpo_plugins._validation import real_number, whole_number
from hpo_plugins.errors import InvalidArgument, StudyMismatch
from hpo_plugins.history import History
from hpo_plugins.objective import Objective, objective_from_json
from hpo_plugins.records import TrialRecord
from hpo_plugins.space import DefinitionSpace, Space, space_from_json
from hpo_plugins.strategies import Judge, Strategy, judge_from_json
from hpo_plugins.study.termination import Criterion, criteria, criterion_from_json
from hpo_plugins.study.warm_start import Parents, parents_from_json

LIMITS = ("max_trials", "max_runtime", "max_parallel", "stop_when")
"""What may change between runs on one study: it bounds the search, and no trial's configuration depends on it."""


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
    max_trials: int | None = None
    max_runtime: float | None = None
    max_parallel: int | None = None
    stop_when: tuple[Criterion, ...] = ()
    parents: Parents | None = None
    notes: Mapping[str, Any] | None = None
    """JSON that belongs to the study and means nothing to the search: where its definition came from."""

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
        for name in ("max_trials", "max_parallel"):
            if getattr(self, name) is not None:
                whole_number(name, getattr(self, name), at_least=1)
        if self.max_runtime is not None and real_number("max_runtime", self.max_runtime) <= 0:
            raise InvalidArgument(f"max_runtime must be > 0 seconds, but got max_runtime={self.max_runtime!r}.")
        object.__setattr__(self, "stop_when", criteria(self.stop_when))
        self.strategy.check(self.space, self.max_trials)
        if self.parents is not None:
            self.parents.check(self.space, self.objective)

    @property
    def judges(self) -> tuple[Judge, ...]:
        """Who has a say about a running training; the first verdict holds."""
        return (self.strategy,) if self.early_stopping is None else (self.strategy, self.early_stopping)

    @property
    def trial_limit(self) -> int | None:
        """How many trials there will be at the most, None for no limit."""
        limits = [limit for limit in (self.max_trials, self.space.size) if limit is not None]
        return min(limits, default=None)

    def new_history(self, checkpoint_root: Path | None = None) -> History:
        """Return an empty history of this study, which knows its parents' trials."""
        parents = () if self.parents is None else self.parents.trials(self.space, self.objective)
        return History(self.space, self.objective, self.trial_limit, checkpoint_root, parents)

    def objective_of(self, definition: str | None) -> Objective:
        """Return the objective of a training definition, or the only one."""
        if isinstance(self.space, DefinitionSpace) and definition is not None:
            return self.space.definitions[definition].objective
        return self.objective

    def best(self, history: History) -> TrialRecord | None:
        """Return the best trial of this study and of identical parents, the earliest of equals, None without any."""
        number = history.incumbent()
        own = None if number is None else history.record(number)
        earlier = None if self.parents is None else self.parents.best(self.objective)
        found = [
            (self.objective.loss(record.value), record)
            for record in (earlier, own)
            if record is not None and record.value is not None
        ]
        return min(found, key=lambda pair: pair[0])[1] if found else None

    def enough(self, history: History, runtime: float) -> str | None:
        """Return why no training need go on that is not under way, in words, or None while it should.

        Args:
            history: The results so far.
            runtime: How long the study has been worked on, in seconds.
        """
        for criterion in self.stop_when:
            if (reason := criterion.met(history)) is not None:
                return reason
        return self.out_of_time(runtime)

    def out_of_time(self, runtime: float) -> str | None:
        """Return that ``max_runtime`` is used up, in words, or None."""
        if self.max_runtime is None or runtime < self.max_runtime:
            return None
        return f"max_runtime={self.max_runtime:g} seconds are used up"

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form that ``from_json`` reads."""
        return {
            "space": self.space.to_json(),
            "objective": self.objective.to_json(),
            "strategy": self.strategy.to_json(),
            "early_stopping": None if self.early_stopping is None else self.early_stopping.to_json(),
            "seed": self.seed,
            "max_trials": self.max_trials,
            "max_runtime": self.max_runtime,
            "max_parallel": self.max_parallel,
            "stop_when": [criterion.to_json() for criterion in self.stop_when],
            "parents": None if self.parents is None else self.parents.to_json(),
            "notes": None if self.notes is None else dict(self.notes),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Study:
        """Return the study that ``to_json`` described."""
        rule = data["early_stopping"]
        return cls(
            space=space_from_json(data["space"]),
            objective=objective_from_json(data["objective"]),
            strategy=judge_from_json(data["strategy"]),
            early_stopping=None if rule is None else judge_from_json(rule),
            seed=data["seed"],
            max_trials=data["max_trials"],
            max_runtime=data["max_runtime"],
            max_parallel=data["max_parallel"],
            stop_when=tuple(criterion_from_json(criterion) for criterion in data["stop_when"]),
            parents=None if data["parents"] is None else parents_from_json(data["parents"]),
            notes=data["notes"],
        )


def check_same(stored: Mapping[str, Any], given: Mapping[str, Any], name: str) -> None:
    """Raise StudyMismatch when two definitions differ in more than their limits and notes."""
    stored, given = _fixed_part(stored), _fixed_part(given)
    changes = [line for part in stored for line in _differences(part, stored[part], given[part])]
    if changes:
        raise StudyMismatch(
            f"The stored study {name!r} was defined differently: {'; '.join(changes)}. "
            "Give the stored definition to go on with it, or another name= to start a new study."
        )


def _fixed_part(definition: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parts that every process on a study must share; of parents' trials, those of the first run count."""
    part = {key: value for key, value in definition.items() if key not in (*LIMITS, "notes")}
    if part["parents"] is not None:
        part["parents"] = {**part["parents"], "studies": [study["name"] for study in part["parents"]["studies"]]}
    return part


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
