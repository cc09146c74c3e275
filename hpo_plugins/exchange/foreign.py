"""A study from elsewhere in a neutral form, and how it is written into one of our storages."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hpo_plugins.coordination.adding import FinishedTrial, add
from hpo_plugins.coordination.renaming import appears_whole
from hpo_plugins.errors import InvalidArgument, StorageError
from hpo_plugins.objective import Limit, Objective
from hpo_plugins.space import Parameter, Params, Space
from hpo_plugins.storage import Storage, open_storage
from hpo_plugins.storage.redact import redacted
from hpo_plugins.strategies import Bayesian, Strategy
from hpo_plugins.tuner import Tuner
from hpo_plugins.tuner.studies import managed


@dataclass(frozen=True)
class ForeignStudy:
    """A study from elsewhere.

    Attributes:
        name: Its name.
        space: Its search space.
        objective: Its objective.
        trials: Its finished trials, in order.
        waiting: Configurations that wait to be tried.
        notes: Where it comes from, as JSON.
        remarks: What could not be taken over, in words.
        further_objectives: The objectives after the first one.
        constraints: Limits on outcomes.
    """

    name: str
    space: Mapping[str, Parameter]
    objective: Objective
    trials: Sequence[FinishedTrial]
    waiting: Sequence[Params] = ()
    notes: Mapping[str, Any] = field(default_factory=dict)
    remarks: Sequence[str] = ()
    further_objectives: Sequence[Objective] = ()
    constraints: Sequence[Limit] = ()


@dataclass(frozen=True)
class Imported:
    """An imported study.

    Attributes:
        tuner: The study.
        remarks: What could not be taken over, in words.
    """

    tuner: Tuner
    remarks: tuple[str, ...]


def write(study: ForeignStudy, to: str | os.PathLike[str] | Storage, strategy: Strategy | None = None) -> Imported:
    """Write a study into a storage; it has its name there once it is complete.

    Args:
        study: The study.
        to: Path of a SQLite file, a URL, or a storage.
        strategy: The strategy that continues it; ``Bayesian()`` by default.

    Raises:
        StorageError: The storage has a study of that name, or cannot be written.
        InvalidArgument: The study has no trials, no trial fits its space, or the storage is no ManagedStorage.
    """
    storage = managed(open_storage(to), to)
    if study.name in storage.names():
        raise StorageError(
            f"{redacted(to)} has a study {study.name!r} already. Import it under another name, with name= or --name."
        )
    space, remarks = Space(study.space), list(study.remarks)
    fitting, left_out = _fitting(space, study.trials)
    if left_out:
        numbers = ", ".join(str(number) for number, _ in left_out[:5]) + (" and others" if len(left_out) > 5 else "")
        first = f"trial {left_out[0][0]}: {left_out[0][1]}"
        remarks.append(
            f"{len(left_out)} trials are no configurations of the space and were left out ({numbers}). {first}"
        )
    if not fitting:
        raise InvalidArgument(f"{study.name!r} has no trial to import. {' '.join(remarks)}".strip())
    with appears_whole(storage, study.name) as name:
        tuner = Tuner(
            space, [study.objective, *study.further_objectives], constraints=study.constraints,
            strategy=Bayesian() if strategy is None else strategy, seed=0, storage=storage, name=name,
            notes={"imported": dict(study.notes)}, progress="off",
        )  # fmt: skip
        session = tuner._loop.session  # noqa: SLF001 - tuners and their importers are one package's
        for trial in fitting:
            add(session, trial)
        for params in study.waiting:
            try:
                tuner.enqueue(params)
            except InvalidArgument as error:
                remarks.append(f"A waiting configuration was left out: {error}")
    return Imported(Tuner.load(storage, study.name), tuple(remarks))


def _fitting(
    space: Space, trials: Iterable[FinishedTrial]
) -> tuple[list[FinishedTrial], list[tuple[int, InvalidArgument]]]:
    """Return the trials whose configurations the space has, and the others with the reason."""
    fitting, left_out = [], []
    for number, trial in enumerate(trials):
        try:
            fitting.append(replace(trial, params=space.checked(trial.params)))
        except InvalidArgument as error:
            left_out.append((number, error))
    return fitting, left_out
