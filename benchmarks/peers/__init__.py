"""The other libraries that are installed, each with its documented defaults.

A module of this package adapts one library: ``LIBRARIES`` names what it needs, ``MULTI_FIDELITY`` and ``BLACK_BOX`` are
its searches. Missing libraries are omitted; those that fail to load are omitted with a warning.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
import sys
from collections.abc import Callable, Mapping
from importlib import metadata
from types import ModuleType
from typing import TypeVar

from interfaces import Method, Searcher

import hpo_plugins as hpo
from hpo_plugins.space import Parameter

ADAPTERS = {"optuna": "optuna", "keras_tuner": "keras-tuner", "smac": "smac", "syne_tune": "syne-tune"}
T = TypeVar("T")


def translate(
    space: Mapping[str, Parameter],
    continuous: Callable[[str, float, float, bool], T],
    integer: Callable[[str, int, int, bool], T],
    categorical: Callable[[str, list[object]], T],
) -> dict[str, T]:
    """Return a library's own parameters, made from name, bounds and whether the scale is logarithmic, or values."""
    made = {}
    for name, parameter in space.items():
        if isinstance(parameter, hpo.Categorical):
            made[name] = categorical(name, list(parameter.values))
        else:
            make = integer if isinstance(parameter, hpo.Integer) else continuous
            made[name] = make(name, parameter.low, parameter.high, parameter.resolved_scale == "log")
    return made


@functools.cache
def _adapters() -> tuple[ModuleType, ...]:
    found = []
    for module, library in ADAPTERS.items():
        try:
            metadata.version(library)
        except metadata.PackageNotFoundError:
            continue
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # Syne Tune prints what else it could use
                found.append(importlib.import_module(f"peers.{module}"))
        except ImportError as error:
            print(f"{library} is left out: {error}", file=sys.stderr)
    return tuple(found)


def versions() -> dict[str, str]:
    """Return the version of each library that is compared."""
    names = [ADAPTERS[adapter.__name__.removeprefix("peers.")] for adapter in _adapters()]
    return {name: metadata.version(name) for name in names}


def multi_fidelity_methods() -> dict[str, Searcher]:
    """Return the searches that may judge a training after each epoch."""
    return {name: search for adapter in _adapters() for name, search in adapter.MULTI_FIDELITY.items()}


def black_box_methods() -> dict[str, Method]:
    """Return the searches that see one value of a configuration."""
    return {name: search for adapter in _adapters() for name, search in adapter.BLACK_BOX.items()}
