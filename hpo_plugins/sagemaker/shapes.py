"""Shapes of JSON values, and errors that name the path of what does not have its shape.

A shape's ``check`` returns a copy in plain types (dict, list, str, int, float, bool), so that what was checked is what
is used and stored.
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from hpo_plugins.errors import InvalidArgument, nearest_name

_SHOWN = 200  # characters of a wrong value that an error repeats


class Shape(ABC):
    """What a value must be."""

    @abstractmethod
    def check(self, value: object, path: str) -> Any:
        """Return a plain copy of ``value``, or raise InvalidArgument, naming ``path``, when it has another shape."""


@dataclass(frozen=True)
class Text(Shape):
    """A string of ``least`` to ``most`` characters, all of which match the pattern."""

    least: int
    most: int
    pattern: str = ".*"

    def check(self, value: object, path: str) -> str:
        """Check type, length and pattern."""
        if not isinstance(value, str):
            raise refusal(path, "a string", value, f'Write it as "{value}".' if type(value) in (int, float) else "")
        if not self.least <= len(value) <= self.most:
            raise refusal(path, f"a string of {self.least} to {self.most} characters", value, f"It has {len(value)}.")
        if re.fullmatch(self.pattern, value, re.ASCII) is None:
            raise refusal(path, f"a string that matches {self.pattern}", value)
        return str(value)


@dataclass(frozen=True)
class Choice(Shape):
    """One of a few strings."""

    values: tuple[str, ...]

    def check(self, value: object, path: str) -> str:
        """Check that it is one of them."""
        if value not in self.values or not isinstance(value, str):
            near = nearest_name(value, self.values) if isinstance(value, str) else None
            raise refusal(path, "one of " + ", ".join(self.values), value, f"Did you mean {near!r}?" if near else "")
        return str(value)


@dataclass(frozen=True)
class Whole(Shape):
    """A whole number."""

    least: int | None = None
    most: int | None = None

    def check(self, value: object, path: str) -> int:
        """Check type and range."""
        low = "" if self.least is None else f" of at least {self.least}"
        high = "" if self.most is None else f"{' and' if low else ' of'} at most {self.most}"
        if (
            not isinstance(value, int)
            or isinstance(value, bool)
            or (self.least is not None and value < self.least)
            or (self.most is not None and value > self.most)
        ):
            raise refusal(path, f"a whole number{low}{high}", value)
        return int(value)


@dataclass(frozen=True)
class Real(Shape):
    """A finite number."""

    def check(self, value: object, path: str) -> float | int:
        """Check type and finiteness."""
        if isinstance(value, bool) or not isinstance(value, int | float) or not _is_finite(value):
            raise refusal(path, "a finite number", value)
        return value


@dataclass(frozen=True)
class Flag(Shape):
    """True or False."""

    def check(self, value: object, path: str) -> bool:
        """Check the type."""
        if not isinstance(value, bool):
            raise refusal(path, "True or False", value)
        return value


@dataclass(frozen=True)
class Listing(Shape):
    """A list of ``least`` to ``most`` members of one shape."""

    member: Shape
    least: int
    most: int

    def check(self, value: object, path: str) -> list[Any]:
        """Check the number of members, and each."""
        if not isinstance(value, list | tuple):
            raise refusal(path, "a list", value)
        if not self.least <= len(value) <= self.most:
            raise InvalidArgument(f"{path} must have {self.least} to {self.most} members, but has {len(value)}.")
        return [self.member.check(member, f"{path}[{index}]") for index, member in enumerate(value)]


@dataclass(frozen=True)
class Table(Shape):
    """At most ``most`` keys of one shape, whose values have another."""

    key: Text
    value: Shape
    most: int

    def check(self, value: object, path: str) -> dict[str, Any]:
        """Check the number of keys, each key and its value."""
        if not isinstance(value, Mapping):
            raise refusal(path, "a dict", value)
        if len(value) > self.most:
            raise InvalidArgument(f"{path} must have at most {self.most} keys, but has {len(value)}.")
        return {
            self.key.check(key, f"{path}, the key {key!r},"): self.value.check(member, join(path, key))
            for key, member in value.items()
        }


@dataclass(frozen=True)
class Structure(Shape):
    """Named members, some of which must be there."""

    required: Mapping[str, Shape] = field(default_factory=dict)
    optional: Mapping[str, Shape] = field(default_factory=dict)

    @property
    def members(self) -> dict[str, Shape]:
        """All members by name."""
        return {**self.required, **self.optional}

    def check(self, value: object, path: str) -> dict[str, Any]:
        """Check that nothing is missing or unknown, and each member."""
        if not isinstance(value, Mapping):
            raise refusal(path or "request", "a dict", value)
        for name in value:
            if name not in self.members:
                near = nearest_name(name, self.members) if isinstance(name, str) else None
                cure = f"Did you mean {near!r}? " if near else ""
                raise InvalidArgument(
                    f"{join(path, name)} is not known. {cure}{path or 'A request'} has {', '.join(self.members)}."
                )
        for name in self.required:
            if name not in value:
                raise InvalidArgument(f"{join(path, name)} must be given, but is missing.")
        return {name: self.members[name].check(member, join(path, name)) for name, member in value.items()}


@dataclass(frozen=True)
class Node:
    """A part of a checked request, which knows its path."""

    value: Any
    path: str

    def __contains__(self, name: str) -> bool:
        """Return whether the part has a member of that name."""
        return name in self.value

    def __getitem__(self, name: str) -> Node:
        """Return a member that is there."""
        return Node(self.value[name], join(self.path, name))

    def get(self, *names: str) -> Node | None:
        """Return the member at the end of a chain of names, None where one of them is missing."""
        node = self
        for name in names:
            if name not in node:
                return None
            node = node[name]
        return node

    def members(self, name: str) -> Iterator[Node]:
        """Yield the members of a list of that name, none when it is missing."""
        for index, value in enumerate(self.value.get(name, ())):
            yield Node(value, f"{join(self.path, name)}[{index}]")

    def refusal(self, rule: str, cure: str = "") -> InvalidArgument:
        """Return the error that this part breaks a rule: "must be ..."."""
        return refusal(self.path, rule, self.value, cure)


def refusal(path: str, rule: str, value: object, cure: str = "") -> InvalidArgument:
    """Return the error that what is at ``path`` must be ``rule``."""
    shown = repr(value)
    shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."
    return InvalidArgument(f"{path} must be {rule}, but got {shown}. {cure}".rstrip())


def join(path: str, name: object) -> str:
    """Return the path of a member, in brackets where the name is no plain word."""
    if not isinstance(name, str) or re.fullmatch(r"\w+", name) is None:
        return f"{path}[{name!r}]"
    return f"{path}.{name}" if path else name


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an int beyond any float
        return False
