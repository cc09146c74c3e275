"""The JSON form of a study's definition: write it, and read it with checks.

A definition consists of ``frozen()`` classes (``_fields``). An object is a dict of its fields. Parameters, objectives
and components also have a tag that names their class (``_TAGS``). A new field with a default needs no change here,
because studies without it are read with its default. A field that is a keyword only is left out while it has its
default, as ``when`` of parameters.

A study file may come from a stranger, or from a damaged disk. Nothing in it is executed. Types are checked as the
fields declare them; what a value may be, such as the bounds of a parameter, is checked by the object that is built. The
fields of a component are checked by its class only, which may be the user's own. Rows are checked as they are read
(``storage.rows``), and configurations against the space.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from types import NoneType
from typing import Any, ClassVar, Literal, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

import attrs
import msgspec
from cattrs import (
    BaseValidationError,
    ClassValidationError,
    Converter,
    ForbiddenExtraKeysError,
    IterableValidationError,
    IterableValidationNote,
)
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from hpo_plugins._fields import fields, frozen
from hpo_plugins.errors import HpoError, InvalidArgument, StorageError
from hpo_plugins.objective import AtLeast, AtMost, Limit, Maximize, Minimize, Objective
from hpo_plugins.space import DefinitionSpace, Space, TrainingDefinition, Value
from hpo_plugins.space.base import ParameterBase
from hpo_plugins.space.finalists import FinalistSpace
from hpo_plugins.space.parameters import PARAMETERS
from hpo_plugins.space.valid import Expression, Function, Valid
from hpo_plugins.space.when import When
from hpo_plugins.storage.redact import redacted
from hpo_plugins.strategies import Component, argument_names
from hpo_plugins.strategies.catalog import import_components
from hpo_plugins.study.config import StudyConfig

T = TypeVar("T")


@frozen()
class Fixed:
    """The value of a parameter that is not tuned."""

    value: Value
    kind: ClassVar[str] = "fixed"


_TAGS: dict[type, str] = {
    ParameterBase: "kind",
    Fixed: "kind",
    Objective: "direction",
    Limit: "limit",
    Component: "name",
}
"""Base class to the key under which the JSON form names the class."""
_CLASSES: tuple[type, ...] = (*PARAMETERS, Fixed, Minimize, Maximize, AtMost, AtLeast)
"""The classes that can be named; those of components register themselves."""


def to_json(part: object) -> Any:
    """Return the JSON form of a definition, or of a part of it, such as a strategy."""
    return _converter.unstructure(part)


def from_json(data: Any, kind: type[T]) -> T:
    """Return the definition, or the part of it, that has this JSON form.

    Args:
        data: The JSON form.
        kind: The class, or a base class.

    Raises:
        InvalidArgument: It is the form of nothing of that kind, or the class refuses it.
    """
    try:
        return _converter.structure(data, kind)
    except (BaseValidationError, msgspec.ValidationError) as error:
        raise InvalidArgument(_fault(error)) from error


def config_from_storage(definition: Any, name: str, storage: object) -> StudyConfig:
    """Return the configuration of a stored study.

    Args:
        definition: Its definition, as it is stored.
        name: The study.
        storage: Where it is stored; errors name it.

    Raises:
        StorageError: The definition is damaged, or another program or version has written it.
    """
    try:
        import_components(definition)
        return from_json(definition, StudyConfig)
    except (UnicodeError, HpoError) as error:
        cause = str(error).rstrip(".")
        raise StorageError(
            f"The definition of study {name!r} in {redacted(storage)} cannot be used: {cause}. It is damaged, or "
            "another program or version has written it. Restore a copy of the storage, or give another name= or "
            "storage=."
        ) from error


# Faults.


def _fault(error: BaseException, place: str = "$") -> str:
    """Return the first fault of a definition in words, and where it is."""
    if isinstance(error, ClassValidationError | IterableValidationError):
        noted, others = error.group_exceptions()
        if not noted:
            return _fault(others[0], place)
        fault, note = noted[0]
        if isinstance(note, IterableValidationNote):
            return _fault(fault, f"{place}[{note.index!r}]")
        if not isinstance(fault, KeyError):
            return _fault(fault, f"{place}.{note.name}")
        if issubclass(error.cl, Component):
            return f"{error.cl.__name__} needs the argument {note.name!r}."
        return _located(f"Object missing required field `{note.name}`", place)
    if isinstance(error, ForbiddenExtraKeysError):
        unknown = min(error.extra_fields)
        if not issubclass(error.cl, Component):
            return _located(f"Object contains unknown field `{unknown}`", place)
        known = ", ".join(argument_names(error.cl)) or "none"
        return f"{error.cl.__name__} has no argument {unknown!r}; it has {known}."
    if isinstance(error, HpoError):
        return str(error)
    what, _, inner = str(error).partition(" - at `$")
    return _located(what, place + inner.rstrip("`"))


def _located(what: str, place: str) -> str:
    return what if place == "$" else f"{what} - at `{place}`"


# The conversion.

_converter = Converter(forbid_extra_keys=True, unstruct_collection_overrides={tuple: list})


def _is_plain(kind: Any) -> bool:
    """Whether a type consists of JSON's own types."""
    if get_origin(kind) is Literal or (isinstance(kind, type) and issubclass(kind, Enum)):
        return True
    if parts := get_args(kind):
        return all(map(_is_plain, parts))
    return kind in (str, int, float, bool, NoneType, Any, ...)


