"""Tune inside Keras 3's ``model.fit``, on any backend.

    model.fit(x, y, validation_data=(xv, yv), epochs=81, callbacks=[TrialCallback(trial)])

A trial that is resumed after a pause or a crash needs no change: model, optimisers, history, epoch, random generators
and the counters of Keras's own callbacks are restored, and ``epochs`` stays the total. On PyTorch and JAX the weights
are bit-identical to those of an uninterrupted training run; ``tf.data`` cannot save the state of its shuffling.

A second ``fit`` of the same model is a second phase of the trial: its epochs continue the count, whatever
``initial_epoch`` is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hpo_plugins.integrations._shared import (
    begins_elsewhere,
    best_checkpoint_of,
    caller_arguments,
    calling_object,
    handle_of,
    hint_of_order,
    warn_of_shared_path,
)

from hpo_plugins.errors import MetricNotFound, MissingDependency
from hpo_plugins.records import MAX_EPOCH, TrialRecord
from hpo_plugins.trial import TrainingHandle

try:
    import keras
except ModuleNotFoundError as error:
    raise MissingDependency.of(error, "keras", "keras") from error

from hpo_plugins.integrations import _keras_state as keras_state
from hpo_plugins.integrations import _random_state as random_state

__all__ = ["TrialCallback", "load_model"]


_WRITERS = {"ModelCheckpoint": "filepath", "BackupAndRestore": "backup_dir", "CSVLogger": "filename"}
"""Keras's callbacks that write files, and the attribute with the path."""


class TrialCallback(keras.callbacks.Callback):
    """Report every epoch to a trial or a fold, and end the training run when it must stop.

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
        self._validated = self._has_objective = False
        self._restored: keras_state.Checkpoint | None = None  # if this phase resumes from it
        self._callbacks: list[Any] = []
        self._data: Any = None
        self._stop = False
        self._is_ended = False  # whether Keras or another callback has ended the training run after the last epoch
        self._epochs_left = 0

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:  # noqa: ARG002
        """Begin a phase of the trial: restore an interrupted phase, and skip a completed one."""
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
        self._data = arguments.get("x")
        self._warn_of_data_and_files()
        if phase.checkpoint is not None:
            checkpoint = keras_state.read(Path(phase.checkpoint), trial.trial_number)
            trial.plugin.state_of_phases.update({int(n): state for n, state in checkpoint.state["phases"].items()})
            self._restore_model(checkpoint)
        else:
            checkpoint = None
        container = calling_object(keras.callbacks.CallbackList)
        if container is None:
            self._begin(checkpoint)
            return
        self._callbacks = callbacks = container.callbacks
        for stale in [c for c in callbacks if isinstance(c, _Last) and (c.owner is self or c.owner not in callbacks)]:
            callbacks.remove(stale)  # a fit that failed has left it
        callbacks.append(_Last(self, lambda: self._begin(checkpoint), self._end_epoch, self._end))

    def _warn_of_data_and_files(self) -> None:
        """Warn at the first start of state that a resume cannot restore."""
        trial, container = self._trial, calling_object(keras.callbacks.CallbackList)
        for callback in [] if container is None else container.callbacks:
            path = getattr(callback, _WRITERS.get(type(callback).__name__, ""), None)
            if path is not None:
                warn_of_shared_path(trial, callback, Path(path))
            if trial.plugin.can_pause and isinstance(callback, keras.callbacks.CSVLogger) and not callback.append:
                trial.plugin.warn_once(
                    "CSVLogger",
                    "CSVLogger begins its file anew when a trial resumes: pass append=True, and a file for each trial.",
                )
        if trial.plugin.can_pause and (reason := keras_state.why_not_restored(self._data)) is not None:
            trial.plugin.warn_once("keras data", reason)

    @property
    def _epochs(self) -> int:
        """The ``epochs`` argument of ``fit``; the user's own loop may lack it."""
        return int((self.params or {}).get("epochs") or MAX_EPOCH)

    def _restore_model(self, checkpoint: keras_state.Checkpoint) -> None:
        if self._phase.restores:
            self._restored = checkpoint
            keras_state.restore_model(checkpoint, self.model, Path(self._phase.checkpoint), self._trial.trial_number)
        else:
            keras_state.restore_weights(checkpoint, self.model)

    def _begin(self, checkpoint: keras_state.Checkpoint | None) -> None:
        """Restore again the state that other callbacks have changed when the training run began."""
        phase, model = self._phase, self.model
        if checkpoint is not None:
            self._restore_model(checkpoint)
        first = self._first + phase.trained
        if self._restored is not None:
            keras_state.restore_callbacks(self._restored, self._callbacks)
            keras_state.restore_data(self._restored, self._data)
            random_state.restore(self._restored.state["random"])
            self._is_ended = bool(self._restored.state.get("is_ended"))
        self._epochs_left = self._epochs - first
        if phase.is_over or self._is_ended:
            model._initial_epoch = self._epochs  # noqa: SLF001 - as Keras's BackupAndRestore does
        elif phase.trained:
            model._initial_epoch = first  # noqa: SLF001
        elif (begins := model._initial_epoch or first) != first:  # noqa: SLF001
            raise begins_elsewhere(
                self._trial.trial_number,
                phase.begin,
                phase.begin + begins - first,
                "Another callback has restored another training, as BackupAndRestore does with a folder that several "
                "trials share: remove it, since a trial is resumed without it.",
            )

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:  # noqa: ARG002
        """Record that a validation took place."""
        self._validated = True

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Report the epoch; the training run ends when all callbacks have seen it."""
        logs = logs or {}
        metric = self._trial.objective.metric
        self._has_objective |= metric in logs
        if not self._has_objective and (error := _numbered_anew(metric, logs)) is not None:
            raise error
        follows = metric not in logs and not self._validated and _validates_later()
        try:
            stop = self._trial.report(self._phase.begin + epoch - self._first + 1, logs, objective_follows=follows)
        except MetricNotFound as error:
            others = [each for each in self._callbacks if not isinstance(each, _Last)]
            raise hint_of_order(error, self, others) from None
        self._stop |= stop
        if not self._callbacks:
            self._end_epoch(epoch)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:  # noqa: ARG002
        """End the phase if there is no list of callbacks, as in a loop of the user's own."""
        if not self._callbacks:
            self._end()

    def _end_epoch(self, epoch: int) -> None:
        """Save the epoch if due, and end the training run, after all callbacks, so that the state is consistent."""
        self._is_ended = bool(self.model.stop_training)
        self._epochs_left = self._epochs - epoch - 1
        if self._stop:
            self.model.stop_training = True
        trial, number = self._trial, self._phase.number
        if trial.save_is_due:
            phases = {n: state for n, state in trial.plugin.state_of_phases.items() if n < number}
            trial.save(
                lambda path: keras_state.write(
                    path, self.model, self._callbacks, self._data, phases, is_ended=self._is_ended
                ),
                suffix=".npz",
            )

    def _end(self) -> None:
        """Register the end of the phase, and make the next ``fit`` start at its own initial epoch."""
        plugin, phase = self._trial.plugin, self._phase
        if not phase.is_over:
            plugin.end_phase(is_complete=self._is_ended or not self._stop or self._epochs_left <= 0)
        states, number = plugin.state_of_phases, phase.number
        if phase.is_over and number in states:
            keras_state.restore_history(states[number], self._callbacks)
        self._callbacks[:] = [c for c in self._callbacks if getattr(c, "owner", None) is not self]
        for history in (c for c in self._callbacks if isinstance(c, keras.callbacks.History)):
            states[number] = [list(history.epoch), dict(history.history)]
        if phase.is_over or phase.trained:
            self.model._initial_epoch = None  # noqa: SLF001 - else the next fit would use it too


