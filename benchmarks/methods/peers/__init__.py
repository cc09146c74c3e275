"""The other libraries that are installed, each with its documented defaults.

A module of this package adapts one library: ``LIBRARIES`` names what it needs, ``MULTI_FIDELITY`` and ``BLACK_BOX`` are
its searches. Missing libraries are omitted; those that fail to load are omitted with a warning.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
import math
import sys
from collections.abc import Callable, Mapping
from importlib import metadata
from types import ModuleType
from typing import TypeVar

from packaging.requirements import Requirement

import hpo_plugins as hpo
from benchmarks.harness.interfaces import Ask, Clock, Method, Problem, Searcher, Trial
from hpo_plugins.space import Parameter

ADAPTERS = {
    "optuna": "optuna",
    "keras_tuner": "keras-tuner",
    "smac": "smac",
    "syne_tune": "syne-tune>=0.14",
    "syne_tune_013": "syne-tune<0.14",
    "neps": "neural-pipeline-search",
}
"""The library, and the versions, that each module adapts."""
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
    for module, wanted in ADAPTERS.items():
        library = Requirement(wanted)
        try:
            if metadata.version(library.name) not in library.specifier:
                continue
        except metadata.PackageNotFoundError:
            continue
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # Syne Tune prints what else it could use
                found.append(importlib.import_module(f"{__name__}.{module}"))
        except ImportError as error:
            print(f"{library.name} is left out: {error}", file=sys.stderr)
    return tuple(found)


def versions() -> dict[str, str]:
    """Return the version of each library that is compared."""
    names = [Requirement(ADAPTERS[adapter.__name__.removeprefix(f"{__name__}.")]).name for adapter in _adapters()]
    return {name: metadata.version(name) for name in names}


class _FiniteTrial:
    """A trial that reports the worst value of its search when a training run diverges."""

    def __init__(self, trial: Trial, seen: list[float]) -> None:
        self._trial, self._seen = trial, seen
        self.params, self.start_epoch, self.end = trial.params, trial.start_epoch, trial.end

    def report(self, epoch: int, value: float) -> bool:
        self._seen.append(min(self._seen, default=0.0) if math.isnan(value) else value)
        return self._trial.report(epoch, self._seen[-1])


def _without_nan(search: Searcher) -> Searcher:
    """Return the search, whose library does not say what it makes of NaN."""

    def start(problem: Problem, seed: int, clock: Clock) -> Ask:
        ask, seen = search(problem, seed, clock), list[float]()

        def ask_finite() -> Trial | None:
            trial = ask()
            return None if trial is None else _FiniteTrial(trial, seen)

        return ask_finite

    return start


def multi_fidelity_methods() -> dict[str, Searcher]:
    """Return the searches that may judge a training run after each epoch."""
    return {name: _without_nan(search) for adapter in _adapters() for name, search in adapter.MULTI_FIDELITY.items()}


def black_box_methods() -> dict[str, Method]:
    """Return the searches that see one value of a configuration."""
    return {name: search for adapter in _adapters() for name, search in adapter.BLACK_BOX.items()}