def _is_list(kind: Any) -> bool:
    return get_origin(kind) in (Sequence, tuple) and not _is_plain(kind) and get_args(kind)[1:] in ((), (...,))


def _has_fields(kind: Any) -> bool:
    return isinstance(kind, type) and attrs.has(kind)


def _read_list(data: Any, kind: Any) -> tuple[Any, ...]:
    members: Any = list[get_args(kind)[0]]  # type: ignore[misc]  # a type that is computed
    return tuple(_converter.structure(msgspec.convert(data, list), members))


class _Constrained(NamedTuple):
    """The JSON form of a space, and that of its constraint, which a definition has beside it."""

    space: Any
    valid: Any


def _write_valid(valid: Valid) -> Any:
    return valid.text if isinstance(valid, Expression) else True  # a function is not stored, only that there was one


def _read_valid(data: Any, _: type) -> Valid:
    if data is True:
        return Function(None)
    return Expression(msgspec.convert(data, str))


def _write(value: Any) -> dict[str, Any]:
    cls: Any = type(value)
    if cls is StudyConfig and value.space.valid is not None:
        return _writer(cls)(value) | {"valid": to_json(value.space.valid)}
    key = _tag_of(cls)
    tag = {} if key is None else {key: _name(cls, key)}
    if isinstance(value, Component):
        left_out = {f.name for f in fields(cls) if f.kw_only and getattr(value, f.name) == f.default}
        return tag | {name: to_json(getattr(value, name)) for name in argument_names(cls) if name not in left_out}
    return tag | _writer(cls)(value)


def _read(data: Any, kind: Any) -> Any:
    data = msgspec.convert(data, dict[str, Any])
    if kind is StudyConfig and "valid" in data and "space" in data:
        data["space"] = _Constrained(data["space"], data.pop("valid"))
    key = _tag_of(kind)
    if key is None:
        return _reader(kind)(data, kind)
    if key not in data:
        raise msgspec.ValidationError(f"Object missing required field `{key}`")
    candidates = Component.registry.values() if issubclass(kind, Component) else _CLASSES
    usable = [cls for cls in candidates if issubclass(cls, kind) and not inspect.isabstract(cls)]
    known: dict[str, Any] = {_name(cls, key): cls for cls in usable}
    name = msgspec.convert(data.pop(key), str)
    if name not in known:
        raise _unknown(name, kind, known, key)
    return _reader(known[name])(data, known[name])


def _tag_of(cls: type) -> str | None:
    return next((key for base, key in _TAGS.items() if issubclass(cls, base)), None)


