"""Several training definitions in one study: each has a strategy, and a bandit divides the trials among them.

Notation
    K     number of definitions
    n_k   trials started in definition k;  t = sum of n_k
    r_k   the best result of definition k: 1 for the best of the whole study, 0 for its median and below

A new trial goes to the definition with the largest ``r_k + (alpha * log(t) / n_k) ** 2``. The second term rewards
exploration. It decreases with 1 / n^2 instead of 1 / sqrt(n) as for means: the best of n draws is known sooner than
their mean, and a search is for the best.

Reference:
    Balef, Vernade, Eggensperger, "Put CASH on Bandits: A Max K-Armed Problem for Automated Machine Learning", 2025
    (MaxUCB, algorithm 1).

Differs from the paper in:
    1. Results are scaled to [0, 1] by the study's own median and best, since losses have no bounds.
    2. Running trials count in n_k, so that parallel workers spread over the definitions.
    3. alpha is 1 instead of 0.5 (docs/decisions/0022).
"""

from __future__ import annotations

import math
import statistics
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from hpo_plugins._fields import frozen
from hpo_plugins.errors import InvalidArgument
from hpo_plugins.history import History, TrialHistory
from hpo_plugins.records import Decision
from hpo_plugins.space import DefinitionSpace, Params, Space, TrainingDefinition
from hpo_plugins.strategies.base import Resume, Start, Strategy
from hpo_plugins.strategies.grid import Grid

ALPHA = 1.0


@frozen()
class MaxUCB(Strategy):
    """One strategy per definition of a ``DefinitionSpace``, and the division of trials among them.

    Args:
        strategies: Definition's name to its strategy. Each sees the trials of its own definition only.

    Raises:
        InvalidArgument: The space has other definitions, or a definition's strategy does not fit its space.
    """

    strategies: Mapping[str, Strategy]
    stops_trainings: ClassVar[bool] = True  # as in the service, no other rule is allowed with several definitions

    def check(self, space: Space, max_trials: int | None) -> None:
        """Check each strategy in its definition's space."""
        if not isinstance(space, DefinitionSpace) or space.definitions.keys() != self.strategies.keys():
            raise InvalidArgument(f"space must have the definitions {list(self.strategies)}, but got space={space!r}.")
        for name, strategy in self.strategies.items():
            strategy.check(space.definitions[name].space, None)
        if all(isinstance(s, Grid) for s in self.strategies.values()) and max_trials not in (None, space.size):
            raise InvalidArgument(
                f"max_trials must be the number of combinations of all definitions, {space.size}, with Grid, "
                f"but got max_trials={max_trials}. Leave it out: Grid computes it."
            )

    def suggest(self, history: History, seed: int) -> Params:
        """Return a configuration of the definition with the largest upper bound."""
        parts = _parts(history)
        part = next(parts[name] for name in _by_upper_bound(parts) if parts[name].may_start)
        return part.definition.qualify(self.strategies[part.definition.name].suggest(part, _seed(part, seed)))

    def next_action(self, history: History, seed: int, *, may_start: bool) -> Start | Resume | None:
        """Ask the definitions' strategies in order of their upper bounds, until one has something to do."""
        parts = _parts(history)
        for name in _by_upper_bound(parts):
            part = parts[name]
            strategy = self.strategies[name]
            match strategy.next_action(part, _seed(part, seed), may_start=may_start and part.may_start):
                case Start(params):
                    return Start(part.definition.qualify(params))
                case Resume(number):
                    return Resume(part.numbers[number])
        return None

    def on_report(self, history: History, number: int, epoch: int) -> Decision | None:
        """Let the strategy of the trial's definition judge it among that definition's trials."""
        part, place = _place(history, number)
        return self.strategies[part.definition.name].on_report(part, place, epoch)

    def on_fold_end(self, history: History, number: int, fold: int) -> Decision | None:
        """Let the strategy of the trial's definition judge it among that definition's trials."""
        part, place = _place(history, number)
        return self.strategies[part.definition.name].on_fold_end(part, place, fold)

    @property
    def max_resource(self) -> int | None:
        """Epochs of the longest full training run, None if one is not known."""
        resources = [strategy.max_resource for strategy in self.strategies.values()]
        return None if None in resources else max(epochs for epochs in resources if epochs is not None)

    def describe(self) -> str:
        """Describe each strategy's plan."""
        lines = ["MaxUCB: trials are divided among definitions by their best results."]
        return "\n".join(lines + [f"{name}: {strategy.describe()}" for name, strategy in self.strategies.items()])


