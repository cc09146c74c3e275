"""Conditional parameters: ``when={"optimizer": "sgd"}`` makes a parameter part of a configuration only then.

A parameter is *active* in a configuration if each parameter that its condition names is active and has one of the
named values. Inactive parameters are absent from the configuration, so two configurations are never different in
inactive values only.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from hpo_plugins.errors import InvalidArgument
from hpo_plugins.space.parameters import Continuous, Parameter
from hpo_plugins.space.values import Params, Value, typed
from hpo_plugins.space.when import When

_Classes: TypeAlias = dict[str, tuple[bool, ...] | None]
"""Named parameter to which conditions on it its value satisfies; None while it is inactive."""


class Conditions:
    """The conditions of one space.

    Args:
        parameters: Name to parameter, in the order of the space.

    Attributes:
        of: Name to condition, for conditional parameters.
        order: All names, so that parameters come after those that their condition names, and as soon as possible.

    Raises:
        InvalidArgument: A condition names an unknown or a continuous parameter, or a value that it cannot have, can
            never be met, or depends on itself.
    """

    def __init__(self, parameters: Mapping[str, Parameter]) -> None:
        """Check the conditions."""
        self._parameters = parameters
        self.of: dict[str, When] = {
            name: condition for name, p in parameters.items() if (condition := p.condition) is not None
        }
        for name, when in self.of.items():
            _check_condition(name, when, parameters)
        self.order = self._ordered()
        for name in self.of:
            self.required([name])
        self._conditions_on: dict[str, list[tuple[str, When]]] = {}
        for name, when in self.of.items():
            for parent in when:
                self._conditions_on.setdefault(parent, []).append((name, when))
        places = {name: place for place, name in enumerate(self.order)}
        # By place: the parameters before it that decide about one from there on.
        self._deciding = [
            [
                parent
                for parent, conditions in self._conditions_on.items()
                if places[parent] < place and any(places[name] >= place for name, _ in conditions)
            ]
            for place in range(len(self.order) + 1)
        ]
        self._counts: dict[tuple[int, tuple[tuple[bool, ...] | None, ...]], int] = {}

    def _ordered(self) -> tuple[str, ...]:
        order: dict[str, None] = {}

        def place(name: str) -> None:
            order[name] = None
            for other, when in self.of.items():
                if name in when and other not in order and order.keys() >= when.keys():
                    place(other)

        for name in self._parameters:
            if name not in self.of:
                place(name)
        if left := [name for name in self._parameters if name not in order]:
            raise InvalidArgument(
                "when must not go round in a circle, but "
                + ", ".join(f"{name!r} depends on {', '.join(map(repr, self.of[name]))}" for name in left)
                + "."
            )
        return tuple(order)

    def is_active(self, name: str, values: Mapping[str, Any]) -> bool:
        """Return whether a parameter is active.

        Args:
            name: The parameter.
            values: The values of active parameters, of those that its condition names at least.
        """
        when = self.of.get(name)
        return when is None or all(parent in values and when.accepts(parent, values[parent]) for parent in when)

    def decode(self, value_of: Callable[[str], Value]) -> Params:
        """Return the configuration whose active parameters have the values that ``value_of`` returns for them."""
        if not self.of:
            return {name: value_of(name) for name in self.order}
        values: Params = {}
        for name in self.order:
            if self.is_active(name, values):
                values[name] = value_of(name)
        return {name: values[name] for name in self._parameters if name in values}

    def required(self, active: Sequence[str]) -> dict[str, tuple[Value, ...]]:
        """Return the values of other parameters, in order, that some parameters need to be active.

        Args:
            active: The parameters.

        Raises:
            InvalidArgument: They are never active at once.
        """
        needed: dict[str, tuple[Value, ...]] = {}
        waiting, seen = list(active), set(active)
        while waiting:
            name = waiting.pop()
            for parent, values in (self.of.get(name) or {}).items():
                allowed = needed.get(parent, values)
                needed[parent] = tuple(value for value in allowed if self.of[name].accepts(parent, value))
                if not needed[parent]:
                    raise InvalidArgument(
                        f"{' and '.join(map(repr, active))} would never be active: {parent!r} would need two values at "
                        "once."
                    )
                if parent not in seen:
                    seen.add(parent)
                    waiting.append(parent)
        return {name: needed[name] for name in self.order if name in needed}

    # Finite spaces.

    @functools.cached_property
    def size(self) -> int | None:
        """The number of configurations, None if infinite."""
        return None if any(p.size is None for p in self._parameters.values()) else self._count(0, {})

    def at_index(self, index: int) -> Params:
        """Return configuration ``index`` of a finite space: in ``order``, the last parameter varies fastest."""
        classes: _Classes = {}
        positions: dict[str, int] = {}
        for place, name in enumerate(self.order):
            for first, length, satisfied in self._runs(name, classes):
                classes[name] = satisfied
                each = self._count(place + 1, classes)
                if index < length * each:
                    if satisfied is not None:
                        positions[name], index = first + index // each, index % each
                    break
                index -= length * each
        return {
            name: self._parameters[name].value_at(positions[name]) for name in self._parameters if name in positions
        }

    def _count(self, place: int, classes: _Classes) -> int:
        """Return the number of choices for the parameters from a place on, given the earlier ones."""
        factor = 1
        while place < len(self.order) and (name := self.order[place]) not in self._conditions_on:  # it decides nothing
            factor *= self._runs(name, classes)[0][1]
            place += 1
        return factor if place == len(self.order) else factor * self._count_deciding(place, classes)

    def _count_deciding(self, place: int, classes: _Classes) -> int:
        """Return the same from the place of a parameter on that conditions name."""
        key = place, tuple(classes[name] for name in self._deciding[place])
        if key not in self._counts:
            name, total = self.order[place], 0
            for _, length, satisfied in self._runs(name, classes):
                total += length * self._count(place + 1, classes | {name: satisfied})
            self._counts[key] = total
        return self._counts[key]

    def _runs(self, name: str, classes: _Classes) -> list[tuple[int, int, tuple[bool, ...] | None]]:
        """Return the values of a parameter as runs of those that satisfy the same conditions.

        Each is its first position, its length and which conditions it satisfies; there is one run of None if the
        parameter is inactive.
        """
        when = self.of.get(name)
        if when is not None and not all(
            (satisfied := classes[parent]) is not None
            and satisfied[[child for child, _ in self._conditions_on[parent]].index(name)]
            for parent in when
        ):
            return [(0, 1, None)]
        parameter, conditions = self._parameters[name], self._conditions_on.get(name, [])
        size = parameter.size or 1
        named = {value for _, condition in conditions for value in condition[name]}
        ends = sorted({0, size, *(end for value in named for end in _around(parameter, value))})
        return [
            (
                first,
                last - first,
                tuple(condition.accepts(name, parameter.value_at(first)) for _, condition in conditions),
            )
            for first, last in itertools.pairwise(ends)
        ]


def _around(parameter: Parameter, value: Any) -> tuple[int, int]:
    """Return the position of a value and the next one."""
    position = parameter.position(value)
    return position, position + 1


def _check_condition(name: str, when: When, parameters: Mapping[str, Parameter]) -> None:
    for parent, values in when.items():
        given = f"space[{name!r}] has when={when!r}"
        if parent not in parameters:
            raise InvalidArgument(f"{given}, but {parent!r} is not in the space, which has {_listed(parameters)}.")
        named = parameters[parent]
        if isinstance(named, Continuous) and named.step is None:
            raise InvalidArgument(
                f"{given}, but {parent!r} is Continuous. A condition needs Categorical, Ordinal or Integer, or a step=."
            )
        for value in values:
            try:
                own = named.checked(parent, value)
            except InvalidArgument as error:
                raise InvalidArgument(f"{given}, but {error}") from None
            if typed(own) != typed(value):
                raise InvalidArgument(f"{given}, but {parent!r} cannot be {value!r}. Write {own!r}.")


def _listed(names: Mapping[str, object]) -> str:
    return ", ".join(map(repr, names))