def _name(cls: Any, key: str) -> str:
    return str(cls.kind if key == "kind" else cls.__name__)


def _unknown(name: str, kind: type, known: Iterable[str], key: str) -> Exception:
    if not issubclass(kind, Component):
        return msgspec.ValidationError(f"Invalid value {name!r} - at `$.{key}`")
    what = {"Strategy": "strategy", "StoppingRule": "stopping rule"}.get(kind.__name__, kind.__name__.lower())
    return InvalidArgument(
        f"{what} {name!r} is not known to this version of hpo-plugins; it knows {', '.join(sorted(known))}."
    )


@functools.cache
def _writer(cls: type) -> Callable[[Any], dict[str, Any]]:
    keywords: dict[str, Any] = {f.name: override(omit_if_default=True) for f in fields(cls) if f.kw_only}
    return make_dict_unstructure_fn(cls, _converter, **keywords)


@functools.cache
def _reader(cls: type) -> Callable[[Any, Any], Any]:
    if not issubclass(cls, Component):
        return make_dict_structure_fn(cls, _converter)
    try:
        types = get_type_hints(cls)
    except NameError:  # an annotation names what is imported for type checkers only
        return lambda data, _: cls(**data)
    plain = [name for name in argument_names(cls) if _is_plain(types[name])]
    as_stored: dict[str, Any] = dict.fromkeys(plain, override(struct_hook=_unchecked))
    return make_dict_structure_fn(cls, _converter, **as_stored)


def _unchecked(value: Any, kind: Any) -> Any:
    return tuple(value) if get_origin(kind) is tuple and isinstance(value, list) else value


class _Finalists(msgspec.Struct, forbid_unknown_fields=True):
    """The JSON form of a confirmation's space."""

    finalists: dict[str, dict[str, Value]]
    repeats: int


def _write_space(space: Space) -> Any:
    if isinstance(space, FinalistSpace):
        return {"finalists": {str(n): dict(params) for n, params in space.finalists.items()}, "repeats": space.repeats}
    if isinstance(space, DefinitionSpace):
        return [to_json(definition) for definition in space.definitions.values()]
    return {name: to_json(parameter) for name, parameter in space.items()} | {
        name: to_json(Fixed(value)) for name, value in space.fixed.items()
    }


def _read_space(data: Any, _: type) -> Space:
    if isinstance(data, _Constrained):
        return _read_space(data.space, Space).constrained(_read_valid(data.valid, Valid))
    if isinstance(data, list):
        return DefinitionSpace(_converter.structure(data, list[TrainingDefinition]))
    if isinstance(data, dict) and isinstance(data.get("repeats"), int):  # every parameter is a dict
        found = msgspec.convert(data, _Finalists)
        return FinalistSpace({int(number): params for number, params in found.finalists.items()}, found.repeats)
    members: dict[str, Any] = msgspec.convert(data, dict[str, dict[str, Any]])
    fixed = {name: member for name, member in members.items() if member.get("kind") == Fixed.kind}
    tuned = {name: member for name, member in members.items() if name not in fixed}
    parameters: dict[str, Any] = _converter.structure(tuned, dict[str, ParameterBase])
    values = {name: member.value for name, member in _converter.structure(fixed, dict[str, Fixed]).items()}
    return Space(parameters, values)


for kind in (str, int, float, bool):  # of these, cattrs has hooks that convert
    _converter.register_structure_hook(kind, msgspec.convert)
_converter.register_structure_hook_func(_is_plain, msgspec.convert)
_converter.register_structure_hook_func(_is_list, _read_list)
_converter.register_structure_hook_func(_has_fields, _read)
_converter.register_structure_hook(Space, _read_space)
_converter.register_unstructure_hook_func(_has_fields, _write)
_converter.register_unstructure_hook(Space, _write_space)
_converter.register_unstructure_hook_func(lambda cls: isinstance(cls, type) and issubclass(cls, Valid), _write_valid)
_converter.register_unstructure_hook(When, lambda when: {name: list(values) for name, values in when.items()})
