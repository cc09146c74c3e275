"""Base classes: a strategy is a function of the history, the seed and the trial's number, without state.

A strategy may cache values between calls, which changes only the time that it takes. A process that takes over a study
therefore makes the same suggestions as the first process.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from hpo_plugins._fields import fields, frozen
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


@frozen()
class Component(ABC):  # noqa: B024 - each kind of component has its own abstract method
    """A part of a study's definition that is stored by its name and its fields: a strategy, a rule or a criterion."""

    registry: ClassVar[dict[str, type[Component]]] = {}

    def __init_subclass__(cls) -> None:
        """Register the class, so that it can be read back from a stored study.

        Raises:
            InvalidArgument: It has the name of a class of this library, which stored studies name.
        """
        known = Component.registry.get(cls.__name__)
        if known is not None and known.__module__ != cls.__module__ and known.__module__.startswith("hpo_plugins."):
            raise InvalidArgument(
                f"A strategy or rule must have a name of its own, but got {cls.__name__}, the name of a class in "
                f"{known.__module__}. Rename the class."
            )
        Component.registry[cls.__name__] = cls


def argument_names(cls: type[Component]) -> list[str]:
    """Return the names of a component's arguments, which are its fields.

    Raises:
        InvalidArgument: It is a dataclass that is derived from a class with fields, which dataclasses do not inherit.
    """
    names = [field.name for field in fields(cls) if field.init]
    if not dataclasses.is_dataclass(cls):
        return names
    own = [field.name for field in dataclasses.fields(cls) if field.init]
    if lost := [name for name in names if name not in own]:
        raise InvalidArgument(
            f"{cls.__name__} must not be a dataclass, since it would not inherit the fields {', '.join(lost)} of its "
            "base class. Use @attrs.frozen instead of @dataclass(frozen=True)."
        )
    return own


class StoppingRule(Component):
    """Decides after an epoch whether a training run continues.

    A trial with folds is judged by the same folds of other trials: the given history then contains the means over the
    first folds only, up to the one that is trained.
    """

    judges_every_fold: ClassVar[bool] = False
    """Whether ``on_report`` judges every fold instead of only the first one."""

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
    """Chooses configurations, and may judge training runs."""

    stops_trainings: ClassVar[bool] = False
    """Whether it judges training runs itself, so that no stopping rule may be combined with it."""

    if TYPE_CHECKING:  # derived classes may have a property or a field instead

        @property
        def max_resource(self) -> int | None:
            """Epochs of a full training run, None if the strategy does not know them."""

        @property
        def milestones(self) -> tuple[int, ...]:
            """The epochs at which it compares training runs, ascending; empty if it compares none."""

    else:  # a property would hide a field of that name
        max_resource = None
        milestones = ()

    @property
    def pauses(self) -> bool:
        """Whether it pauses training runs to resume them later; strategies that can do so have a field ``pause``."""
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
        """Return the next action of a free worker: start a new trial, or resume a paused one.

        None means that no paused trial is worth another epoch for now. The worker waits while other trials run; the
        search is over if none runs.

        Args:
            history: The study.
            seed: Its seed.
            may_start: Whether a new trial may be started.
        """
        return Start(self.suggest(history, seed)) if may_start else None

    def on_report(self, history: History, number: int, epoch: int) -> Decision | None:  # noqa: ARG002
        """Let every training run continue."""
        return None

    def final_decision(self, history: History, number: int) -> Decision:
        """Return why a paused trial is not trained further when the search ends."""
        row = history[number].row
        return Decision(TrialState.STOPPED, row.rule or "", row.detail or "")

    def describe(self) -> str:
        """Describe the strategy's plan in words."""
        return repr(self)
