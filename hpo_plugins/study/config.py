"""A study's definition: everything about it except its results, shared by every process that works on it."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpo_plugins._validation import is_text, real_number, whole_number
from hpo_plugins.errors import InvalidArgument, StudyMismatch
from hpo_plugins.history import History
from hpo_plugins.objective import Objective, objective_from_json
from hpo_plugins.records import TrialRecord
from hpo_plugins.space import DefinitionSpace, Params, Space, space_from_json
from hpo_plugins.strategies import StoppingRule, Strategy, component_from_json
from hpo_plugins.strategies.catalog import names_of
from hpo_plugins.study.points import checked_points
from hpo_plugins.study.termination import Criterion, check_criteria
from hpo_plugins.study.warm_start import Parents, parents_from_json

LIMITS = ("max_trials", "max_runtime", "max_parallel", "stop_when")
"""What may change between runs of one study: it bounds the search, and no trial's configuration depends on it."""


@dataclass(frozen=True)
class StudyConfig:
    """The definition of a study.

    Args:
        space: The search space.
        objective: The objective.
        strategy: The strategy.
        early_stopping: A stopping rule beside a strategy that stops no trainings.
        seed: Fixes every suggestion.
        max_trials: See ``Tuner``, as for the following ones.
        max_runtime: In seconds.
        max_parallel: Over all processes.
        stop_when: Termination criteria.
        points_to_evaluate: Configurations to try first, complete or partial.
        parents: Earlier studies to learn from.
        notes: JSON that is stored with the study and ignored by the search, such as where the study comes from.

    Raises:
        InvalidArgument: An argument has the wrong type, or arguments do not fit each other.
    """

    space: Space
    objective: Objective
    strategy: Strategy
    early_stopping: StoppingRule | None
    seed: int
    max_trials: int | None = None
    max_runtime: float | None = None
    max_parallel: int | None = None
    stop_when: tuple[Criterion, ...] = ()
    points_to_evaluate: tuple[Params, ...] = ()
    parents: Parents | None = None
    notes: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.objective, Objective):
            raise InvalidArgument(
                f"objective must be Minimize(metric) or Maximize(metric), but got objective={self.objective!r}."
            )
        if not isinstance(self.strategy, Strategy):
            cure = " Create an instance: add ()." if isinstance(self.strategy, type) else ""
            raise InvalidArgument(f"strategy must be {names_of(Strategy)}, but got strategy={self.strategy!r}.{cure}")
        self._check_early_stopping()
        for name in ("max_trials", "max_parallel"):
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, whole_number(name, value, at_least=1))
        if self.max_runtime is not None:
            runtime = real_number("max_runtime", self.max_runtime, above=0, unit=" seconds")
            object.__setattr__(self, "max_runtime", runtime)
        if self.notes is not None:
            object.__setattr__(self, "notes", _checked_notes(self.notes))
        object.__setattr__(self, "stop_when", check_criteria(self.stop_when))
        self.strategy.check(self.space, self.max_trials)
        points = checked_points(self.space, self.points_to_evaluate, self.max_trials)
        object.__setattr__(self, "points_to_evaluate", points)
        if self.parents is not None:
            self.parents.check(self.space, self.objective)

    def _check_early_stopping(self) -> None:
        rule = self.early_stopping
        if rule is None:
            return
        if not isinstance(rule, StoppingRule) or isinstance(rule, Strategy):
            allowed = names_of(StoppingRule, but=Strategy)
            raise InvalidArgument(f"early_stopping must be {allowed} or None, but got early_stopping={rule!r}.")
        if self.strategy.stops_trainings:
            raise InvalidArgument(
                f"early_stopping must be None with {type(self.strategy).__name__}, which stops trainings itself, "
                f"but got early_stopping={rule!r}. Two rules for one curve would contradict each other."
            )

    @functools.cached_property
    def stopping_rules(self) -> tuple[StoppingRule, ...]:
        """What judges a running training, in this order; the first decision counts."""
        return (self.strategy,) if self.early_stopping is None else (self.strategy, self.early_stopping)

    @functools.cached_property
    def judges(self) -> tuple[StoppingRule, ...]:
        """Those that judge after an epoch."""
        return tuple(rule for rule in self.stopping_rules if type(rule).on_report is not Strategy.on_report)

    @property
    def trial_limit(self) -> int | None:
        """The maximum number of trials, None for no limit."""
        limits = [limit for limit in (self.max_trials, self.space.size) if limit is not None]
        return min(limits, default=None)

    def new_history(self, checkpoint_root: Path | None = None) -> History:
        """Return an empty history of this study, which contains its parents' trials."""
        parents = () if self.parents is None else self.parents.trials(self.space, self.objective)
        return History(self.space, self.objective, self.trial_limit, checkpoint_root, parents, self.points_to_evaluate)

    def objective_of(self, definition: str | None) -> Objective:
        """Return the objective of a training definition, or the study's."""
        if isinstance(self.space, DefinitionSpace) and definition is not None:
            return self.space.definitions[definition].objective
        return self.objective

    def best(self, history: History) -> TrialRecord | None:
        """Return the best trial, identical parents' included, the earliest of equals; None if there is none."""
        number = history.incumbent()
        own = None if number is None else history.record(number)
        earlier = None if self.parents is None else self.parents.best(self.objective)
        found = [
            (self.objective.loss(record.value), record)
            for record in (earlier, own)
            if record is not None and record.value is not None
        ]
        return min(found, key=lambda pair: pair[0])[1] if found else None

    def termination_reason(self, history: History, runtime: float) -> str | None:
        """Return why no training needs to be started or resumed any more, in words, or None.

        Args:
            history: The results so far.
            runtime: For how many seconds the study has been worked on.
        """
        for criterion in self.stop_when:
            if (reason := criterion.met(history)) is not None:
                return reason
        return self.timeout_reason(runtime)

    def timeout_reason(self, runtime: float) -> str | None:
        """Return that ``max_runtime`` has passed, in words, or None.

        Args:
            runtime: For how many seconds the study has been worked on.
        """
        if self.max_runtime is None or runtime < self.max_runtime:
            return None
        return f"max_runtime={self.max_runtime:g} seconds have passed"

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
            "points_to_evaluate": [dict(point) for point in self.points_to_evaluate],
            "parents": None if self.parents is None else self.parents.to_json(),
            "notes": None if self.notes is None else dict(self.notes),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> StudyConfig:
        """Return the definition that ``to_json`` described."""
        rule = data["early_stopping"]
        return cls(
            space=space_from_json(data["space"]),
            objective=objective_from_json(data["objective"]),
            strategy=component_from_json(data["strategy"], Strategy),
            early_stopping=None if rule is None else component_from_json(rule, StoppingRule),
            seed=data["seed"],
            max_trials=data["max_trials"],
            max_runtime=data["max_runtime"],
            max_parallel=data["max_parallel"],
            stop_when=tuple(component_from_json(criterion, Criterion) for criterion in data["stop_when"]),
            points_to_evaluate=tuple(data["points_to_evaluate"]),
            parents=None if data["parents"] is None else parents_from_json(data["parents"]),
            notes=data["notes"],
        )


