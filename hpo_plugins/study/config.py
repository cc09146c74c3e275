"""A study's definition: everything about it except its results, shared by every process that works on it."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from hpo_plugins._fields import checked, evolve, frozen
from hpo_plugins._validation import is_text, real_number, refusal, whole_number
from hpo_plugins.errors import InvalidArgument, StudyMismatch
from hpo_plugins.history import History
from hpo_plugins.objective import Goals, Limit, Objective, check_limits, split_objectives
from hpo_plugins.records import TrialRecord
from hpo_plugins.space import DefinitionSpace, Params, Space
from hpo_plugins.space.valid import Function
from hpo_plugins.strategies import StoppingRule, Strategy, argument_names
from hpo_plugins.strategies.catalog import names_of
from hpo_plugins.study.initial_configurations import checked_configurations
from hpo_plugins.study.termination import Criterion, check_criteria
from hpo_plugins.study.warm_start import Parents

LIMITS = ("max_trials", "max_runtime", "max_trial_seconds", "max_parallel", "stop_when")
"""The arguments that may change between runs of one study: they bound the search and change no configuration."""


TRIAL_LIMIT_RULE = "max_trial_seconds"
"""The rule by which a trial ends that has trained for as long as it may."""


def _objective(name: str, objective: object) -> Objective:
    if not isinstance(objective, Objective):
        raise refusal(name, objective, "Minimize(metric) or Maximize(metric)")
    return objective


def _further_objectives(_: str, objectives: Sequence[Objective]) -> tuple[Objective, ...]:
    return tuple(objectives)


def _strategy(name: str, strategy: object) -> Strategy:
    if not isinstance(strategy, Strategy):
        cure = "Create an instance: add ()." if isinstance(strategy, type) else ""
        raise refusal(name, strategy, names_of(Strategy), cure)
    argument_names(type(strategy))  # a class whose fields cannot be read is an error before it is used
    return strategy


def _early_stopping(name: str, rule: object) -> StoppingRule | None:
    if rule is not None and (not isinstance(rule, StoppingRule) or isinstance(rule, Strategy)):
        raise refusal(name, rule, f"{names_of(StoppingRule, but=Strategy)} or None")
    return rule


def _initial_configurations(given: object, config: Any) -> tuple[Params, ...]:
    return checked_configurations(config.space, given, config.max_trials)


def _notes(_: str, notes: object) -> dict[str, Any]:
    try:
        text = json.dumps(notes, allow_nan=False)
        if isinstance(notes, Mapping) and is_text(json.dumps(notes, ensure_ascii=False)):
            return dict(json.loads(text))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidArgument(f"notes must be JSON, but got notes={notes!r}: {error}.") from error
    raise InvalidArgument(f"notes must be a dict of JSON with text that can be stored, but got notes={notes!r}.")


@frozen()
class StudyConfig:
    """The definition of a study.

    Args:
        space: The search space.
        objective: The objective.
        strategy: The strategy.
        early_stopping: A stopping rule, for a strategy that stops no training runs.
        seed: Fixes every suggestion.
        max_trials: See ``Tuner``, as for the following ones.
        max_runtime: In seconds.
        max_parallel: Over all processes.
        stop_when: Termination criteria.
        points_to_evaluate: Configurations to try first, complete or partial.
        parents: Earlier studies to learn from.
        notes: JSON that is stored with the study and ignored by the search, such as where the study comes from.
        max_trial_seconds: See ``Tuner``.
        further_objectives: The objectives after the first one.
        constraints: Limits on outcomes.

    Raises:
        InvalidArgument: An argument has the wrong type, or arguments do not fit each other.
    """

    space: Space
    objective: Objective = checked(_objective)
    strategy: Strategy = checked(_strategy)
    early_stopping: StoppingRule | None = checked(_early_stopping)
    seed: int = checked(whole_number, at_least=0)
    max_trials: int | None = checked(whole_number, at_least=1, default=None)
    max_runtime: float | None = checked(real_number, above=0, unit=" seconds", default=None)
    max_parallel: int | None = checked(whole_number, at_least=1, default=None)
    stop_when: Sequence[Criterion] = checked(check_criteria, default=())
    points_to_evaluate: Sequence[Mapping[str, Any]] = attrs.field(
        converter=attrs.Converter(_initial_configurations, takes_self=True), default=()
    )
    parents: Parents | None = None
    notes: Mapping[str, Any] | None = checked(_notes, default=None)
    max_trial_seconds: float | None = checked(real_number, above=0, unit=" seconds", default=None, kw_only=True)
    further_objectives: tuple[Objective, ...] = checked(_further_objectives, default=(), kw_only=True)
    constraints: tuple[Limit, ...] = checked(check_limits, default=(), kw_only=True)

    def __attrs_post_init__(self) -> None:
        self._check_goals()
        if self.early_stopping is not None and self.strategy.stops_trainings:
            raise InvalidArgument(
                f"early_stopping must be None with {type(self.strategy).__name__}, which stops trainings itself, "
                f"but got early_stopping={self.early_stopping!r}. Two rules for one curve would contradict each other."
            )
        self.strategy.check(self.space, self.max_trials)
        if self.parents is not None:
            self.parents.check(self.space, self.objective)

    def _check_goals(self) -> None:
        """Raise InvalidArgument if goals do not fit each other or the rest."""
        split_objectives(self.objectives)
        if self.goals is not None and isinstance(self.space, DefinitionSpace):
            raise InvalidArgument(
                "a search with several training definitions must have one objective and no constraints, but got "
                f"{list(self.objectives)} and constraints={list(self.constraints)}."
            )
        if self.further_objectives and self.stop_when:
            raise InvalidArgument(
                f"stop_when must be empty with several objectives, but got stop_when={list(self.stop_when)}. Make all "
                "but one of them a limit (constraints=), or use max_trials or max_runtime."
            )

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """All objectives."""
        return (self.objective, *self.further_objectives)

    @functools.cached_property
    def goals(self) -> Goals | None:
        """The objectives and limits; None for one objective without limits."""
        has_more = self.further_objectives or self.constraints
        return Goals(self.objectives, self.constraints) if has_more else None

    @functools.cached_property
    def stopping_rules(self) -> tuple[StoppingRule, ...]:
        """The judges of a running training run, in this order; the first decision counts."""
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
        parents = () if self.parents is None else self.parents.trials(self.space, self.objective, self.goals)
        given = [dict(configuration) for configuration in self.points_to_evaluate]
        return History(self.space, self.objective, self.trial_limit, checkpoint_root, parents, given, goals=self.goals)

    def for_visitor(self) -> StudyConfig:
        """Return the definition for a process that only reports: without a function, which may not be importable."""
        if not isinstance(self.space.valid, Function):
            return self
        return evolve(self, space=self.space.constrained(Function(None)))

    def objective_of(self, definition: str | None) -> Objective:
        """Return the objective of a training definition, or the study's."""
        if isinstance(self.space, DefinitionSpace) and definition is not None:
            return self.space.definitions[definition].objective
        return self.objective

    def best(self, history: History) -> TrialRecord | None:
        """Return the best trial, identical parents' included, the earliest of equals; None if there is none.

        With limits, it is the best one that meets them; with several objectives, there is none.
        """
        if self.further_objectives:
            return None
        number = history.incumbent()
        own = None if number is None else history.record(number)
        earlier = None if self.parents is None else self.parents.best(self.objective, self.goals)
        found = [
            (self.objective.loss(record.value), record)
            for record in (earlier, own)
            if record is not None and record.value is not None
        ]
        return min(found, key=lambda pair: pair[0])[1] if found else None

    def termination_reason(self, history: History, runtime: float) -> str | None:
        """Return in words why no training run needs to start or resume any more, or None.

        Args:
            history: The results so far.
            runtime: The study's runtime in seconds.
        """
        for criterion in self.stop_when:
            if (reason := criterion.met(history)) is not None:
                return reason
        return self.timeout_reason(runtime)

    def timeout_reason(self, runtime: float) -> str | None:
        """Return in words that ``max_runtime`` has passed, or None.

        Args:
            runtime: The study's runtime in seconds.
        """
        if self.max_runtime is None or runtime < self.max_runtime:
            return None
        return f"max_runtime={self.max_runtime:g} seconds have passed"


def check_match(stored: Mapping[str, Any], given: Mapping[str, Any], name: str) -> None:
    """Raise StudyMismatch if two definitions differ in more than their limits and notes.

    Args:
        stored: The definition in the storage.
        given: The given definition.
        name: The study's name.
    """
    stored, given = _fixed_part(stored), _fixed_part(given)
    if stored.get("valid") is True and given.get("valid") is not True:
        raise StudyMismatch(
            f"The stored study {name!r} was made with a function as valid=, which is not stored: give the same "
            "function again."
        )
    parts = stored | given  # what has its default may be absent
    changes = [line for part in parts for line in _differences(part, stored.get(part), given.get(part))]
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
