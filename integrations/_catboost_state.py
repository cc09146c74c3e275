"""The state of a CatBoost training run: its call on the stack, CatBoost's snapshot, and the checkpoint around it."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import catboost
import msgspec
from hpo_plugins.integrations._shared import caller_arguments, damaged

from hpo_plugins.errors import MissingDependency
from hpo_plugins.trial import Fold, TrainingHandle

AT_END = "_set_trained_model_attributes"
"""A method of a model that CatBoost calls once, when a training run has ended without an error."""
ROUNDS = ("iterations", "num_boost_round", "n_estimators", "num_trees")
"""The names of the number of rounds."""
_DEFAULT_ROUNDS = 1000
_CLASSES = ("CatBoost", "CatBoostClassifier", "CatBoostRegressor", "CatBoostRanker")
_STATE, _SNAPSHOT, _INIT, _MODEL = "state.json", "snapshot", "init.cbm", "model.cbm"


class State(msgspec.Struct):
    """The content of a checkpoint's ``state.json``: the rounds that the model has in all, and its class."""

    rounds: int
    kind: str = "CatBoost"


@dataclass(frozen=True)
class Call:
    """A call of ``fit`` that trains now.

    Attributes:
        model: The model that it was called on.
        parameters: All parameters of the training run.
        init_model: The model that it continues, None without one.
        wrapper: CatBoost's object that calls the callbacks.
    """

    model: Any
    parameters: Mapping[str, Any]
    init_model: Any
    wrapper: Any

    @property
    def total(self) -> int:
        """Rounds that this call trains in all, with those of a snapshot."""
        return next((int(self.parameters[name]) for name in ROUNDS if name in self.parameters), _DEFAULT_ROUNDS)

    @property
    def given(self) -> int:
        """Rounds of the model that it continues."""
        return 0 if self.init_model is None else int(self.init_model.tree_count_)

    @property
    def snapshot(self) -> Path | None:
        """Where CatBoost writes its snapshots, None if it writes none."""
        path = self.parameters.get("snapshot_file")
        return Path(path) if path is not None and self.parameters.get("save_snapshot") else None

    def is_computed(self, iteration: int) -> bool:
        """Return whether CatBoost computes metrics after a round."""
        return (iteration - 1) % int(self.parameters.get("metric_period") or 1) == 0 or iteration == self.total


def call_on_the_stack() -> Call:
    """Return the call of ``fit`` that is calling us.

    Raises:
        MissingDependency: This version of CatBoost works in another way.
    """
    found = caller_arguments(("_train",), "allow_clear_pool")
    wrapper = (found.get("params") or {}).get("callbacks")
    if not hasattr(found.get("self"), AT_END) or not hasattr(wrapper, "_callbacks"):
        raise MissingDependency("TrialCallback knows CatBoost 1.2. Install it: pip install 'hpo-plugins[catboost]'.")
    return Call(found["self"], found["params"], found["init_model"], wrapper)


def working_file(trial: TrainingHandle) -> Path:
    """Return where CatBoost writes the snapshots of this attempt."""
    fold = f".{trial.number}" if isinstance(trial, Fold) else ""
    return trial.checkpoint_dir / f"catboost.{trial.attempt}{fold}.snapshot"


def new_working_file(trial: TrainingHandle) -> Path:
    """Return the same file, which does not exist; files of attempts that were killed are deleted."""
    file = working_file(trial)
    for attempt in range(1, trial.attempt + 1):
        file.with_name(file.name.replace(f"catboost.{trial.attempt}", f"catboost.{attempt}", 1)).unlink(missing_ok=True)
    return file


def write(
    path: Path, rounds: int, kind: str, *, snapshot: Path | None = None, init: Any = None, model: Any = None
) -> None:
    """Write a checkpoint.

    Args:
        path: Where to.
        rounds: The model's rounds.
        kind: The name of its class.
        snapshot: CatBoost's snapshot of that round, if there is one.
        init: The model that the training run continues, if there is one.
        model: The trained model; it is known only after the last round.
    """
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr(_STATE, json.dumps({"rounds": rounds, "kind": kind}))
        if snapshot is not None:
            archive.write(snapshot, _SNAPSHOT)
        for name, each in ((_INIT, init), (_MODEL, model)):
            if each is not None:
                _add(archive, path, name, each)


def add_model(path: Path, model: Any) -> None:
    """Add the trained model to a checkpoint that was written before the training run ended."""
    new = path.with_name(path.name + ".new")
    new.write_bytes(path.read_bytes())
    with zipfile.ZipFile(new, "a", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        if _MODEL not in archive.namelist():
            _add(archive, new, _MODEL, model)
    new.replace(path)


def _add(archive: zipfile.ZipFile, path: Path, name: str, model: Any) -> None:
    file = path.with_name(path.name + ".cbm")
    try:
        model.save_model(str(file))
        archive.write(file, name)
    finally:
        file.unlink(missing_ok=True)


def extract_snapshot(path: Path, to: Path, number: int) -> bool:
    """Copy the snapshot in a checkpoint to a file, and return whether there is one.

    Raises:
        CheckpointError: The checkpoint is damaged.
    """
    with _opened(path, number) as archive:
        if _SNAPSHOT not in archive.namelist():
            return False
        to.write_bytes(_read(archive, path, _SNAPSHOT, number))
        return True


def load(path: Path, number: int, *, init: bool = False) -> Any | None:
    """Return the model in a checkpoint, None if it has none.

    Args:
        path: The checkpoint.
        number: The trial.
        init: Whether to return the model that the training run continues.

    Raises:
        CheckpointError: The checkpoint is damaged.
    """
    name = _INIT if init else _MODEL
    with _opened(path, number) as archive:
        if name not in archive.namelist():
            return None
        raw, state = _read(archive, path, name, number), _read(archive, path, _STATE, number)
    try:
        kind = msgspec.json.decode(state, type=State).kind
        model = getattr(catboost, kind if kind in _CLASSES else "CatBoost")()
        return model.load_model(blob=raw)
    except (msgspec.DecodeError, catboost.CatBoostError) as error:
        raise damaged(path, "CatBoost's TrialCallback", number, error) from error


def _opened(path: Path, number: int) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise damaged(path, "CatBoost's TrialCallback", number, error) from error


def _read(archive: zipfile.ZipFile, path: Path, name: str, number: int) -> bytes:
    try:
        return archive.read(name)
    except (OSError, zipfile.BadZipFile, KeyError, EOFError, ValueError) as error:
        raise damaged(path, "CatBoost's TrialCallback", number, error) from error
