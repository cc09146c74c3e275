"""What all kinds of parameters have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

from hpo_plugins.space.values import Condition
from hpo_plugins.space.when import When


@dataclass(frozen=True, repr=False)
class ParameterBase:
    """A parameter: the condition under which it is active, and its JSON form."""

    when: Condition | None = field(default=None, kw_only=True)
    kind: ClassVar[str]

    @property
    def condition(self) -> When | None:
        """The condition under which the parameter is active, None if it always is."""
        return self.when if isinstance(self.when, When) else None

    def _keep_condition(self) -> None:
        if self.when is not None and not isinstance(self.when, When):
            object.__setattr__(self, "when", When(self.when))

    def __repr__(self) -> str:
        """Show the arguments; the condition only if there is one."""
        shown = [f.name for f in fields(self) if f.name != "when"] + ["when"] * (self.when is not None)
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in shown)})"

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form that ``parameter_from_json`` reads."""
        condition = {} if self.condition is None else {"when": self.condition.to_json()}
        return {"kind": self.kind, **self._range_to_json(), **condition}

    def _range_to_json(self) -> Mapping[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "when"}
