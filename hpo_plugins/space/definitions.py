"""Several training definitions in one study: each has its own algorithm, space and metric name.

Together they form one space, the disjoint union of their spaces. A configuration of it names the definition that it
belongs to, and has that definition's parameters under qualified names: ``{"definition": "forest", "forest.depth": 3}``.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpo_plugins.errors import InvalidArgument
from hpo_plugins.objective import Objective, objective_from_json
from hpo_plugins.space.parameters import Categorical, FloatArray, Parameter, Params, Value
from hpo_plugins.space.space import Space

_TAG = "definition"


@dataclass(frozen=True)
class TrainingDefinition:
    """One algorithm of the study: its search space, and the metric by which its trials are judged.

    Raises:
        InvalidArgument: The name is empty or contains a dot.
    """

    name: str
    space: Space
    objective: Objective

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name or "." in self.name:
            raise InvalidArgument(f"name must be a non-empty string without dots, but got name={self.name!r}.")

    def qualify(self, params: Mapping[str, Value]) -> Params:
        """Return the configuration of the union that stands for ``params`` in this definition."""
        return {_TAG: self.name} | {f"{self.name}.{name}": value for name, value in params.items()}

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form that ``space_from_json`` reads."""
        return {"name": self.name, "space": self.space.to_json(), "objective": self.objective.to_json()}


class DefinitionSpace(Space):
    """The union of the spaces of several definitions.

    Its unit cube has one coordinate for the definition and one for each parameter of every definition; the
    coordinates of the other definitions are 1/2.

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
            parameters |= {f"{definition.name}.{name}": parameter for name, parameter in definition.space.items()}
        super().__init__(parameters)

    def __reduce__(self) -> tuple[Any, ...]:
        """Rebuild the union: hashes of strings differ between processes."""
        return DefinitionSpace, (list(self.definitions.values()),)

    @functools.cached_property
    def size(self) -> int | None:
        """The number of configurations of all definitions, None if infinite."""
        sizes = [definition.space.size for definition in self.definitions.values()]
        return None if None in sizes else sum(size for size in sizes if size is not None)

    def definition_of(self, configuration: Mapping[str, Value]) -> str | None:
        """Return the name of the configuration's definition."""
        return str(configuration[_TAG])

    def checked(self, configuration: Mapping[str, Any]) -> Params:
        """Return a configuration with plain values, or raise InvalidArgument with the parameter's name."""
        name = configuration.get(_TAG)
        if not isinstance(name, str) or name not in self.definitions:
            raise InvalidArgument(f"{_TAG} must be one of {list(self.definitions)}, but got {name!r}.")
        definition = self.definitions[name]
        return definition.qualify(definition.space.checked(self.params_of(configuration)))

    def params_of(self, configuration: Mapping[str, Value]) -> Params:
        """Return the parameters under their unqualified names, in a new dict."""
        prefix = f"{configuration[_TAG]}."
        return {key.removeprefix(prefix): value for key, value in configuration.items() if key != _TAG}

    def encode(self, params: Mapping[str, Any]) -> FloatArray:
        """Return the point of a configuration, shape ``(d,)``."""
        units = [parameter.to_unit(params[name]) if name in params else 0.5 for name, parameter in self.items()]
        return np.array(units, dtype=np.float64)

    def decode(self, point: Sequence[float] | FloatArray) -> Params:
        """Return the configuration at a point; the first coordinate selects the definition."""
        units = dict(zip(self, point, strict=True))
        definition = self.definitions[str(self[_TAG].from_unit(float(units[_TAG])))]
        return definition.qualify(definition.space.decode([units[f"{definition.name}.{n}"] for n in definition.space]))

    def at_index(self, index: int) -> Params:
        """Return configuration ``index`` of a finite union, one definition after another.

        Raises:
            InvalidArgument: There are not that many configurations.
        """
        for definition in self.definitions.values():
            size = definition.space.size
            if size is None or index < size:
                return definition.qualify(definition.space.at_index(index))
            index -= size
        raise InvalidArgument(f"index must be below {self.size}, the number of configurations.")

    def to_json(self) -> Any:
        """Return the JSON form that ``space_from_json`` reads: a list, whereas a single space is a dict."""
        return [definition.to_json() for definition in self.definitions.values()]


def space_from_json(data: Any) -> Space:
    """Return the space or the union of spaces that ``to_json`` described."""
    if isinstance(data, Mapping):
        return Space.from_json(data)
    return DefinitionSpace(
        [TrainingDefinition(d["name"], Space.from_json(d["space"]), objective_from_json(d["objective"])) for d in data]
    )
