"""The read model of all views: a snapshot of a study as plain data.

It knows no strategy by name; the epochs at which a strategy compares training runs are its ``milestones``.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from hpo_plugins.coordination.session import StudySession
from hpo_plugins.history import History
from hpo_plugins.objective import Goals, Objective
from hpo_plugins.records import TrialRecord, TrialState
from hpo_plugins.space import Space
from hpo_plugins.study.confirmation import Confirmed, with_expectation
from hpo_plugins.study.front import front_of, nothing_feasible
from hpo_plugins.view.importance import Importance, importances


@dataclass(frozen=True)
class StudyView:
    """A study at one moment.

    Attributes:
        name: The study's name.
        objective: Its objective.
        space: Its search space.
        strategy: Its strategy, as Python.
        description: What the strategy does, in words.
        milestones: The epochs at which training runs are compared, ascending.
        max_resource: Epochs of a full training run, None if not known.
        limit: The maximum number of trials, None for no limit.
        trials: The trials by number.
        workers: The name of the worker that trained each trial last, by number.
        running: The trials that are being trained now.
        best: The best trial, None before the first value; identical parents' trials count.
        runtime: Seconds for which the study was worked on.
        now: The storage's clock, in seconds since 1970.
        completion_reason: Why no new trial will be started, None while there will be one.
        is_done: Whether the search is over.
        history: The study as strategies see it.
        confirmation: What repeats of the finalists have shown, the probably best first; empty without any.
        goals: All objectives and limits; None for one objective without limits.
        front: The trials that no other one dominates; empty with one objective.
    """

    name: str
    objective: Objective
    space: Space
    strategy: str
    description: str
    milestones: tuple[int, ...]
    max_resource: int | None
    limit: int | None
    trials: tuple[TrialRecord, ...]
    workers: tuple[str, ...]
    running: frozenset[int]
    best: TrialRecord | None
    runtime: float
    now: float
    completion_reason: str | None
    is_done: bool
    history: History
    confirmation: tuple[Confirmed, ...] = ()
    goals: Goals | None = None
    front: tuple[TrialRecord, ...] = ()

    @classmethod
    def of(cls, session: StudySession, name: str) -> StudyView:
        """Return a view of a study as it is now.

        Args:
            session: The study.
            name: Its name.

        Raises:
            StorageError: The storage cannot be read.
        """
        with session.lock:
            history, config = session.refresh(), session.config
            reason = session.completion_reason()
            return cls(
                name=name,
                objective=config.objective,
                space=config.space,
                strategy=repr(config.strategy),
                description=config.strategy.describe(),
                milestones=config.strategy.milestones,
                max_resource=config.strategy.max_resource,
                limit=config.trial_limit,
                trials=tuple(history.record(number) for number in range(len(history))),
                workers=tuple(trial.row.worker for trial in history),
                running=frozenset(session.running()),
                best=config.best(history),
                runtime=history.runtime,
                now=history.now,
                completion_reason=reason,
                is_done=reason is not None and not history.unfinished,
                history=history,
                goals=config.goals,
                front=front_of(history) if config.further_objectives else (),
            )

    @functools.cached_property
    def valued(self) -> tuple[TrialRecord, ...]:
        """The trials that have a value, by number."""
        return tuple(trial for trial in self.trials if trial.value is not None)

    @functools.cached_property
    def ranked(self) -> tuple[TrialRecord, ...]:
        """The trials that have a value, the best first; those with fewer folds come last.

        With limits, those that do not meet them come after all others; with several objectives, the Pareto front comes
        first.
        """
        most = max((len(trial.folds) for trial in self.valued), default=0)
        loss, front = self.objective.loss, {trial.number for trial in self.front}
        has_limits = self.goals is not None and bool(self.goals.constraints)

        def order(trial: TrialRecord) -> tuple[bool, bool, int, float, int]:
            is_behind = has_limits and not trial.feasible
            return is_behind, trial.number not in front, most - len(trial.folds), loss(trial.value or 0.0), trial.number

        return tuple(sorted(self.valued, key=order))

    @property
    def feasible(self) -> tuple[TrialRecord, ...]:
        """The trials of ``ranked`` that may be the best: with limits, those that meet them."""
        if self.goals is None or not self.goals.constraints:
            return self.ranked
        return tuple(trial for trial in self.ranked if trial.feasible)

    @functools.cached_property
    def headline(self) -> str | None:
        """What was found, in words, if there is not simply one best trial: the front, or that no trial is feasible."""
        if self.goals is None or self.best is not None:
            return None
        if not self.front:
            return nothing_feasible(self.history, self.goals) or None
        ranges = []
        for objective in self.goals.objectives:
            values = [trial.values[objective.metric] for trial in self.front]
            ranges.append(f"{objective.metric} {min(values):.4g} to {max(values):.4g}")
        many = "1 trial" if len(self.front) == 1 else f"{len(self.front)} trials"
        return f"Pareto front of {many}: {', '.join(ranges)}"

    def further_values(self, trial: TrialRecord) -> dict[str, float]:
        """Return a trial's values of all goals but the first objective."""
        return {name: value for name, value in trial.values.items() if name != self.objective.metric}

    @functools.cached_property
    def expected_best(self) -> TrialRecord | None:
        """The best trial with what to expect if it is trained again, which takes a fit of the surrogate."""
        return None if self.best is None else with_expectation(self.best, self.confirmation, self.history)

    @functools.cached_property
    def importances(self) -> tuple[Importance, ...]:
        """The importance of each parameter, the largest first; empty if too little is known."""
        return tuple(importances(self.history, self.max_resource))

    def most_important(self, count: int) -> list[str]:
        """Return the names of at most ``count`` parameters in the order of the space: the most important, if known."""
        names = list(self.space)
        if len(names) <= count:
            return names
        found = [importance.name for importance in self.importances]
        return sorted((found or names)[:count], key=names.index)

    def places(self, name: str, trials: Iterable[TrialRecord]) -> list[float]:
        """Return where in the unit interval trials have set a parameter.

        Args:
            name: The parameter.
            trials: Trials that have it.
        """
        parameter = self.space[name]
        return [parameter.to_unit(trial.params[name]) for trial in trials]  # type: ignore[arg-type]  # its own value

    def heights(self, names: Iterable[str], trial: TrialRecord) -> list[float | None]:
        """Return where in the unit interval a trial has set some parameters, None for those that it does not have."""
        return [self.places(name, [trial])[0] if name in trial.params else None for name in names]

    @functools.cached_property
    def counts(self) -> Mapping[str, int]:
        """Number of trials in each state; running trials without a worker are ``waiting``."""
        names = [
            "waiting" if trial.state is TrialState.RUNNING and trial.number not in self.running else trial.state.value
            for trial in self.trials
        ]
        return MappingProxyType(Counter(names))

    @functools.cached_property
    def n_ended(self) -> int:
        """How many trials have ended."""
        return sum(trial.state.is_final for trial in self.trials)

    @functools.cached_property
    def epochs(self) -> int:
        """Number of trained epochs, over all trials and folds."""
        return sum(trial.trained_epochs for trial in self.history)

    @property
    def epochs_of_full_trainings(self) -> int | None:
        """The epochs that full training runs of all trials would be, None if that is not known."""
        full = self.max_resource or max((trial.epochs for trial in self.trials), default=0)
        return full * len(self.trials) * (self.history.n_folds or 1) if full else None

    def on_milestones(self) -> list[tuple[int, int]]:
        """Return how many trials have reached each milestone."""
        return [(epoch, self.n_reached(epoch)) for epoch in self.milestones]

    def n_reached(self, epoch: int) -> int:
        """Return how many trials have reached an epoch."""
        return sum(trial.folds[0].curve.reached(epoch) for trial in self.history)

    def incumbents(self) -> list[tuple[int, float]]:
        """Return the best value so far after each trial that has improved it: its number and the value."""
        steps: list[tuple[int, float]] = []
        for trial in self.valued:
            if len(trial.folds) < (self.history.n_folds or 0) or trial.value is None:
                continue
            if self.goals is not None and self.goals.constraints and not trial.feasible:
                continue
            if not steps or self.objective.loss(trial.value) < self.objective.loss(steps[-1][1]):
                steps.append((trial.number, trial.value))
        return steps
