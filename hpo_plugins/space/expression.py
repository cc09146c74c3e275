"""The language of constraints: ``a < b and width * batch_size <= 65536``.

It has comparisons (also chains), ``and``, ``or``, ``not``, the four operations on numbers, parentheses, numbers,
strings, True, False, None, and names of parameters. Python's parser reads it, and a function is composed of the few
nodes that are allowed, so a text from a stranger's file runs no code: it has no calls, no attributes, no powers and no
repetition of strings.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

from hpo_plugins.errors import InvalidArgument

MAX_LENGTH = 2_000
_Values: TypeAlias = Mapping[str, Any]
_Function: TypeAlias = Callable[[_Values], Any]

_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_ORDERS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_GRAMMAR = (
    "It may contain names of parameters, numbers, strings, + - * /, comparisons, and, or, not and parentheses. "
    "For anything else, give a function of the configuration"
)


class Part(NamedTuple):
    """One of the conditions that a text joins by ``and``.

    Attributes:
        holds: From values by name to whether the condition holds.
        names: The names in it.
        equalities: The names that are compared with a constant by ``==`` or ``!=``, and that constant.
    """

    holds: _Function
    names: frozenset[str]
    equalities: tuple[tuple[str, Any], ...]


def parse(text: str) -> tuple[Part, ...]:
    """Return the parts of a constraint.

    Raises:
        InvalidArgument: It is no expression of the language.
    """
    if not text.strip() or len(text) > MAX_LENGTH:
        raise InvalidArgument(f"valid must be an expression of 1 to {MAX_LENGTH} characters, but has {len(text)}.")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        return tuple(_Reader(text).part(node) for node in _conjuncts(tree))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        if isinstance(error, InvalidArgument):
            raise
        raise InvalidArgument(f"valid must be an expression, but got valid={text!r}: {error}. {_GRAMMAR}.") from None


def _conjuncts(node: ast.expr) -> list[ast.expr]:
    if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.And):
        return [part for value in node.values for part in _conjuncts(value)]
    return [node]


def are_equal(first: object, second: object) -> bool:
    """Return whether two values are equal in constraints: True is not 1, but 1 is 1.0."""
    return isinstance(first, bool) == isinstance(second, bool) and first == second


class _Reader:
    """Composes the functions of one text's nodes, and collects the names."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._names: set[str] = set()
        self._equalities: list[tuple[str, Any]] = []

    def part(self, node: ast.expr) -> Part:
        self._names, self._equalities = set(), []
        holds = self._truth(node)
        return Part(holds, frozenset(self._names), tuple(self._equalities))

    def _truth(self, node: ast.expr) -> _Function:
        if isinstance(node, ast.BoolOp):
            parts, join = [self._truth(value) for value in node.values], all if isinstance(node.op, ast.And) else any
            return lambda values: join(part(values) for part in parts)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            operand = self._truth(node.operand)
            return lambda values: not operand(values)
        if isinstance(node, ast.Compare):
            return self._comparison(node)
        if isinstance(node, ast.Name):
            value = self._value(node)
            return lambda values: _boolean(value(values))
        raise self._refusal(node, "is no comparison")

    def _comparison(self, node: ast.Compare) -> _Function:
        operands = [node.left, *node.comparators]
        sides = [self._value(operand) for operand in operands]
        steps = []
        for index, kind in enumerate(node.ops):
            if isinstance(kind, ast.Eq | ast.NotEq):
                self._note_equality(operands[index], operands[index + 1])
                compare: Callable[[Any, Any], bool] = are_equal if isinstance(kind, ast.Eq) else _differ
            elif type(kind) in _ORDERS:
                compare = _ordered(_ORDERS[type(kind)])
            else:
                raise self._refusal(node, "has another comparison than < <= > >= == !=")
            steps.append((sides[index], compare, sides[index + 1]))
        return lambda values: all(compare(left(values), right(values)) for left, compare, right in steps)

    def _note_equality(self, *sides: ast.expr) -> None:
        for name, constant in (sides, sides[::-1]):
            if isinstance(name, ast.Name) and isinstance(constant, ast.Constant):
                self._equalities.append((name.id, constant.value))

    def _value(self, node: ast.expr) -> _Function:
        if isinstance(node, ast.Name):
            name = node.id
            self._names.add(name)
            return lambda values: values[name]
        if isinstance(node, ast.Constant) and isinstance(node.value, str | int | float | None):
            constant = node.value
            if isinstance(constant, float) and not math.isfinite(constant):
                raise self._refusal(node, "is not finite")
            return lambda values: constant  # noqa: ARG005 - one signature for all nodes
        if isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
            left, right, compute = self._value(node.left), self._value(node.right), _ARITHMETIC[type(node.op)]
            return lambda values: compute(_number(left(values)), _number(right(values)))
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
            operand, sign = self._value(node.operand), -1 if isinstance(node.op, ast.USub) else 1
            return lambda values: sign * _number(operand(values))
        raise self._refusal(node, "is not allowed")

    def _refusal(self, node: ast.expr, why: str) -> InvalidArgument:
        part = ast.get_source_segment(self._text.strip(), node) or self._text
        return InvalidArgument(
            f"valid must be an expression, but got valid={self._text!r}, in which {part!r} {why}. {_GRAMMAR}."
        )


def _number(value: Any) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r} is no number")
    return value


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{value!r} is neither True nor False")
    return value


def _differ(first: object, second: object) -> bool:
    return not are_equal(first, second)


def _ordered(compare: Callable[[Any, Any], Any]) -> Callable[[Any, Any], bool]:
    """Return a comparison of numbers; the alphabet is not the order of ordered strings."""
    return lambda first, second: bool(compare(_number(first), _number(second)))
