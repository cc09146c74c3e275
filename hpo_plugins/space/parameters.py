"""Parameters of a search space: their ranges, their scales, and their coordinates in the unit interval.

Notation
    u      a coordinate in [0, 1]
    bin    the part of [0, 1] that decodes to one value of an integer or a categorical parameter

Every decoded value is plain Python (``int``, ``float``, ``str``, ``bool`` or ``None``), since frameworks and
checkpoint formats reject numpy scalars.
"""

from __future__ import annotations

import functools
import math
from typing import ClassVar, TypeAlias

from hpo_plugins._fields import checked, frozen
from hpo_plugins._validation import choice, real_number, refusal, whole_number
from hpo_plugins.errors import InvalidArgument
from hpo_plugins.space.base import ParameterBase
from hpo_plugins.space.categorical import Categorical, Ordinal
from hpo_plugins.space.steps import Steps, check_step, count, is_on_step, real_value
from hpo_plugins.space.values import Scale

AUTO_LOG_RATIO = 1e3
"""``scale="auto"`` is logarithmic for ranges of three decades or more."""


@frozen(repr=False)
class Continuous(ParameterBase):
    """A real number between two inclusive bounds.

    Args:
        low: The smallest value.
        high: The largest value.
        scale: How values are spread: ``"linear"``; ``"log"`` (values > 0, equal chance for every decade);
            ``"reverse_log"`` (0 <= values < 1, equal chance for every decade of 1 - x); or ``"auto"``, which is
            ``"log"`` when the range spans three decades or more (``high / low >= 1000``), ``"reverse_log"`` when
            ``1 - x`` does, and ``"linear"`` otherwise. The rule depends on the bounds alone, so suggestions never
            depend on when a scale was learned.
        step: The distance between values, which are ``low``, ``low + step`` and so on up to ``high``; each is rounded
            as a person writes it. None for every number between the bounds.
        prior: A value that you believe to be good, None for no belief. It steers the first configurations; its weight
            follows what results say.
        confidence: How near it the best value is believed to be: ``"low"``, ``"medium"`` or ``"high"``, a standard
            deviation of a quarter, an eighth or a sixteenth of the range on its scale.
        when: Makes the parameter conditional: another parameter's name to a value or a list of values. It is part of a
            configuration only while each of them has one of its values, as in ``{"optimizer": "sgd"}``.

    Raises:
        InvalidArgument: A bound is not finite, ``low > high``, the scale, the step or the prior does not fit the
            bounds, or ``when`` is no condition.
    """

    low: float = checked(real_number)
    high: float = checked(real_number)
    scale: Scale = checked(choice, allowed=("auto", "linear", "log", "reverse_log"), default="auto")
    step: float | None = checked(real_number, above=0, default=None, kw_only=True)
    prior: float | None = checked(real_number, default=None, kw_only=True)  # type: ignore[misc]  # a field here
    kind: ClassVar[str] = "continuous"

    def __attrs_post_init__(self) -> None:
        _check_bounds(self.low, self.high, self.scale)
        if self.step is not None:
            check_step(self.low, self.high, self.step)
        super().__attrs_post_init__()

    @property
    def resolved_scale(self) -> Scale:
        """The scale in effect: what ``"auto"`` resolves to."""
        if self.scale != "auto":
            return self.scale
        if self.low > 0 and self.high / self.low >= AUTO_LOG_RATIO:
            return "log"
        if self.low >= 0 and self.high < 1 and (1 - self.low) / (1 - self.high) >= AUTO_LOG_RATIO:
            return "reverse_log"
        return "linear"

    @functools.cached_property
    def steps(self) -> Steps | None:
        """Its values as steps, None if it has no step."""
        if self.step is None:
            return None
        return Steps(self.low, self.step, count(self.low, self.high, self.step), self.resolved_scale)

    @property
    def size(self) -> int | None:
        """The number of values, None if infinite."""
        if self.steps is not None:
            return self.steps.size
        return 1 if self.low == self.high else None

    def from_unit(self, u: float) -> float:
        """Return the value at ``u``; without a step, 0 gives ``low`` and 1 gives ``high`` exactly."""
        if self.steps is not None:
            return self.value_at(self.steps.position_at(u))
        if u <= 0:
            return self.low
        if u >= 1:
            return self.high
        match self.resolved_scale:
            case "log":
                value = math.exp(_interpolate(math.log(self.low), math.log(self.high), u))
            case "reverse_log":
                value = 1 - math.exp(_interpolate(math.log1p(-self.low), math.log1p(-self.high), u))
            case _:
                value = _interpolate(self.low, self.high, u)
        return min(max(value, self.low), self.high)  # rounding must not leave the bounds

    def to_unit(self, value: float) -> float:
        """Return the coordinate of ``value``: the inverse of ``from_unit``, up to rounding; with a step, in its bin."""
        value = min(max(float(value), self.low), self.high)
        if self.steps is not None:
            return self.steps.unit_of(self.position(value))
        if self.low == self.high:
            return 0.5
        match self.resolved_scale:
            case "log":
                return _fraction(math.log(self.low), math.log(self.high), math.log(value))
            case "reverse_log":
                return _fraction(math.log1p(-self.low), math.log1p(-self.high), math.log1p(-value))
            case _:
                return _fraction(self.low, self.high, value)

    def checked(self, name: str, value: object) -> float:
        """Return a value of this parameter as a float, or raise InvalidArgument with the parameter's name."""
        number = real_number(name, value)
        if not self.low <= number <= self.high:
            raise refusal(name, value, f"between {self.low:g} and {self.high:g}")
        if self.step is None:
            return number
        nearest = self.value_at(self.position(number))
        if not is_on_step(nearest, number, self.step):
            raise refusal(name, value, f"{self.low:g} plus a multiple of step={self.step:g}", f"{nearest:g} is near.")
        return nearest

    def value_at(self, position: int) -> float:
        """Return the value at a position, from 0; without a step, there is only one."""
        return self.low if self.step is None else real_value(self.low, self.high, self.step, position)

    def position(self, value: float) -> int:
        """Return the position of the value nearest to a number."""
        return 0 if self.steps is None else self.steps.nearest(value)


