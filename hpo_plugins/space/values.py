"""The types of values, and how Python values are told apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Scale: TypeAlias = Literal["auto", "linear", "log", "reverse_log"]
Value: TypeAlias = str | int | float | bool | None
Params: TypeAlias = dict[str, Value]
FloatArray: TypeAlias = NDArray[np.float64]
Condition: TypeAlias = Mapping[str, Value | Sequence[Value]]


def typed(value: object) -> tuple[type, object]:
    """Return a value with its type, since ``True == 1 == 1.0`` in Python."""
    return type(value), value
