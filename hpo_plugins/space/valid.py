"""Constraints between parameters: ``Tuner(valid="a < b")``."""

from __future__ import annotations

import pickle
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from hpo_plugins._validation import refusal
from hpo_plugins.errors import InvalidArgument, nearest_name
from hpo_plugins.space.expression import are_equal, parse
from hpo_plugins.space.parameters import Parameter
from hpo_plugins.space.values import Params, Value


class Valid(ABC):
    """Decides which configurations of a space are valid."""

    @abstractmethod
    def accepts(self, params: Mapping[str, Value]) -> bool:
        """Return whether a configuration is valid.

        Raises:
            InvalidArgument: The constraint cannot be computed; the message contains the configuration.
        """

    @property
    def is_known(self) -> bool:
        """Whether it can be computed: a function that was not given again cannot."""
        return True

    @abstractmethod
    def check_names(self, parameters: Mapping[str, Parameter], fixed: Mapping[str, Value]) -> None:
        """Raise InvalidArgument if it names what a space does not have.

        Args:
            parameters: The parameters of the space.
            fixed: Its fixed values.
        """


class Expression(Valid):
    """A constraint as text, which is stored with the study; see ``space.expression`` for its language.

    The conditions that ``and`` joins count one by one. One that names an inactive parameter counts as met.

    Args:
        text: The expression.

    Raises:
        InvalidArgument: It is no expression of the language.
    """

    def __init__(self, text: str) -> None:
        """Parse the text."""
        self.text = text
        self._parts = parse(text)

    def accepts(self, params: Mapping[str, Value]) -> bool:
        """Return whether a configuration is valid."""
        try:
            return all(part.holds(params) for part in self._parts if part.names <= params.keys())
        except (TypeError, ArithmeticError, RecursionError) as error:
            raise InvalidArgument(f"valid={self.text!r} cannot be computed for {dict(params)}: {error}.") from error

    def check_names(self, parameters: Mapping[str, Parameter], fixed: Mapping[str, Value]) -> None:
        """Raise InvalidArgument if it names what a space does not have, or a value that a parameter cannot have."""
        known = [*parameters, *fixed]
        for name in sorted(name for part in self._parts for name in part.names):
            if name not in known:
                near = nearest_name(name, known)
                cure = f"Did you mean {near!r}? " if near else ""
                raise InvalidArgument(
                    f"valid={self.text!r} names {name!r}, but the space has {', '.join(map(repr, known))}. {cure}"
                    "A name that is no word of Python needs a function: valid=lambda p: p['learning-rate'] < 1."
                )
        for name, constant in (pair for part in self._parts for pair in part.equalities):
            values = getattr(parameters.get(name), "values", None)
            if values is not None and not any(are_equal(value, constant) for value in values):
                raise InvalidArgument(
                    f"valid={self.text!r} compares {name!r} with {constant!r}, but it has the values {list(values)}."
                )

    def __eq__(self, other: object) -> bool:
        """Return whether the other constraint has the same text."""
        return isinstance(other, Expression) and self.text == other.text

    def __hash__(self) -> int:
        """Return the hash of the text."""
        return hash(self.text)

    def __repr__(self) -> str:
        """Show the text."""
        return repr(self.text)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the text."""
        return Expression, (self.text,)


class Function(Valid):
    """A constraint as a function of the user's code, which is never stored.

    Args:
        function: From a configuration to whether it is valid. None if the study was made with one that this process
            was not given.
    """

    def __init__(self, function: Callable[[Params], object] | None) -> None:
        """Keep the function."""
        self.function = function

    @property
    def is_known(self) -> bool:
        """Whether the function was given to this process."""
        return self.function is not None

    def accepts(self, params: Mapping[str, Value]) -> bool:
        """Return whether a configuration is valid."""
        if self.function is None:
            raise InvalidArgument(
                "valid must be given again, since the study was made with a function, which is not stored: "
                "Tuner(..., valid=function), or Tuner.load(..., valid=function)."
            )
        try:
            found = self.function(dict(params))
        except Exception as error:
            raise InvalidArgument(
                f"valid must return True or False, but it raised {type(error).__name__}: {error} for {dict(params)}. "
                "Inactive parameters are not in the configuration."
            ) from error
        if not isinstance(found, bool | np.bool_):
            raise InvalidArgument(f"valid must return True or False, but it returned {found!r} for {dict(params)}.")
        return bool(found)

    def check_names(self, parameters: Mapping[str, Parameter], fixed: Mapping[str, Value]) -> None:
        """Accept any names: the function gets the configuration."""

    def check_pickles(self) -> None:
        """Raise InvalidArgument if other processes cannot import the function."""
        try:
            pickle.dumps(self.function)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise InvalidArgument(
                f"valid must be an expression, or a function that other processes can import, but got "
                f"valid={self.function!r}: {error}. Define it at module level."
            ) from error

    def __eq__(self, other: object) -> bool:
        """Return whether the other constraint is the same function."""
        return isinstance(other, Function) and self.function is other.function

    def __hash__(self) -> int:
        """Return a hash of the function's identity."""
        return hash(id(self.function))

    def __repr__(self) -> str:
        """Show the function."""
        return "a function" if self.function is None else repr(self.function)


def constraint(valid: object) -> Valid | None:
    """Return the argument ``valid`` as a constraint.

    Raises:
        InvalidArgument: It is neither an expression, nor a function, nor None.
    """
    if valid is None or isinstance(valid, Valid):
        return valid
    if isinstance(valid, str):
        return Expression(valid)
    if not callable(valid) or isinstance(valid, type):
        raise refusal("valid", valid, 'an expression, such as "a < b", or a function of the configuration')
    return Function(valid)
