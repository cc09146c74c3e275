"""The base class of parameters."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from hpo_plugins._fields import checked, evolve, fields, frozen
from hpo_plugins._validation import choice
from hpo_plugins.errors import InvalidArgument
from hpo_plugins.space.belief import DEVIATIONS, Around, Factor
from hpo_plugins.space.values import Condition
from hpo_plugins.space.when import When, condition


@frozen(repr=False)
class ParameterBase:
    """A parameter: the condition under which it is active, what is believed about it, and how it is shown."""

    when: Condition | None = checked(condition, default=None, kw_only=True)
    confidence: Literal["low", "medium", "high"] = checked(
        choice, allowed=("low", "medium", "high"), default="medium", kw_only=True
    )
    kind: ClassVar[str]
    prior: ClassVar[Any] = None

    def __attrs_post_init__(self) -> None:
        """Check the believed value once the class has checked its own fields."""
        if self.prior is not None:
            object.__setattr__(self, "prior", self._checked_prior())  # a plain value
        elif self.confidence != "medium":
            raise InvalidArgument(
                f"confidence must come with a prior=, the value that you believe in, but got confidence="
                f"{self.confidence!r} and prior=None."
            )

    def checked(self, name: str, value: object) -> Any:
        """Return a value of this parameter as a plain value."""
        raise NotImplementedError

    def to_unit(self, value: Any) -> float:
        """Return the coordinate of a value."""
        raise NotImplementedError

    def _checked_prior(self) -> Any:
        """Return what was given as ``prior`` as plain values.

        Raises:
            InvalidArgument: It is no value of the parameter.
        """
        return self.checked("prior", self.prior)

    @property
    def condition(self) -> When | None:
        """The condition under which the parameter is active, None if it always is."""
        return self.when if isinstance(self.when, When) else None

    @property
    def belief(self) -> Factor | None:
        """What is believed about it, None without a ``prior``."""
        return None if self.prior is None else Around(self.to_unit(self.prior), DEVIATIONS[self.confidence])

    @property
    def belief_text(self) -> str:
        """What is believed about it, in words; empty without a ``prior``."""
        return "" if self.prior is None else f"near {self.prior!r} ({self.confidence} confidence)"

    def without_belief(self) -> Any:
        """Return the same parameter without its ``prior``."""
        return self if self.prior is None else evolve(self, prior=None, confidence="medium")

    def __repr__(self) -> str:
        """Show the arguments; a keyword-only one, such as the condition, only if it was given."""
        values = [(f, getattr(self, f.name)) for f in fields(type(self))]
        shown = [f"{f.name}={value!r}" for f, value in values if not f.kw_only or value != f.default]
        return f"{type(self).__name__}({', '.join(shown)})"
