"""Several training definitions in one study: each has its own algorithm, space and metric name.

Together they form one space, the disjoint union of their spaces. A configuration of it names the definition that it
belongs to, and has that definition's parameters under qualified names: ``{"definition": "forest", "forest.depth": 3}``.
Its parameters are conditional on the definition.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hpo_plugins._fields import checked, evolve, frozen
from hpo_plugins._validation import refusal
from hpo_plugins.errors import InvalidArgument
from hpo_plugins.objective import Objective
from hpo_plugins.space.categorical import Categorical
from hpo_plugins.space.parameters import Parameter
from hpo_plugins.space.space import Space
from hpo_plugins.space.valid import Valid
from hpo_plugins.space.values import Params, Value
from hpo_plugins.space.when import When

_TAG = "definition"


def _without_dots(name: str, value: object) -> str:
    if not isinstance(value, str) or not value or "." in value:
        raise refusal(name, value, "a non-empty string without dots")
    return value


@frozen()
class TrainingDefinition:
    """One algorithm of the study: its search space, and the metric by which its trials are judged.

    Raises:
        InvalidArgument: The name is empty or contains a dot.
    """

    name: str = checked(_without_dots)
    space: Space
    objective: Objective

    def qualify(self, params: Mapping[str, Value]) -> Params:
        """Return the configuration of the union that stands for ``params`` in this definition."""
        return {_TAG: self.name} | {f"{self.name}.{name}": value for name, value in params.items()}

    def qualified(self) -> dict[str, Parameter]:
        """Return the parameters under their qualified names, active in this definition only; fixed ones too."""
        parameters: dict[str, Parameter] = dict(self.space)
        parameters |= {name: Categorical([value]) for name, value in self.space.fixed.items()}
        found: dict[str, Parameter] = {}
        for name, parameter in parameters.items():
            own = {f"{self.name}.{parent}": values for parent, values in (parameter.condition or {}).items()}
            found[f"{self.name}.{name}"] = evolve(parameter, when=When({_TAG: self.name, **own}))
        return found


class DefinitionSpace(Space):
    """The union of the spaces of several definitions.

    Raises:
        InvalidArgument: Two definitions have the same name, or some are minimised and others maximised.
    """

    def __init__(self, definitions: Sequence[TrainingDefinition]) -> None:
        """Check that trials of all definitions can be compared, and build the union."""
        self.definitions = {definition.name: definition for definition in definitions}
        if len(self.definitions) < len(definitions):
            names = [definition.name for definition in definitions]
            raise InvalidArgument(f"definitions must have different names, but got {names}.")
        if len({(type(d.objective), d.objective.at) for d in definitions}) > 1:
            raise InvalidArgument(
                "definitions must all minimise or all maximise, or their trials could not be compared, but got "
                + ", ".join(f"{d.name}: {d.objective!r}" for d in definitions)
                + "."
            )
        parameters: dict[str, Parameter] = {_TAG: Categorical(list(self.definitions))}
        for definition in definitions:
            parameters |= definition.qualified()
        super().__init__(parameters)

    def __reduce__(self) -> tuple[Any, ...]:
        """Rebuild the union: hashes of strings differ between processes."""
        return DefinitionSpace, (list(self.definitions.values()),)

    def constrained(self, valid: Valid | None) -> Space:
        """Return itself.

        Raises:
            InvalidArgument: A constraint is given.
        """
        if valid is not None:
            raise InvalidArgument(
                f"valid must be None in a search with several training definitions, but got valid={valid!r}."
            )
        return self

    def definition_of(self, configuration: Mapping[str, Value]) -> str | None:
        """Return the name of the configuration's definition."""
        return str(configuration[_TAG])

    def params_of(self, configuration: Mapping[str, Value]) -> Params:
        """Return the parameters under their unqualified names, in a new dict."""
        prefix = f"{configuration[_TAG]}."
        return {key.removeprefix(prefix): value for key, value in configuration.items() if key != _TAG}
