"""The condition of a parameter: ``when={"optimizer": "sgd"}``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from hpo_plugins.errors import InvalidArgument
from hpo_plugins.space.values import Condition, Value, typed


class When(Mapping[str, tuple[Value, ...]]):
    """A condition: each named parameter must have one of its values. It is immutable and hashable.

    Args:
        condition: Parameter's name to a value or a list of values.

    Raises:
        InvalidArgument: It is not a mapping of that kind, or names nothing.
    """

    def __init__(self, condition: Condition) -> None:
        """Check the condition."""
        if not isinstance(condition, Mapping) or not condition:
            raise InvalidArgument(
                "when must map the name of another parameter to a value or a list of values, such as "
                f"{{'optimizer': 'sgd'}}, but got when={condition!r}."
            )
        self._values = {name: _values(name, given) for name, given in condition.items()}
        self._accepted = {name: frozenset(map(typed, values)) for name, values in self._values.items()}

    def accepts(self, name: str, value: object) -> bool:
        """Return whether a value of one of the named parameters satisfies the condition."""
        return typed(value) in self._accepted[name]

    def __getitem__(self, name: str) -> tuple[Value, ...]:
        """Return the values that a named parameter may have."""
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the named parameters."""
        return iter(self._values)

    def __len__(self) -> int:
        """Return how many parameters are named."""
        return len(self._values)

    def __eq__(self, other: object) -> bool:
        """Return whether the other condition has the same names and values, of the same types."""
        return isinstance(other, When) and self._accepted == other._accepted

    def __hash__(self) -> int:
        """Return the hash of what ``==`` compares."""
        return hash(frozenset(self._accepted.items()))

    def __repr__(self) -> str:
        """Show it as it can be written."""
        return repr({name: list(values) for name, values in self._values.items()})


def condition(_: str, value: Condition) -> When:
    """Return the argument ``when`` as a condition, or raise InvalidArgument."""
    return value if isinstance(value, When) else When(value)


def _values(name: object, given: object) -> tuple[Value, ...]:
    if not isinstance(name, str):
        raise InvalidArgument(f"when must have names of parameters as keys, but got {name!r}.")
    listed = list(given) if isinstance(given, list | tuple | set | frozenset | np.ndarray) else [given]
    plain: list[Any] = [value.item() if isinstance(value, np.generic) else value for value in listed]
    for value in plain:
        if value is not None and not isinstance(value, str | int | float):
            raise InvalidArgument(f"when[{name!r}] must be a value or a list of values, but got {given!r}.")
    if not plain or len(set(map(typed, plain))) < len(plain):
        raise InvalidArgument(f"when[{name!r}] must have at least one value and none twice, but got {given!r}.")
    return tuple(plain)
