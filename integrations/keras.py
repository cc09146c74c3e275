"""Tune inside Keras 3's ``model.fit``, on any backend.

    model.fit(x, y, validation_data=(xv, yv), epochs=81, callbacks=[TrialCallback(trial)])

A trial that goes on after a pause or a crash needs no change: model, optimiser, history, epoch, random generators and
what Keras's own callbacks have counted are restored, and ``epochs`` stays the total. On PyTorch and JAX the weights
are the uninterrupted training's to the last bit; ``tf.data`` cannot save where its shuffling stands.
"""

from __future__ import annotations

import inspect
import json
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from hpo_plugins.integrations import _random_state as random_state

from hpo_plugins.errors import CheckpointError, MissingDependency
from hpo_plugins.trial import Trial

try:
    import keras
except ModuleNotFoundError as error:
    raise MissingDependency.of(error, "keras", "keras") from error

__all__ = ["TrialCallback"]

_COUNTED = {
    keras.callbacks.EarlyStopping: ("wait", "best", "best_epoch"),
    keras.callbacks.ReduceLROnPlateau: ("wait", "best", "cooldown_counter"),
    keras.callbacks.ModelCheckpoint: ("best",),
}
"""What Keras's callbacks remember from epoch to epoch."""


class _Frozen(NamedTuple):
    """What a checkpoint holds."""

    model: list[Any]
    optimizer: list[Any]
    best_weights: list[Any]
    state: dict[str, Any]


class TrialCallback(keras.callbacks.Callback):
    """Report every epoch to a trial, and end the training when the trial is to stop.

    A training continued with ``initial_epoch`` counts on from there. Epochs without a validation
    (``validation_freq``) are recorded and not judged.

    Args:
        trial: What the tuner yielded.
    """

    def __init__(self, trial: Trial) -> None:
        """Bind to the trial."""
        super().__init__()
        self._trial = trial
        self._validated = False
        self._frozen: _Frozen | None = None  # restored, until the first epoch begins
        self._weights: list[Any] | None = None  # at the end of an epoch that is to be saved

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:  # noqa: ARG002
        """Restore a training that goes on."""
        self._validated = False
        self._weights = None
        if self._trial.resume_from is not None:
            self._frozen = self._restore(Path(self._trial.resume_from))
            self.model._initial_epoch = self._trial.start_epoch  # noqa: SLF001 - as Keras's BackupAndRestore does

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:  # noqa: ARG002
        """Save what the epoch before made due; or restore what other callbacks reset when the training began."""
        self._save()
        if self._frozen is not None:
            frozen, self._frozen = self._frozen, None
            _restore_callbacks(frozen)
            random_state.restore(frozen.state["random"])

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:  # noqa: ARG002
        """Note that this training validates."""
        self._validated = True

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Report the epoch."""
        logs = logs or {}
        follows = self._trial.objective.metric not in logs and not self._validated and _validates_later()
        if self._trial.report(epoch + 1, logs, objective_follows=follows):
            self.model.stop_training = True
        if self._trial.save_is_due:
            self._weights = _arrays(self.model.variables)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:  # noqa: ARG002
        """Save what the last epoch made due, and let the next ``fit`` start where it says."""
        self._save()
        if self._trial.resume_from is not None:
            self.model._initial_epoch = None  # noqa: SLF001 - else it would rule the next fit too

    def _save(self) -> None:
        """Save once all callbacks have seen the epoch, with the weights from before any of them ends the training."""
        if self._weights is not None:
            self._trial.save(self._write, suffix=".npz")
            self._weights = None

    def _write(self, path: Path) -> None:
        callbacks = _callbacks()
        history = next((c for c in callbacks if isinstance(c, keras.callbacks.History)), None)
        counting = [c for c in callbacks if type(c) in _COUNTED]
        best = [getattr(c, "best_weights", None) or [] for c in counting]
        state = {
            "random": random_state.capture(),
            "history": None if history is None else [list(history.epoch), history.history],
            "callbacks": [
                {name: getattr(c, name) for name in _COUNTED[type(c)]} | {"best_weights": len(weights)}
                for c, weights in zip(counting, best, strict=True)
            ],
        }
        arrays = {"model": self._weights or [], "optimizer": _arrays(self.model.optimizer.variables)}
        arrays["best"] = [np.asarray(array) for weights in best for array in weights]
        named = {f"{part}-{number}": array for part, all_ in arrays.items() for number, array in enumerate(all_)}
        text = json.dumps(state, default=float).encode()
        with path.open("wb") as file:
            np.savez(file, state=np.frombuffer(text, np.uint8), **named)

    def _restore(self, path: Path) -> _Frozen:
        again = (
            f"Put the right file back, or train the trial from its start again: tuner.restart({self._trial.number})."
        )
        try:
            frozen = _read(path)
        except (OSError, zipfile.BadZipFile, zlib.error, ValueError, KeyError, EOFError) as error:
            raise CheckpointError(f"The checkpoint {path} is damaged or not Keras's: {error}. {again}") from error
        model, optimizer = self.model, self.model.optimizer
        if not model.built:
            raise CheckpointError(
                f"The model of trial {self._trial.number} must be built before fit to go on from {path}. Give it a "
                "keras.layers.Input, or call it on a batch first."
            )
        if not optimizer.built:
            optimizer.build(model.trainable_variables)
        for part, variables, arrays in [
            ("model", _variables(model.variables), frozen.model),
            ("optimiser", _variables(optimizer.variables), frozen.optimizer),
        ]:
            here, there = [tuple(v.shape) for v in variables], [a.shape for a in arrays]
            if here != there:
                raise CheckpointError(
                    f"The checkpoint {path} is of another model: its {part} has variables of shapes {there}, and this "
                    f"training's {here}. {again}"
                )
            for variable, array in zip(variables, arrays, strict=True):
                variable.assign(array)
        return frozen


def _variables(variables: list[Any]) -> list[Any]:
    """Return each variable once: shared layers and seed generators come several times."""
    return list({id(variable): variable for variable in variables}.values())


def _arrays(variables: list[Any]) -> list[Any]:
    """Return copies of the variables' values; numpy has no bfloat16, which float32 holds exactly."""
    return [
        np.array(keras.ops.convert_to_numpy(keras.ops.cast(v, "float32") if v.dtype == "bfloat16" else v))
        for v in _variables(variables)
    ]


