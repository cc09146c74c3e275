"""Tune inside Keras 3's ``model.fit``, on any backend.

    model.fit(x, y, validation_data=(xv, yv), epochs=81, callbacks=[TrialCallback(trial)])

A trial that is resumed after a pause or a crash needs no change: model, optimiser, history, epoch, random generators
and the counters of Keras's own callbacks are restored, and ``epochs`` stays the total. On PyTorch and JAX the weights
are bit-identical to those of an uninterrupted training; ``tf.data`` cannot save the state of its shuffling.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from hpo_plugins.integrations import _random_state as random_state
from hpo_plugins.integrations._shared import caller_arguments, damaged, of_another_model

from hpo_plugins.errors import CheckpointError, MissingDependency
from hpo_plugins.trial import Trial

try:
    import keras
except ModuleNotFoundError as error:
    raise MissingDependency.of(error, "keras", "keras") from error

__all__ = ["TrialCallback"]

_COUNTERS = {
    keras.callbacks.EarlyStopping: ("wait", "best", "best_epoch"),
    keras.callbacks.ReduceLROnPlateau: ("wait", "best", "cooldown_counter"),
    keras.callbacks.ModelCheckpoint: ("best",),
}
"""What Keras's callbacks carry from epoch to epoch."""


class _Checkpoint(NamedTuple):
    """The content of a checkpoint."""

    model: list[Any]
    optimizer: list[Any]
    best_weights: list[Any]
    state: dict[str, Any]


class TrialCallback(keras.callbacks.Callback):
    """Report every epoch to a trial, and end the training when the trial is to stop.

    A training continued with ``initial_epoch`` counts on from there. Epochs without a validation
    (``validation_freq``) are recorded but not judged.

    Args:
        trial: The trial that the tuner yielded.
    """

    def __init__(self, trial: Trial) -> None:
        """Bind to the trial."""
        super().__init__()
        self._trial = trial
        self._validated = False
        self._restored: _Checkpoint | None = None  # until the first epoch begins
        self._weights: list[Any] | None = None  # of an epoch that is to be saved

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:  # noqa: ARG002
        """Restore a resumed training."""
        self._validated = False
        self._weights = None
        if self._trial.resume_from is not None:
            self._restored = self._restore(Path(self._trial.resume_from))
            self.model._initial_epoch = self._trial.start_epoch  # noqa: SLF001 - as Keras's BackupAndRestore does

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:  # noqa: ARG002
        """Save the epoch before if that is due, or restore what other callbacks reset when the training began."""
        self._save()
        if self._restored is not None:
            checkpoint, self._restored = self._restored, None
            _restore_callbacks(checkpoint)
            random_state.restore(checkpoint.state["random"])

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:  # noqa: ARG002
        """Note that a validation took place."""
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
        """Save the last epoch if that is due, and let the next ``fit`` start at its own initial epoch."""
        self._save()
        if self._trial.resume_from is not None:
            self.model._initial_epoch = None  # noqa: SLF001 - else the next fit would use it too

    def _save(self) -> None:
        """Save after all callbacks have seen the epoch, with the weights from before any of them ended the training."""
        if self._weights is not None:
            self._trial.save(self._write, suffix=".npz")
            self._weights = None

    def _write(self, path: Path) -> None:
        callbacks = _callbacks()
        history = next((c for c in callbacks if isinstance(c, keras.callbacks.History)), None)
        counting = [c for c in callbacks if type(c) in _COUNTERS]
        best = [getattr(c, "best_weights", None) or [] for c in counting]
        state = {
            "random": random_state.capture(),
            "history": None if history is None else [list(history.epoch), history.history],
            "callbacks": [
                {name: getattr(c, name) for name in _COUNTERS[type(c)]} | {"best_weights": len(weights)}
                for c, weights in zip(counting, best, strict=True)
            ],
        }
        arrays = {"model": self._weights or [], "optimizer": _arrays(self.model.optimizer.variables)}
        arrays["best"] = [np.asarray(array) for weights in best for array in weights]
        named = {f"{part}-{number}": array for part, all_ in arrays.items() for number, array in enumerate(all_)}
        text = json.dumps(state, default=float).encode()
        with path.open("wb") as file:
            np.savez(file, state=np.frombuffer(text, np.uint8), **named)

    def _restore(self, path: Path) -> _Checkpoint:
        try:
            checkpoint = _read(path)
        except (OSError, zipfile.BadZipFile, zlib.error, ValueError, KeyError, EOFError) as error:
            raise damaged(path, "Keras", self._trial.number, error) from error
        model, optimizer = self.model, self.model.optimizer
        if not model.built:
            raise CheckpointError(
                f"The model of trial {self._trial.number} must be built before fit to resume from {path}. Give it a "
                "keras.layers.Input, or call it on a batch first."
            )
        if not optimizer.built:
            optimizer.build(model.trainable_variables)
        for part, variables, arrays in [
            ("model", _variables(model.variables), checkpoint.model),
            ("optimiser", _variables(optimizer.variables), checkpoint.optimizer),
        ]:
            here, there = [tuple(v.shape) for v in variables], [a.shape for a in arrays]
            if here != there:
                difference = f"its {part} has variables of shapes {there}, and this training's has {here}"
                raise of_another_model(path, self._trial.number, difference)
            for variable, array in zip(variables, arrays, strict=True):
                variable.assign(array)
        return checkpoint


def _variables(variables: list[Any]) -> list[Any]:
    """Return each variable once: shared layers and seed generators are listed several times."""
    return list({id(variable): variable for variable in variables}.values())


def _arrays(variables: list[Any]) -> list[Any]:
    """Return copies of the variables' values; numpy has no bfloat16, which float32 holds exactly."""
    return [
        np.array(keras.ops.convert_to_numpy(keras.ops.cast(v, "float32") if v.dtype == "bfloat16" else v))
        for v in _variables(variables)
    ]


def _read(path: Path) -> _Checkpoint:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        state = json.loads(bytes(archive["state"]))
        parts = {
            part: [archive[f"{part}-{n}"] for n in range(sum(name.startswith(f"{part}-") for name in archive.files))]
            for part in ("model", "optimizer", "best")
        }
    return _Checkpoint(parts["model"], parts["optimizer"], parts["best"], state)


def _restore_callbacks(checkpoint: _Checkpoint) -> None:
    callbacks = _callbacks()
    for history in (c for c in callbacks if isinstance(c, keras.callbacks.History)):
        if checkpoint.state["history"] is not None:
            history.epoch, history.history = checkpoint.state["history"]
    weights = iter(checkpoint.best_weights)
    for callback, counted in zip(
        (c for c in callbacks if type(c) in _COUNTERS), checkpoint.state["callbacks"], strict=False
    ):
        own = [next(weights) for _ in range(counted["best_weights"])]
        if own:
            callback.best_weights = own
        for name in _COUNTERS[type(callback)]:
            if name in counted:
                setattr(callback, name, counted[name])


def _validates_later() -> bool:
    """Return whether the current ``fit`` validates, but not after every epoch.

    If that cannot be known, a missing metric is an error at once.
    """
    arguments = caller_arguments(("fit",), "validation_freq")
    return arguments.get("validation_data") is not None and arguments.get("validation_freq", 1) != 1


def _callbacks() -> list[Any]:
    """Return all callbacks of the current ``fit``; if they cannot be known, their counters start again."""
    return list(getattr(caller_arguments(("fit",), "validation_freq").get("callbacks"), "callbacks", []))
