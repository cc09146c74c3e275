"""What a stored study must look like: a study file may come from a stranger, or from a damaged disk.

Nothing in it is executed. Its definition is checked against one schema before anything is built from it; what a value
may be, such as the bounds of a parameter, is checked by the object that is built. Rows are checked as they are read
(``storage.rows``), and configurations against the space.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from hpo_plugins.errors import HpoError, StorageError
from hpo_plugins.storage.redact import redacted
from hpo_plugins.strategies.catalog import import_components
from hpo_plugins.study.config import StudyConfig

Value = str | bool | int | float | None


_When = dict[str, list[Value]]


class _Continuous(msgspec.Struct, tag_field="kind", tag="continuous", forbid_unknown_fields=True):
    low: float
    high: float
    scale: str
    when: _When | None = None


class _Integer(msgspec.Struct, tag_field="kind", tag="integer", forbid_unknown_fields=True):
    low: int
    high: int
    scale: str
    when: _When | None = None


class _Categorical(msgspec.Struct, tag_field="kind", tag="categorical", forbid_unknown_fields=True):
    values: list[Value]
    when: _When | None = None


class _Fixed(msgspec.Struct, tag_field="kind", tag="fixed", forbid_unknown_fields=True):
    value: Value


_Space = dict[str, _Continuous | _Integer | _Categorical | _Fixed]


class _Objective(msgspec.Struct, forbid_unknown_fields=True):
    direction: Literal["Minimize", "Maximize"]
    metric: str
    at: Literal["best", "last"]


class _TrainingDefinition(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    space: _Space
    objective: _Objective


class _Component(msgspec.Struct):
    name: str  # its other fields are those of the class of that name, which checks them


class _ParentTrial(msgspec.Struct, forbid_unknown_fields=True):
    number: int
    params: dict[str, Value]
    state: Literal["running", "paused", "completed", "stopped", "failed"]
    epochs: int
    curve: list[tuple[int, float]]
    stop_reason: str | None
    error: str | None
    times: tuple[float, float | None]


class _Parent(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    space: _Space | list[_TrainingDefinition]
    objective: _Objective
    trials: list[_ParentTrial]


class _Parents(msgspec.Struct, forbid_unknown_fields=True):
    identical: bool
    studies: list[_Parent]


class _Definition(msgspec.Struct, forbid_unknown_fields=True):
    space: _Space | list[_TrainingDefinition]
    objective: _Objective
    strategy: _Component
    early_stopping: _Component | None
    seed: Annotated[int, msgspec.Meta(ge=0)]
    max_trials: int | None
    max_runtime: float | None
    max_parallel: int | None
    stop_when: list[_Component]
    points_to_evaluate: list[dict[str, Value]]
    parents: _Parents | None
    notes: dict[str, Any] | None


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
        msgspec.convert(definition, _Definition)
        import_components(definition)
        return StudyConfig.from_json(definition)
    except (msgspec.ValidationError, UnicodeError, HpoError) as error:
        cause = str(error).rstrip(".")
        raise StorageError(
            f"The definition of study {name!r} in {redacted(storage)} cannot be used: {cause}. It is damaged, or "
            "another program or version has written it. Restore a copy of the storage, or give another name= or "
            "storage=."
        ) from error
