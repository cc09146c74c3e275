"""A part of a checked request that knows its JSON path, and the errors that start with that path."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hpo_plugins.errors import InvalidArgument

_MAX_SHOWN = 200  # characters of a wrong value that an error repeats


@dataclass(frozen=True)
class Node:
    """A part of a checked request and its path."""

    value: Any
    path: str

    def __contains__(self, name: str) -> bool:
        """Return whether the part has a member of that name."""
        return name in self.value

    def __getitem__(self, name: str) -> Node:
        """Return a member that exists."""
        return Node(self.value[name], join(self.path, name))

    def get(self, *names: str) -> Node | None:
        """Return the member at the end of a chain of names, or None if one of them is missing."""
        node = self
        for name in names:
            if name not in node:
                return None
            node = node[name]
        return node

    def members(self, name: str) -> Iterator[Node]:
        """Yield the members of the list of that name, or nothing if it is missing."""
        for index, value in enumerate(self.value.get(name, ())):
            yield Node(value, f"{join(self.path, name)}[{index}]")

    def refusal(self, rule: str, cure: str = "") -> InvalidArgument:
        """Return the error that this part must be ``rule``."""
        return refusal(self.path, self.value, rule, cure)


def refusal(path: str, value: object, rule: str, cure: str = "") -> InvalidArgument:
    """Return the error that the value at a path breaks a rule.

    Args:
        path: The JSON path of the value.
        value: The value; only its first 200 characters are shown.
        rule: What the value must be, such as "a string".
        cure: A sentence that says how to correct it.

    Returns:
        The error, to be raised by the caller.
    """
    shown = repr(value)
    shown = shown if len(shown) <= _MAX_SHOWN else f"{shown[:_MAX_SHOWN]}..."
    return InvalidArgument(f"{path} must be {rule}, but got {shown}. {cure}".rstrip())


def join(path: str, name: object) -> str:
    """Return the path of a member, in brackets if its name has other characters than letters, digits and ``_``."""
    if not isinstance(name, str) or re.fullmatch(r"\w+", name) is None:
        return f"{path}[{name!r}]"
    return f"{path}.{name}" if path else name
