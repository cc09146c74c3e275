"""Classes of immutable values: each field is declared once, with its type, its default and the rule that it obeys.

A ``frozen()`` class is an attrs class that type checkers see as its annotations are written::

    @frozen()
    class NotImproving(Criterion):
        trials: int = checked(whole_number, at_least=1)
        min_delta: float = checked(real_number, at_least=0, default=0.01)

The fields are the arguments of ``__init__``, and the JSON form in a stored study (``study.stored``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, dataclass_transform

import attrs

T = TypeVar("T")


def checked(rule: Callable[..., Any], *, default: Any = attrs.NOTHING, kw_only: bool = False, **limits: Any) -> Any:
    """Return a field whose value passes through a rule; None passes if it is the default.

    Args:
        rule: A function of the field's name and value, such as those in ``_validation``. It returns the value to keep
            or raises InvalidArgument.
        default: The default.
        kw_only: Whether the argument can be given by its name only.
        limits: Further arguments of the rule.
    """

    def convert(value: Any, field: attrs.Attribute[Any]) -> Any:
        return None if value is None and default is None else rule(field.name, value, **limits)

    return attrs.field(converter=attrs.Converter(convert, takes_field=True), default=default, kw_only=kw_only)


@dataclass_transform(frozen_default=True, field_specifiers=(checked, attrs.field))
def frozen(*, repr: bool = True, eq: bool = True) -> Callable[[type[T]], type[T]]:
    """Return the decorator of a class of immutable values.

    Args:
        repr: False keeps the ``__repr__`` of the base class.
        eq: False keeps its ``__eq__`` and ``__hash__``.
    """

    def decorate(cls: type[T]) -> type[T]:
        made = attrs.frozen(slots=False, repr=repr, eq=eq, field_transformer=_keywords_last)(cls)
        # The annotations as they are written: attrs takes those of the converters.
        vars(made)["__init__"].__annotations__ |= {field.alias: field.type for field in fields(made)}
        return made

    return decorate


def fields(cls: type[Any]) -> tuple[attrs.Attribute[Any], ...]:
    """Return the fields of a class in the order of its arguments."""
    found: tuple[attrs.Attribute[Any], ...] = attrs.fields(cls)
    return found


def evolve(value: T, **changes: Any) -> T:
    """Return a copy with other values of some fields, which their rules check."""
    return attrs.evolve(value, **changes)  # type: ignore[misc]  # an attrs class, which mypy cannot see


def _keywords_last(_: type, found: list[attrs.Attribute[Any]]) -> list[attrs.Attribute[Any]]:
    return sorted(found, key=lambda field: bool(field.kw_only))
