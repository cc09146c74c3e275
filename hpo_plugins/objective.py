"""The goals of a study.

The objective is a metric, its direction, and which epoch of a learning curve counts. There may be several, and limits
on metrics.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import numpy as np

from hpo_plugins._fields import checked, frozen
from hpo_plugins._validation import choice, non_empty_string, real_number, refusal
from hpo_plugins.errors import InvalidArgument

_DIRECTED = "Minimize(metric) or Maximize(metric), or a list of these"


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


@frozen()
class Limit:
    """A limit on a metric; use ``AtMost`` or ``AtLeast``.

    Args:
        metric: The name under which the training run reports it, at any epoch, or ``trial.record`` does.
        value: The limit; a value equal to it meets it.

    Raises:
        InvalidArgument: The name is empty, or the value is not a finite number.
    """

    metric: str = checked(non_empty_string)
    value: float = checked(real_number)
    sign: ClassVar[int] = 1
    symbol: ClassVar[str] = ""

    def __attrs_post_init__(self) -> None:
        if type(self) is Limit:
            raise InvalidArgument("a limit must have a direction: use AtMost(metric, value) or AtLeast(metric, value).")

    def __str__(self) -> str:
        """Return the limit as it is written in mathematics."""
        return f"{self.metric} {self.symbol} {self.value:g}"

    def violation(self, values: np.ndarray) -> np.ndarray:
        """Return how far values violate the limit: 0 if they meet it, up to 1.

        It is ``r / (1 + r)``, where r is the excess relative to the limit's size, and 1 for a value that is NaN.

        Args:
            values: Values of the metric, of any shape.
        """
        with np.errstate(invalid="ignore", over="ignore"):
            excess = self.sign * (values - self.value) / (abs(self.value) or 1.0)
            share = np.where(np.isposinf(excess), 1.0, excess / (1.0 + np.maximum(excess, 0.0)))
        return np.where(np.isnan(values), 1.0, np.maximum(share, 0.0))


class AtMost(Limit):
    """A metric must be at most a value, such as ``AtMost("latency_ms", 20)``."""

    sign = 1
    symbol = "<="


class AtLeast(Limit):
    """A metric must be at least a value, such as ``AtLeast("recall", 0.9)``."""

    sign = -1
    symbol = ">="


@frozen()
class Goals:
    """Several objectives, or objectives with limits.

    Args:
        objectives: The objectives, at least one.
        constraints: The limits.
    """

    objectives: tuple[Objective, ...]
    constraints: tuple[Limit, ...] = ()

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names of all metrics, each once."""
        names = [objective.metric for objective in self.objectives] + [limit.metric for limit in self.constraints]
        return tuple(dict.fromkeys(names))

    @property
    def order(self) -> tuple[int, ...]:
        """The indices of the objectives by metric, so that the order in which they are written changes nothing."""
        return tuple(sorted(range(len(self.objectives)), key=lambda index: self.objectives[index].metric))


def split_objectives(objective: object) -> tuple[Objective, tuple[Objective, ...]]:
    """Return the first objective and the further ones.

    Args:
        objective: An objective, or a list of objectives.

    Raises:
        InvalidArgument: It is neither, an objective comes twice, or they differ in ``at``.
    """
    members = list(objective) if isinstance(objective, Sequence) and not isinstance(objective, str) else [objective]
    given = [each for each in members if isinstance(each, Objective)]
    if not given or len(given) < len(members):
        raise refusal("objective", objective, _DIRECTED)
    metrics = [each.metric for each in given]
    if len(set(metrics)) < len(metrics):
        twice = next(metric for metric in metrics if metrics.count(metric) > 1)
        raise InvalidArgument(
            f"objective must name each metric once, but names {twice!r} {metrics.count(twice)} times."
        )
    if len({each.at for each in given}) > 1:
        raise InvalidArgument(
            f"objective must have the same at= in all objectives, since a trial counts with one epoch, but got {given}."
        )
    return given[0], tuple(given[1:])


def check_limits(name: str, limits: object) -> tuple[Limit, ...]:
    """Return limits as a tuple.

    Raises:
        InvalidArgument: They are not a list of limits, or two of one kind are on the same metric, or contradict.
    """
    members = tuple(limits) if isinstance(limits, Sequence) and not isinstance(limits, str) else (None,)
    given = [limit for limit in members if isinstance(limit, Limit)]
    if len(given) < len(members):
        raise refusal(name, limits, "a list of AtMost(metric, value) and AtLeast(metric, value)")
    for index, limit in enumerate(given):
        for other in given[:index]:
            if other.metric != limit.metric:
                continue
            if type(other) is type(limit):
                raise InvalidArgument(f"{name} must limit each metric once, but got {other} and {limit}. Keep one.")
            if limit.sign * (other.value - limit.value) > 0:
                raise InvalidArgument(f"{name} must leave values to each metric, but got {other} and {limit}.")
    return tuple(given)