def _checked_notes(notes: object) -> dict[str, Any]:
    """Return notes as they are read back, or raise InvalidArgument if they are no JSON."""
    try:
        text = json.dumps(notes, allow_nan=False)
        if isinstance(notes, Mapping) and is_text(json.dumps(notes, ensure_ascii=False)):
            return dict(json.loads(text))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidArgument(f"notes must be JSON, but got notes={notes!r}: {error}.") from error
    raise InvalidArgument(f"notes must be a dict of JSON with text that can be stored, but got notes={notes!r}.")


def check_match(stored: Mapping[str, Any], given: Mapping[str, Any], name: str) -> None:
    """Raise StudyMismatch if two definitions differ in more than their limits and notes.

    Args:
        stored: The definition in the storage.
        given: The definition that was given now.
        name: The study's name.
    """
    stored, given = _fixed_part(stored), _fixed_part(given)
    changes = [line for part in stored for line in _differences(part, stored[part], given[part])]
    if changes:
        raise StudyMismatch(
            f"The stored study {name!r} was defined differently: {'; '.join(changes)}. "
            "Use the stored definition to continue it, or another name= to start a new study."
        )


def _fixed_part(definition: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parts that all processes must agree on; parents are compared by name, as their trials were copied."""
    part = {key: value for key, value in definition.items() if key not in (*LIMITS, "notes")}
    if part["parents"] is not None:
        part["parents"] = {**part["parents"], "studies": [study["name"] for study in part["parents"]["studies"]]}
    return part


def _differences(path: str, stored: Any, given: Any) -> Iterator[str]:
    if isinstance(stored, dict) and isinstance(given, dict):
        for key in stored | given:  # in their order
            if key not in given:
                yield f"{path}.{key} is missing (stored {stored[key]!r})"
            elif key not in stored:
                yield f"{path}.{key} is new (given {given[key]!r})"
            else:
                yield from _differences(f"{path}.{key}", stored[key], given[key])
        if path == "space" and stored.keys() == given.keys() and list(stored) != list(given):
            yield f"space is in another order (stored {list(stored)}, given {list(given)})"
    elif repr(stored) != repr(given):  # tells True, 1 and 1.0 apart
        yield f"{path} is {given!r} (stored {stored!r})"