MAX_INTEGER = 10**300
"""The largest bounds that floats can interpolate; SageMaker's bounds have up to 256 digits."""


def _integer_bound(name: str, value: object) -> int:
    number = whole_number(name, value, cure="Use Continuous for real numbers.")
    if abs(number) > MAX_INTEGER:
        raise refusal(name, number, "a whole number of at most 300 digits")
    return number


@frozen(repr=False)
class Integer(ParameterBase):
    """A whole number between two inclusive bounds.

    Every value x has a bin of the unit interval: bins are equally wide on the linear scale, and span
    ``[x - 1/2, x + 1/2]`` on the log scale, so the bounds are drawn as often as their neighbours suggest.

    Args:
        low: The smallest value.
        high: The largest value.
        scale: ``"linear"``, ``"log"`` (values > 0), or ``"auto"``: ``"log"`` when ``low > 0`` and
            ``high / low >= 1000``, otherwise ``"linear"``.
        step: The distance between values, which are ``low``, ``low + step`` and so on up to ``high``. None is 1, for a
            range; with a step, also 1, ``Grid`` tries every value.
        prior: A value that you believe to be good, as in ``Continuous``.
        confidence: How near it the best value is believed to be, as in ``Continuous``.
        when: A condition, as in ``Continuous``.

    Raises:
        InvalidArgument: A bound is not a whole number, ``low > high``, the scale, the step or the prior does not fit
            the bounds, or ``when`` is no condition.
    """

    low: int = checked(_integer_bound)
    high: int = checked(_integer_bound)
    scale: Scale = checked(choice, allowed=("auto", "linear", "log"), default="auto")
    step: int | None = checked(whole_number, at_least=1, default=None, kw_only=True)
    prior: int | None = checked(whole_number, default=None, kw_only=True)  # type: ignore[misc]  # a field here
    kind: ClassVar[str] = "integer"

    def __attrs_post_init__(self) -> None:
        _check_bounds(self.low, self.high, self.scale)
        if self.step is not None:
            check_step(self.low, self.high, self.step)
        super().__attrs_post_init__()

    @property
    def resolved_scale(self) -> Scale:
        """The scale in effect: what ``"auto"`` resolves to."""
        if self.scale != "auto":
            return self.scale
        return "log" if self.low > 0 and self.high / self.low >= AUTO_LOG_RATIO else "linear"

    @functools.cached_property
    def steps(self) -> Steps | None:
        """Its values as steps, None if it has no step."""
        if self.step is None:
            return None
        return Steps(self.low, self.step, (self.high - self.low) // self.step + 1, self.resolved_scale)

    @property
    def size(self) -> int | None:
        """The number of values."""
        return self.high - self.low + 1 if self.steps is None else self.steps.size

    def from_unit(self, u: float) -> int:
        """Return the value whose bin contains ``u``."""
        if self.steps is not None:
            return self.value_at(self.steps.position_at(u))
        if self.resolved_scale == "log":
            value = round(math.exp(_interpolate(math.log(self.low - 0.5), math.log(self.high + 0.5), u)))
        else:
            value = self.low + math.floor(u * (self.high - self.low + 1))
        return min(max(value, self.low), self.high)

    def to_unit(self, value: int) -> float:
        """Return the centre of the value's bin."""
        value = min(max(int(value), self.low), self.high)
        if self.steps is not None:
            return self.steps.unit_of(self.steps.nearest(value))
        if self.resolved_scale == "log":
            return _fraction(math.log(self.low - 0.5), math.log(self.high + 0.5), math.log(value))
        return (value - self.low + 0.5) / (self.high - self.low + 1)

    def checked(self, name: str, value: object) -> int:
        """Return a value of this parameter as an int, or raise InvalidArgument with the parameter's name."""
        number = whole_number(name, value)
        if not self.low <= number <= self.high:
            raise refusal(name, value, f"a whole number between {self.low} and {self.high}")
        if (number - self.low) % (self.step or 1):
            raise refusal(name, value, f"{self.low} plus a multiple of step={self.step}")
        return number

    def value_at(self, position: int) -> int:
        """Return the value at a position, from 0."""
        return self.low + position * (self.step or 1)

    def position(self, value: int) -> int:
        """Return the position of a value."""
        return (value - self.low) // (self.step or 1)


Parameter: TypeAlias = Continuous | Integer | Categorical | Ordinal
PARAMETERS = (Continuous, Integer, Categorical, Ordinal)


def _interpolate(low: float, high: float, u: float) -> float:
    return low * (1 - u) + high * u  # high - low would overflow for the widest ranges


def _fraction(low: float, high: float, value: float) -> float:
    width = high / 2 - low / 2  # halved against the same overflow
    fraction = (value / 2 - low / 2) / width if width else 0.5
    return min(max(fraction, 0.0), 1.0)


def _check_bounds(low: float, high: float, scale: Scale) -> None:
    if low > high:
        raise InvalidArgument(f"low must be at most high, but got low={low!r} and high={high!r}.")
    if scale == "log" and low <= 0:
        raise InvalidArgument(f"low must be > 0 on a log scale, but got low={low!r}. Use scale='linear'.")
    if scale == "reverse_log" and not (low >= 0 and high < 1):
        raise InvalidArgument(f"reverse_log needs 0 <= low and high < 1, but got low={low!r} and high={high!r}.")
