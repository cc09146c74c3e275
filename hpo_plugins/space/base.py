"""The base class of parameters."""

from __future__ import annotations

from typing import ClassVar

from hpo_plugins._fields import checked, fields, frozen
from hpo_plugins.space.values import Condition
from hpo_plugins.space.when import When, condition


@frozen(repr=False)
class ParameterBase:
    """A parameter: the condition under which it is active, and how it is shown."""

    when: Condition | None = checked(condition, default=None, kw_only=True)
    kind: ClassVar[str]

    @property
    def condition(self) -> When | None:
        """The condition under which the parameter is active, None if it always is."""
        return self.when if isinstance(self.when, When) else None

    def __repr__(self) -> str:
        """Show the arguments; a keyword-only one, such as the condition, only if it was given."""
        values = [(f, getattr(self, f.name)) for f in fields(type(self))]
        shown = [f"{f.name}={value!r}" for f, value in values if not f.kw_only or value != f.default]
        return f"{type(self).__name__}({', '.join(shown)})"
