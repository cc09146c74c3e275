"""Checks of arguments: one function per rule, each of which returns the value in a plain Python type.

Every message has the form ``<name> must be <rule>, but got <name>=<value>. <cure>``.
"""

from __future__ import annotations

import operator
import os
import re
import sys
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from hpo_plugins.errors import InvalidArgument

T = TypeVar("T")
MAX_FILE_NAME = 255
"""Bytes of a file's name on all common file systems."""


def whole_number(
    name: str, value: object, *, at_least: int | None = None, at_most: int | None = None, cure: str = ""
) -> int:
    """Return ``value`` as an int; integers of numpy and of other libraries count, booleans do not.

    Raises:
        InvalidArgument: It is not a whole number, is below ``at_least`` or above ``at_most``.
    """
    number = None if isinstance(value, bool | np.bool_) else _index(value)
    if number is None or (at_least is not None and number < at_least):
        rule = "a whole number" if at_least is None else f"a whole number of at least {at_least}"
        raise refusal(name, value, rule, cure)
    if at_most is not None and number > at_most:
        raise refusal(name, value, f"a whole number of at most {at_most}", cure)
    return number


def real_number(
    name: str, value: object, *, at_least: float | None = None, above: float | None = None, unit: str = ""
) -> float:
    """Return ``value`` as a float; numbers of numpy count, booleans do not.

    Raises:
        InvalidArgument: It is not a finite number, is below ``at_least``, or is not above ``above``.
    """
    plain = value.item() if isinstance(value, np.generic) else value
    if isinstance(plain, bool) or not isinstance(plain, int | float) or not abs(plain) <= sys.float_info.max:
        raise refusal(name, value, "a finite number")
    if at_least is not None and plain < at_least:
        raise refusal(name, value, f"at least {at_least:g}{unit}")
    if above is not None and plain <= above:
        raise refusal(name, value, f"> {above:g}{unit}")
    return float(plain)


def boolean(name: str, value: object) -> bool:
    """Return ``value``, a bool.

    Raises:
        InvalidArgument: It is anything else.
    """
    if not isinstance(value, bool):
        raise refusal(name, value, "True or False")
    return value


def choice(name: str, value: T, allowed: Sequence[T]) -> T:
    """Return ``value``, one of the strings ``allowed``.

    Raises:
        InvalidArgument: It is none of them.
    """
    if not isinstance(value, str) or value not in allowed:
        *most, last = map(repr, allowed)
        raise refusal(name, value, f"{', '.join(most)} or {last}")
    return value


def non_empty_string(name: str, value: object) -> str:
    """Return ``value``, a string with at least one character.

    Raises:
        InvalidArgument: It is anything else.
    """
    if not isinstance(value, str) or not value:
        raise refusal(name, value, "a non-empty string")
    if not is_text(value):
        raise refusal(name, value, "text that can be stored, without lone surrogates")
    return value


def is_text(value: str) -> bool:
    """Return whether a string can be stored: it has no surrogate without its pair."""
    return value.isascii() or not any("\ud800" <= character <= "\udfff" for character in value)


def path_like(name: str, value: object) -> str:
    """Return ``value``, a path, as a string; ``~`` at its start is the user's home.

    Raises:
        InvalidArgument: It is not a string or a path object, contains NUL or a surrogate that stands for no byte, or a
            part of it is longer than file systems allow.
    """
    text = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(text, str) or not text or "\0" in text:
        raise refusal(name, value, "a path: a non-empty string or a pathlib.Path")
    try:
        longest = max(map(len, re.split(rb"[/\\]", os.fsencode(text))))
    except UnicodeEncodeError as error:
        raise refusal(name, value, "a path that can be encoded, without lone surrogates") from error
    if longest > MAX_FILE_NAME:
        raise refusal(name, value, f"a path whose parts have at most {MAX_FILE_NAME} bytes each")
    return os.path.expanduser(text)  # noqa: PTH111 - as a string, which keeps links


def refusal(name: str, value: object, rule: str, cure: str = "") -> InvalidArgument:
    """Return the error that an argument must be ``rule``."""
    return InvalidArgument(f"{name} must be {rule}, but got {name}={value!r}. {cure}".rstrip())


def _index(value: object) -> int | None:
    try:
        return operator.index(value)  # type: ignore[arg-type]  # what has no __index__ raises
    except TypeError:
        return None
