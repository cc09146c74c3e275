"""The search space: named parameters, and the mapping between configurations and points of the unit cube.

Notation
    d    number of parameters; a configuration is a point of the unit cube, shape ``(d,)``
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from hpo_plugins._validation import non_empty_string, refusal
from hpo_plugins.errors import InvalidArgument
from hpo_plugins.space.belief import Belief, check_beliefs
from hpo_plugins.space.conditions import Conditions
from hpo_plugins.space.parameters import PARAMETERS, Parameter
from hpo_plugins.space.valid import Valid
from hpo_plugins.space.valid_configurations import ValidConfigurations, random_points
from hpo_plugins.space.values import FloatArray, Params, Value, typed


class Space(Mapping[str, Parameter]):
    """A named, ordered set of parameters.

    Args:
        parameters: Name to parameter; the order is kept and is the order of the unit cube's coordinates.
        fixed: Name to value of constants in every configuration. Strategies do not see them.
        valid: The constraint that every configuration of it meets; None for no constraint.

    Raises:
        InvalidArgument: The mapping is empty, a name is not a string or is also fixed, a value is not a parameter, a
            condition cannot be used, or the constraint names what is not there or accepts too little.

    Attributes:
        fixed: As given.
        valid: As given.
        conditions: Which parameters are active in which configurations.
    """

    def __init__(
        self,
        parameters: Mapping[str, Parameter],
        fixed: Mapping[str, Value] | None = None,
        valid: Valid | None = None,
    ) -> None:
        """Check names and parameters."""
        if not isinstance(parameters, Mapping) or not parameters:
            raise InvalidArgument(f"space must map at least one name to a parameter, but got space={parameters!r}.")
        for name, parameter in parameters.items():
            if not isinstance(name, str) or not name:
                raise InvalidArgument(f"space must have non-empty strings as names, but got {name!r}.")
            non_empty_string("a parameter's name", name)
            if not isinstance(parameter, PARAMETERS):
                raise InvalidArgument(
                    f"space[{name!r}] must be Continuous, Integer, Ordinal or Categorical, but got {parameter!r}. "
                    + (
                        "Write hpo.Categorical([...]) to choose among values, hpo.Ordinal([...]) if they have an "
                        "order, or hpo.Continuous(low, high) for a range."
                        if isinstance(parameter, list | tuple)
                        else "A value that is not tuned stays in your own code."
                    )
                )
        self._parameters = dict(parameters)
        self.conditions = Conditions(self._parameters)
        check_beliefs(self._parameters)
        self.fixed: Params = dict(fixed or {})
        for name in self.fixed:
            if name in self._parameters:
                raise InvalidArgument(f"{name!r} must be tuned or fixed, but got both: {self[name]!r} and a value.")
        # JSON tells True, 1 and 1.0 apart, which Python's == does not.
        self._identity = (type(self), tuple(self._parameters.items()), json.dumps(self.fixed), valid)
        self._hash = hash(self._identity)
        self.valid = valid
        self._valid_ones: ValidConfigurations | None = None
        if valid is not None:
            valid.check_names(self._parameters, self.fixed)
            self._valid_ones = ValidConfigurations(self._parameters, self.conditions, self.fixed, valid)
            self._valid_ones.check()

    def __eq__(self, other: object) -> bool:
        """Return whether the other space has the same parameters in the same order, fixed values and constraint."""
        if not isinstance(other, Space):
            return super().__eq__(other)
        return self is other or self._identity == other._identity

    def __hash__(self) -> int:
        """Return the hash of what ``==`` compares; it is computed once, since caches are keyed by spaces."""
        return self._hash

    def __reduce__(self) -> tuple[Any, ...]:
        """Rebuild the space: hashes of strings differ between processes."""
        return Space, (self._parameters, self.fixed, self.valid)

    def __getitem__(self, name: str) -> Parameter:
        """Return the parameter of that name."""
        return self._parameters[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names in their order."""
        return iter(self._parameters)

    def __len__(self) -> int:
        """Return the number of parameters, d."""
        return len(self._parameters)

    def __repr__(self) -> str:
        """Show the parameters."""
        return f"Space({self._parameters!r}{'' if self.valid is None else f', valid={self.valid!r}'})"

    @property
    def size(self) -> int | None:
        """The number of configurations, None if infinite, or not known because of a constraint."""
        return self.conditions.size if self._valid_ones is None else self._valid_ones.size

    @functools.cached_property
    def belief(self) -> Belief:
        """What is believed about good configurations: the ``prior`` of its parameters."""
        return Belief(self._parameters)

    @functools.cached_property
    def mode(self) -> Params:
        """The most likely configuration; parameters without a belief have the value in their middle."""
        units = dict(zip(self, self.belief.mode, strict=True))

        def value_of(name: str) -> Value:
            prior: Any = self[name].prior
            return self[name].from_unit(float(units[name])) if prior is None or isinstance(prior, tuple) else prior

        return self.conditions.decode(value_of) | self.fixed

    @functools.cached_property
    def without_belief(self) -> Space:
        """The same configurations with no ``prior``; itself if no parameter has one."""
        if not self.belief:
            return self
        plain = {name: parameter.without_belief() for name, parameter in self.items()}
        return Space(plain, self.fixed, self.valid)

    def constrained(self, valid: Valid | None) -> Space:
        """Return the same space with a constraint, or with another one."""
        return self if valid == self.valid else Space(self._parameters, self.fixed, valid)

    def accepts(self, params: Mapping[str, Value]) -> bool:
        """Return whether a configuration meets the constraint.

        Raises:
            InvalidArgument: The constraint cannot be computed for it.
        """
        return self.valid is None or self.valid.accepts(params)

    def decode(self, point: Sequence[float] | FloatArray) -> Params:
        """Return the configuration at a point of the unit cube, shape ``(d,)``."""
        units = dict(zip(self, point, strict=True))
        return self.conditions.decode(lambda name: self[name].from_unit(float(units[name]))) | self.fixed

    def encode(self, params: Mapping[str, Any]) -> FloatArray:
        """Return the point of a configuration, shape ``(d,)``, in the unit cube; inactive parameters are at 0.5."""
        inactive = self.conditions.of.keys() - params.keys()
        units = [0.5 if name in inactive else parameter.to_unit(params[name]) for name, parameter in self.items()]
        return np.array(units, dtype=np.float64)

    def at_index(self, index: int) -> Params:
        """Return configuration ``index`` of a finite space.

        The last parameter varies fastest, but a conditional one faster than those that its condition names.

        Raises:
            InvalidArgument: A parameter is continuous, or there are not that many configurations.
        """
        if self.size is None:
            infinite = [f"{name!r} is continuous" for name, parameter in self.items() if parameter.size is None]
            why = infinite[0] if infinite else f"its {self.conditions.size} combinations are too many for valid="
            raise InvalidArgument(f"space must be finite, but {why}.")
        if not 0 <= index < self.size:
            raise InvalidArgument(f"index must be from 0 to {self.size - 1}, but got index={index}.")
        source = self.conditions if self._valid_ones is None else self._valid_ones
        return source.at_index(index) | self.fixed

    def checked(self, configuration: Mapping[str, Any]) -> Params:
        """Return a configuration with plain values in the order of the space.

        Raises:
            InvalidArgument: It is not one of this space; the message names the parameter.
        """
        given = self.checked_part(configuration)
        for name in self.conditions.order:
            if name not in given and self.conditions.is_active(name, given):
                raise InvalidArgument(f"{name!r} is missing.")
        if missing := [name for name in self.fixed if name not in configuration]:
            raise InvalidArgument(f"{missing[0]!r} is missing.")
        return given | {name: configuration[name] for name in self.fixed}

    def checked_part(self, values: Mapping[str, Any]) -> Params:
        """Return some values of a configuration as plain values, in the order of the space, without fixed ones.

        Raises:
            InvalidArgument: No configuration of this space has them; the message names the parameter.
        """
        for name in values:
            if name not in self._parameters and name not in self.fixed:
                raise InvalidArgument(f"{name!r} is not in the space, which has {', '.join(map(repr, self))}.")
            if name in self.fixed and typed(values[name]) != typed(self.fixed[name]):
                raise refusal(name, values[name], f"{self.fixed[name]!r}, its fixed value")
        given = {name: parameter.checked(name, values[name]) for name, parameter in self.items() if name in values}
        for name in given.keys() & self.conditions.of.keys():
            for parent in self.conditions.of[name]:
                if parent in given and not self.conditions.of[name].accepts(parent, given[parent]):
                    raise InvalidArgument(f"{name!r} is inactive while {parent!r} is {given[parent]!r}.")
        for name, allowed in self.conditions.required(list(given)).items():  # a condition needs a missing one
            if name in given and typed(given[name]) not in map(typed, allowed):
                raise InvalidArgument(
                    f"{', '.join(map(repr, given))} cannot be active at once: {name!r} is {given[name]!r}."
                )
        return given

    def is_complete(self, given: Mapping[str, Value]) -> bool:
        """Return whether values from ``checked_part`` form a complete configuration, fixed values aside."""
        return all(name in given or not self.conditions.is_active(name, given) for name in self)

    def complete(self, given: Mapping[str, Value], point: FloatArray) -> Params:
        """Return a configuration that has the given values, and otherwise those at a point where that is possible.

        Args:
            given: Values as ``checked_part`` returns them.
            point: Shape ``(d,)``.
        """
        required = self.conditions.required(list(given))
        units = dict(zip(self, point, strict=True))

        def value_of(name: str) -> Value:
            if name in given:
                return given[name]
            value, u = self[name].from_unit(float(units[name])), float(units[name])
            allowed = required.get(name)
            if allowed is None or typed(value) in map(typed, allowed):
                return value
            return allowed[min(int(u * len(allowed)), len(allowed) - 1)]

        return self.conditions.decode(value_of) | self.fixed

    def can_complete(self, given: Mapping[str, Value]) -> bool:
        """Return whether values from ``checked_part`` are part of a valid configuration that random draws find."""
        if self.valid is None:
            return True
        points = [np.full(len(self), 0.5)] if self.is_complete(given) else random_points(len(self))
        return any(self.accepts(self.complete(given, point)) for point in points)

    def params_of(self, configuration: Mapping[str, Value]) -> Params:
        """Return the parameters that a training run receives, in a new dict."""
        return dict(configuration)

    def definition_of(self, configuration: Mapping[str, Value]) -> str | None:  # noqa: ARG002
        """Return the name of the training definition that a configuration belongs to, None if there is only one."""
        return None

    @staticmethod
    def key(params: Mapping[str, Value]) -> str:
        """Return a string that is equal only for equal configurations, including their types."""
        return json.dumps(params, sort_keys=True)