def _read(path: Path) -> _Frozen:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        state = json.loads(bytes(archive["state"]))
        parts = {
            part: [archive[f"{part}-{n}"] for n in range(sum(name.startswith(f"{part}-") for name in archive.files))]
            for part in ("model", "optimizer", "best")
        }
    return _Frozen(parts["model"], parts["optimizer"], parts["best"], state)


def _restore_callbacks(frozen: _Frozen) -> None:
    callbacks = _callbacks()
    for history in (c for c in callbacks if isinstance(c, keras.callbacks.History)):
        if frozen.state["history"] is not None:
            history.epoch, history.history = frozen.state["history"]
    weights = iter(frozen.best_weights)
    for callback, counted in zip(
        (c for c in callbacks if type(c) in _COUNTED), frozen.state["callbacks"], strict=False
    ):
        own = [next(weights) for _ in range(counted["best_weights"])]
        if own:
            callback.best_weights = own
        for name in _COUNTED[type(callback)]:
            if name in counted:
                setattr(callback, name, counted[name])


def _validates_later() -> bool:
    """Return whether the ``fit`` under way will validate at a later epoch only.

    Not to know it only means that a missing metric is an error now.
    """
    arguments = _arguments()
    return arguments.get("validation_data") is not None and arguments.get("validation_freq", 1) != 1


def _callbacks() -> list[Any]:
    """Return all callbacks of the ``fit`` under way; not to know them only means that they count anew."""
    return list(getattr(_arguments().get("callbacks"), "callbacks", []))


def _arguments() -> Mapping[str, Any]:
    """Return the arguments of the ``fit`` under way.

    Keras tells callbacks neither of validation data and how often it is used nor of each other. All are variables of
    ``fit``, the function that called us.
    """
    frame = inspect.currentframe()
    while frame is not None:
        if frame.f_code.co_name == "fit" and "validation_freq" in frame.f_locals:
            return frame.f_locals
        frame = frame.f_back
    return {}