class _Last(keras.callbacks.Callback):
    """Calls ``TrialCallback`` after all callbacks of a ``fit``, wherever it is in the list.

    Args:
        owner: The ``TrialCallback``.
        begin: Called when all callbacks have begun the training run.
        end_epoch: Called when all have ended an epoch.
        end: Called when all have ended the training run.
    """

    def __init__(
        self,
        owner: TrialCallback,
        begin: Callable[[], None],
        end_epoch: Callable[[int], None],
        end: Callable[[], None],
    ) -> None:
        super().__init__()
        self.owner, self._begin, self._end_epoch, self._end = owner, begin, end_epoch, end

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:  # noqa: ARG002
        self._begin()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:  # noqa: ARG002
        self._end_epoch(epoch)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:  # noqa: ARG002
        self._end()


def load_model(trial: TrialRecord, model: Any) -> Any:
    """Load a trial's weights at its best epoch into a model, and return it.

    Args:
        trial: Its record, such as ``tuner.best_trial`` of a search with ``Tuner(checkpoints="best")``.
        model: A model as the trial's own, such as ``build(**tuner.best_trial.params)``; it must be built.

    Raises:
        CheckpointError: The epoch was not saved, or the checkpoint is damaged or of another model.
    """
    path = best_checkpoint_of(trial)
    keras_state.assign_weights(keras_state.read(path, trial.number), model, path, trial.number)
    return model


def _numbered_anew(metric: str, logs: Mapping[str, Any]) -> MetricNotFound | None:
    """Return the error that Keras has given a metric another number than the objective's, None if it has not.

    It numbers metrics without a name from model to model, so that the next model's is ``auc_1``. Later epochs would
    lack the objective, and would not be judged.
    """
    bare = re.sub(r"_\d+$", "", metric)
    if metric in logs or bare not in {re.sub(r"_\d+$", "", name) for name in logs}:
        return None
    name = bare.removeprefix("val_")
    hint = (
        "Keras numbers metrics that have no name, from one model to the next: give this one a name, such as "
        f"keras.metrics.AUC(name={name!r})."
    )
    return MetricNotFound(metric, logs, hint)


def _validates_later() -> bool:
    """Return whether the current ``fit`` validates, but not after every epoch.

    If that cannot be known, a missing metric is an error at once.
    """
    arguments = caller_arguments(("fit",), "validation_freq")
    return arguments.get("validation_data") is not None and arguments.get("validation_freq", 1) != 1
