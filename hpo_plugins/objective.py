"""What a search is after: the metric, its direction, and which epoch of a curve counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from hpo_plugins.errors import InvalidArgument


@dataclass(frozen=True)
class Objective:
    """A metric to minimise or to maximise; use ``Minimize`` or ``Maximize``.

    Strategies see losses only (``sign * value``, smaller is better), so that mirrored objectives give mirrored
    searches.

    Args:
        metric: The name under which the training reports it.
        at: Which epoch gives a trial its value: its ``"best"`` or its ``"last"``.

    Raises:
        InvalidArgument: The name is empty, or ``at`` is another word.
    """

    metric: str
    at: Literal["best", "last"] = "best"
    sign: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if type(self) is Objective:
            raise InvalidArgument("objective must say which way: use Minimize(metric) or Maximize(metric).")
        if not isinstance(self.metric, str) or not self.metric:
            raise InvalidArgument(f"metric must be a non-empty string, but got metric={self.metric!r}.")
        if self.at not in ("best", "last"):
            raise InvalidArgument(f"at must be 'best' or 'last', but got at={self.at!r}.")

    def loss(self, value: float) -> float:
        """Return what is minimised; applied twice it gives the value back."""
        return self.sign * value

    def value_of(self, curve: Mapping[int, float]) -> float | None:
        """Return the value of a trial with this curve (epoch to value, in order), None for an empty curve."""
        if not curve:
            return None
        if self.at == "last":
            return curve[max(curve)]
        return min(curve.values(), key=self.loss)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form that ``objective_from_json`` reads."""
        return {"direction": type(self).__name__, "metric": self.metric, "at": self.at}


class Minimize(Objective):
    """Search for the smallest value of a metric."""

    sign = 1


class Maximize(Objective):
    """Search for the largest value of a metric."""

    sign = -1


def objective_from_json(data: Mapping[str, Any]) -> Objective:
    """Return the objective that ``to_json`` described."""
    return {"Minimize": Minimize, "Maximize": Maximize}[data["direction"]](data["metric"], data["at"])
