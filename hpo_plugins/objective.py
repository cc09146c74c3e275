"""The objective of a study: the metric, its direction, and which epoch of a learning curve counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from hpo_plugins._fields import checked, frozen
from hpo_plugins._validation import choice, non_empty_string
from hpo_plugins.errors import InvalidArgument


@frozen()
class Objective:
    """A metric to minimise or to maximise; use ``Minimize`` or ``Maximize``.

    Strategies see only losses (``sign * value``, smaller is better), so maximising a metric and minimising its
    negative choose the same configurations.

    Args:
        metric: The name under which the training run reports it.
        at: Which epoch gives a trial its value: the ``"best"`` or the ``"last"``.

    Raises:
        InvalidArgument: The name is empty, or ``at`` is anything else.
    """

    metric: str = checked(non_empty_string)
    at: Literal["best", "last"] = checked(choice, allowed=("best", "last"), default="best")
    sign: ClassVar[int] = 1

    def __attrs_post_init__(self) -> None:
        if type(self) is Objective:
            raise InvalidArgument("objective must have a direction: use Minimize(metric) or Maximize(metric).")

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


class Minimize(Objective):
    """Minimise a metric."""

    sign = 1


class Maximize(Objective):
    """Maximise a metric."""

    sign = -1
