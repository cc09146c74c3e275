"""Tune inside Keras 3's ``model.fit``, on any backend.

    model.fit(x, y, validation_data=(xv, yv), epochs=81, callbacks=[TrialCallback(trial)])

A trial that is resumed after a pause or a crash needs no change: model, optimisers, history, epoch, random generators
and the counters of Keras's own callbacks are restored, and ``epochs`` stays the total. On PyTorch and JAX the weights
are bit-identical to those of an uninterrupted training; ``tf.data`` cannot save the state of its shuffling.

A second ``fit`` of the same model is a second phase of the trial: its epochs count on, whatever ``initial_epoch`` is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hpo_plugins.integrations._shared import best_checkpoint_of, caller_arguments, handle_of, hint_of_order

from hpo_plugins.errors import MetricNotFound, MissingDependency
from hpo_plugins.records import TrialRecord
from hpo_plugins.trial import TrainingHandle

try:
    import keras
except ModuleNotFoundError as error:
    raise MissingDependency.of(error, "keras", "keras") from error

from hpo_plugins.integrations import _keras_state as keras_state
from hpo_plugins.integrations import _random_state as random_state

__all__ = ["TrialCallback", "load_model"]


class TrialCallback(keras.callbacks.Callback):
    """Report every epoch to a trial or a fold, and end the training when it is to stop.

    Epochs without a validation (``validation_freq``) are recorded but not judged.

    Args:
        trial: The trial that the tuner yielded, or a fold of it.

    Raises:
        InvalidArgument: It is neither.
    """

    def __init__(self, trial: TrainingHandle) -> None:
        """Bind to the trial."""
        super().__init__()
        self._trial = handle_of(trial)
        self._start()

    def _start(self) -> None:
        self._validated = False
        self._restored: keras_state.Checkpoint | None = None  # until the first epoch begins
        self._weights: list[Any] | None = None  # of an epoch that is to be saved

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:  # noqa: ARG002
        """Begin a phase of the trial: restore what was interrupted, and leave out what is over."""
        self._start()
        trial, arguments = self._trial, caller_arguments(("fit",), "validation_freq")
        self._first = int(arguments.get("initial_epoch") or 0)
        self._phase = phase = trial.plugin.begin_phase(self._first, keras_state.variables_of(self.model))
        if keras.backend.backend() == "tensorflow" and trial.plugin.can_pause and arguments.get("shuffle"):
            trial.plugin.warn_once(
                "tensorflow",
                "With Keras on TensorFlow, a training that resumes shuffles its data anew, since tf.data cannot save "
                "the state of its shuffling: the result is equal in distribution, not in every bit. With "
                "shuffle=False it is bit-identical.",
            )
        if phase.checkpoint is not None:
            path = Path(phase.checkpoint)
            checkpoint = keras_state.read(path, trial.trial_number)
            trial.plugin.state_of_phases.update({int(n): state for n, state in checkpoint.state["phases"].items()})
            if phase.restores:
                self._restored = checkpoint
                keras_state.restore_model(checkpoint, self.model, path, trial.trial_number)
            else:
                keras_state.restore_weights(checkpoint, self.model)
        if phase.is_over:
            self.model._initial_epoch = self.params["epochs"]  # noqa: SLF001 - as Keras's BackupAndRestore does
        elif phase.trained:
            self.model._initial_epoch = self._first + phase.trained  # noqa: SLF001

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:  # noqa: ARG002
        """Save the epoch before if that is due, or restore what other callbacks reset when the training began."""
        self._save()
        self._restore_callbacks()

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:  # noqa: ARG002
        """Note that a validation took place."""
        self._validated = True

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Report the epoch."""
        logs = logs or {}
        follows = self._trial.objective.metric not in logs and not self._validated and _validates_later()
        try:
            stop = self._trial.report(self._phase.begin + epoch - self._first + 1, logs, objective_follows=follows)
        except MetricNotFound as error:
            raise hint_of_order(error, self, _callbacks()) from None
        if stop:
            self.model.stop_training = True
        if self._trial.save_is_due:
            self._weights = keras_state.arrays_of(self.model)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:  # noqa: ARG002
        """Save the last epoch if that is due, and let the next ``fit`` start at its own initial epoch."""
        self._save()
        self._restore_callbacks()
        states, number = self._trial.plugin.state_of_phases, self._phase.number
        if self._phase.is_over and number in states:
            keras_state.restore_history(states[number], _callbacks())
        for history in (c for c in _callbacks() if isinstance(c, keras.callbacks.History)):
            states[number] = [list(history.epoch), dict(history.history)]
        if self._phase.is_over or self._phase.trained:
            self.model._initial_epoch = None  # noqa: SLF001 - else the next fit would use it too

    def _restore_callbacks(self) -> None:
        if self._restored is not None:
            checkpoint, self._restored = self._restored, None
            keras_state.restore_callbacks(checkpoint, _callbacks())
            random_state.restore(checkpoint.state["random"])

    def _save(self) -> None:
        """Save after all callbacks have seen the epoch, with the weights from before any of them ended the training."""
        if self._weights is not None:
            weights, self._weights = self._weights, None
            phases = {n: state for n, state in self._trial.plugin.state_of_phases.items() if n < self._phase.number}
            self._trial.save(
                lambda path: keras_state.write(path, self.model, weights, _callbacks(), phases), suffix=".npz"
            )


def load_model(trial: TrialRecord, model: Any) -> Any:
    """Give a model the weights that a trial had at its best epoch, and return it.

    Args:
        trial: Its record, such as ``tuner.best_trial`` of a search with ``Tuner(checkpoints="best")``.
        model: A model as the trial's own, such as ``build(**tuner.best_trial.params)``; it must be built.

    Raises:
        CheckpointError: The epoch was not saved, or the checkpoint is damaged or of another model.
    """
    path = best_checkpoint_of(trial)
    keras_state.assign_weights(keras_state.read(path, trial.number), model, path, trial.number)
    return model


def _validates_later() -> bool:
    """Return whether the current ``fit`` validates, but not after every epoch.

    If that cannot be known, a missing metric is an error at once.
    """
    arguments = caller_arguments(("fit",), "validation_freq")
    return arguments.get("validation_data") is not None and arguments.get("validation_freq", 1) != 1


def _callbacks() -> list[Any]:
    """Return all callbacks of the current ``fit``; if they cannot be known, their counters start again."""
    return list(getattr(caller_arguments(("fit",), "validation_freq").get("callbacks"), "callbacks", []))
