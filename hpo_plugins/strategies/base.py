"""What a strategy is: a function of the history, the seed and the trial's number."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, NamedTuple

from hpo_plugins.errors import InvalidArgument
from hpo_plugins.history import History
from hpo_plugins.records import TrialState
from hpo_plugins.space import Params, Space


class Decision(NamedTuple):
    """What becomes of a training after an epoch: the state it is to take, and why, in words."""

    state: TrialState
    reason: str


class Start(NamedTuple):
    """The decision to start a new trial with this configuration."""

    params: Params


class Resume(NamedTuple):
    """The decision to go on with a paused trial."""

    number: int


@dataclass(frozen=True)
class StoppingRule(ABC):
    """Decides after an epoch whether a training goes on."""

    registry: ClassVar[dict[str, type[StoppingRule]]] = {}

    def __init_subclass__(cls) -> None:
        """Know every rule and strategy by its name, to read it back from a stored study."""
        StoppingRule.registry[cls.__name__] = cls

    @abstractmethod
    def on_report(self, history: History, number: int, epoch: int) -> Decision | None:
        """Return the verdict on trial ``number``, whose newest epoch is ``epoch``, or None to go on."""

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form that ``component_from_json`` reads."""
        return {"name": type(self).__name__, **asdict(self)}


class Strategy(StoppingRule):
    """Chooses configurations, and may judge trainings.

    A strategy keeps no state of its own: whatever it remembers between calls is a cache that changes nothing but
    time, so a process that takes over a study suggests what the first would have.
    """

    stops_trainings: ClassVar[bool] = False
    """Whether it judges trainings itself, so that no other early-stopping rule may stand beside it."""

    @property
    def pauses(self) -> bool:
        """Whether it pauses trainings to go on with them later: those that can have an argument ``pause``."""
        return bool(getattr(self, "pause", False))

    def check(self, space: Space, max_trials: int | None) -> None:
        """Raise InvalidArgument when the strategy does not fit the space or the limits."""

    @abstractmethod
    def suggest(self, history: History, seed: int) -> Params:
        """Return the configuration of the next trial, number ``len(history)``.

        In a finite space it is one that no trial has; it is not asked when all have been tried.
        """

    def next_action(self, history: History, seed: int, *, may_start: bool) -> Start | Resume | None:
        """Return what the next free worker does: start a new trial, or go on with a paused one.

        ``may_start`` is false when no new trial may be started. None says that no paused trial is worth another epoch
        as things stand: the worker waits while others run, and with nobody running the search is over.
        """
        return Start(self.suggest(history, seed)) if may_start else None

    def on_report(self, history: History, number: int, epoch: int) -> Decision | None:  # noqa: ARG002
        """Let every training go on."""
        return None

    def final_reason(self, history: History, number: int) -> str:
        """Return why a paused trial is not trained further, when the search ends and leaves it behind."""
        return history[number].row.stop_reason or ""

    def full_training(self) -> int | None:
        """Return the epochs of a full training, None where the strategy does not know them."""
        return None

    def describe(self) -> str:
        """Return what the strategy will do, in words."""
        return repr(self)


def component_from_json(data: Mapping[str, Any], kind: Any = None) -> Any:
    """Return the strategy or rule that ``to_json`` described; only names known to this library are made."""
    name = data["name"]
    if name not in StoppingRule.registry:
        known = ", ".join(sorted(StoppingRule.registry))
        raise InvalidArgument(f"strategy {name!r} is not known to this version of hpo-plugins; it knows {known}.")
    return StoppingRule.registry[name](**{key: value for key, value in data.items() if key != "name"})
