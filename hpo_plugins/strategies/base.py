"""What a strategy is: a function of the history, the seed and the trial's number, without state of its own.

Whatever a strategy remembers between calls is a cache that changes nothing but time. So a process that takes over a
study suggests what the first one would have suggested.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, NamedTuple

from hpo_plugins.errors import InvalidArgument
from hpo_plugins.history import History
from hpo_plugins.records import Decision, TrialState
from hpo_plugins.space import Params, Space


class Start(NamedTuple):
    """The action to start a new trial with this configuration."""

    params: Params


class Resume(NamedTuple):
    """The action to resume a paused trial."""

    number: int


@dataclass(frozen=True)
class Component(ABC):  # noqa: B024 - each kind of component has its own abstract method
    """A part of a study's definition that is stored by its name and its fields: a strategy, a rule or a criterion."""

    registry: ClassVar[dict[str, type[Component]]] = {}

    def __init_subclass__(cls) -> None:
        """Register the class, so that it can be read back from a stored study."""
        Component.registry[cls.__name__] = cls

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form that ``component_from_json`` reads."""
        return {"name": type(self).__name__, **asdict(self)}


def component_from_json(data: Mapping[str, Any], kind: type) -> Any:
    """Return the component that ``to_json`` described; only classes of this library are instantiated.

    Args:
        data: The JSON form.
        kind: The class that it must be derived from.

    Raises:
        InvalidArgument: This version of the library has no such component.
    """
    name = data["name"]
    known = {
        key: cls for key, cls in Component.registry.items() if issubclass(cls, kind) and not inspect.isabstract(cls)
    }
    if name not in known:
        what = {"Strategy": "strategy", "StoppingRule": "stopping rule"}.get(kind.__name__, kind.__name__.lower())
        raise InvalidArgument(
            f"{what} {name!r} is not known to this version of hpo-plugins; it knows {', '.join(sorted(known))}."
        )
    fields = {key: value for key, value in data.items() if key != "name"}
    names = inspect.signature(known[name]).parameters
    required = {argument.name for argument in names.values() if argument.default is argument.empty}
    if missing := sorted(required - fields.keys()):
        raise InvalidArgument(f"{name} needs the argument {missing[0]!r}.")
    if unknown := sorted(fields.keys() - names):
        raise InvalidArgument(f"{name} has no argument {unknown[0]!r}; it has {', '.join(names) or 'none'}.")
    return known[name](**fields)


class StoppingRule(Component):
    """Decides after an epoch whether a training continues.

    A trial with folds is judged by the same folds of other trials: the given history then contains the means over the
    first folds only, up to the one that is trained.
    """

    judges_every_fold: ClassVar[bool] = False
    """Whether ``on_report`` judges every fold, and not the first one only."""

    @abstractmethod
    def on_report(self, history: History, number: int, epoch: int) -> Decision | None:
        """Return the decision on a trial, or None to let it continue.

        Args:
            history: The study, which includes the report.
            number: The trial.
            epoch: The epoch that it has just reported.
        """

    def on_fold_end(self, history: History, number: int, fold: int) -> Decision | None:  # noqa: ARG002
        """Return the decision on a trial after one of its folds, or None to let the next fold be trained.

        Args:
            history: The study up to this fold.
            number: The trial.
            fold: The fold that has ended, from 0.
        """
        return None


class Strategy(StoppingRule):
    """Chooses configurations, and may judge trainings."""

    stops_trainings: ClassVar[bool] = False
    """Whether it judges trainings itself, so that no other stopping rule may be used beside it."""

    @property
    def max_resource(self) -> int | None:
        """Epochs of a full training, None if the strategy does not know them."""
        return None

    @property
    def milestones(self) -> tuple[int, ...]:
        """The epochs at which it compares trainings, ascending; empty if it compares none."""
        return ()

    @property
    def pauses(self) -> bool:
        """Whether it pauses trainings to resume them later; strategies that can do so have a field ``pause``."""
        return bool(getattr(self, "pause", False))

    def check(self, space: Space, max_trials: int | None) -> None:
        """Raise InvalidArgument if the strategy does not fit the space or the limits.

        Args:
            space: The search space.
            max_trials: The maximum number of trials, None for no limit.
        """

    @abstractmethod
    def suggest(self, history: History, seed: int) -> Params:
        """Return the configuration of the next trial, number ``len(history)``.

        In a finite space it is one that no trial has; the method is not called once all have been tried.
        """

    def next_action(self, history: History, seed: int, *, may_start: bool) -> Start | Resume | None:
        """Return what the next free worker does: start a new trial, or resume a paused one.

        None means that no paused trial is worth another epoch for now: the worker waits while others run, and the
        search is over if nobody runs.

        Args:
            history: The study.
            seed: Its seed.
            may_start: Whether a new trial may be started.
        """
        return Start(self.suggest(history, seed)) if may_start else None

    def on_report(self, history: History, number: int, epoch: int) -> Decision | None:  # noqa: ARG002
        """Let every training continue."""
        return None

    def final_decision(self, history: History, number: int) -> Decision:
        """Return why a paused trial is not trained further when the search ends."""
        row = history[number].row
        return Decision(TrialState.STOPPED, row.rule or "", row.detail or "")

    def describe(self) -> str:
        """Return what the strategy will do, in words."""
        return repr(self)