class _Part(History):
    """The trials of one definition, numbered from 0, as its strategy sees them.

    Attributes:
        definition: The definition.
        numbers: Place here to number in the whole search.
        places: Number in the whole search to place here.
    """

    def __init__(self, definition: TrainingDefinition, whole: DefinitionSpace, last_fold: int | None) -> None:
        super().__init__(definition.space, definition.objective, last_fold=last_fold)
        self.definition = definition
        self._whole = whole
        self.numbers: list[int] = []
        self.places: dict[int, int] = {}
        self.search_may_start = True

    @property
    def may_start(self) -> bool:
        """Whether the search may start another trial, and there is a configuration that no trial has."""
        return self.search_may_start and (self.space.size is None or len(self) < self.space.size)

    def follow(self, trial: TrialHistory) -> None:
        """Add the row of a trial of the whole search under its local number, and share its reports."""
        number = trial.row.number
        if number not in self.places:
            self.places[number] = len(self.numbers)
            self.numbers.append(number)
        place = self.places[number]
        self.put_trial(replace(trial.row, number=place, params=self._whole.params_of(trial.row.params)))
        self[place].share_reports(trial)


class _Parts:
    """The trials of a history by definition."""

    def __init__(self, history: History, space: DefinitionSpace) -> None:
        self.by_name = {name: _Part(each, space, history.last_fold) for name, each in space.definitions.items()}
        self._history = history
        self._space = space

    def update(self, changed: Iterable[int]) -> None:
        """Follow the trials that have changed."""
        for number in sorted(changed):
            trial = self._history[number]
            self.by_name[str(self._space.definition_of(trial.row.params))].follow(trial)


def _parts(history: History) -> dict[str, _Part]:
    """Return the history's trials by definition, up to date."""
    space = history.space
    if not isinstance(space, DefinitionSpace):
        raise InvalidArgument(f"space must have several definitions, but got space={space!r}.")
    parts = history.derived("definitions", lambda: _Parts(history, space)).by_name
    for part in parts.values():
        part.search_may_start = history.may_start
    return parts


def _place(history: History, number: int) -> tuple[_Part, int]:
    """Return the part of a trial, and its number in that part."""
    part = _parts(history)[str(history.space.definition_of(history[number].row.params))]
    return part, part.places[number]


def _by_upper_bound(parts: Mapping[str, _Part]) -> list[str]:
    """Return the definitions' names in descending order of their upper bounds."""
    losses = {
        name: [loss for trial in part if (loss := part.loss(trial.row.number)) is not None]
        for name, part in parts.items()
    }
    bounds = upper_bounds(losses, {name: len(part) for name, part in parts.items()})
    return sorted(parts, key=lambda name: -bounds[name])


def upper_bounds(losses: Mapping[str, Sequence[float]], started: Mapping[str, int]) -> dict[str, float]:
    """Return the upper confidence bound of each definition's best result, where 1 is the best result so far.

    Args:
        losses: Definition to the losses of its trials that have one.
        started: Definition to ``n_k``, the number of its trials.
    """
    every = [loss for of_one in losses.values() for loss in of_one]
    best, middle = (min(every), statistics.median(every)) if every else (0.0, 0.0)
    spread = middle - best
    t = sum(started.values())
    bounds = {}
    for name, count in started.items():
        own = min(losses[name], default=math.inf)
        r = 1.0 if own == best else max(0.0, (middle - own) / spread) if spread > 0 else 0.0
        bounds[name] = r + (ALPHA * math.log(t) / count) ** 2 if count else math.inf
    return bounds


def _seed(part: _Part, seed: int) -> int:
    """Return the definition's own seed, so that two with the same space draw different configurations."""
    return seed ^ zlib.crc32(part.definition.name.encode())
