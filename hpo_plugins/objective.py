"""The objective of a study: the metric, its direction, and which epoch of a learning curve counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from hpo_plugins._validation import choice, non_empty_string
from hpo_plugins.errors import InvalidArgument


@dataclass(frozen=True)
class Objective:
    """A metric to minimise or to maximise; use ``Minimize`` or ``Maximize``.

    Strategies see only losses (``sign * value``, smaller is better), so maximising a metric and minimising its
    negative choose the same configurations.

    Args:
        metric: The name under which the training reports it.
        at: Which epoch gives a trial its value: the ``"best"`` or the ``"last"``.

    Raises:
        InvalidArgument: The name is empty, or ``at`` is anything else.
    """

    metric: str
    at: Literal["best", "last"] = "best"
    sign: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if type(self) is Objective:
            raise InvalidArgument("objective must have a direction: use Minimize(metric) or Maximize(metric).")
        non_empty_string("metric", self.metric)
        choice("at", self.at, ("best", "last"))

    def loss(self, value: float) -> float:
        """Return the loss of a value, or the value of a loss: the function is its own inverse."""
        return self.sign * value

    def value_of(self, curve: Mapping[int, float]) -> float | None:
        """Return the value of a trial with this curve (epoch to value, in order), None if it is empty."""
        epoch = self.epoch_of(curve)
        return None if epoch is None else curve[epoch]

    def epoch_of(self, curve: Mapping[int, float]) -> int | None:
        """Return the epoch whose value is that of a trial with this curve (epoch to value, in order), None if empty."""
        if not curve:
            return None
        return max(curve) if self.at == "last" else min(curve, key=lambda epoch: self.loss(curve[epoch]))

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form that ``objective_from_json`` reads."""
        return {"direction": type(self).__name__, "metric": self.metric, "at": self.at}


class Minimize(Objective):
    """Minimise a metric."""

    sign = 1


class Maximize(Objective):
    """Maximise a metric."""

    sign = -1


def objective_from_json(data: Mapping[str, Any]) -> Objective:
    """Return the objective that ``to_json`` described."""
    return {"Minimize": Minimize, "Maximize": Maximize}[data["direction"]](data["metric"], data["at"])
