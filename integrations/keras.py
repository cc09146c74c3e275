"""Tune inside Keras 3's ``model.fit``, on any backend.

model.fit(x, y, validation_data=(xv, yv), epochs=81, callbacks=[TrialCallback(trial)])
"""

from __future__ import annotations

import inspect
from typing import Any

from hpo_plugins.errors import MissingDependency
from hpo_plugins.trial import Trial

try:
    import keras
except ModuleNotFoundError as error:
    raise MissingDependency.of(error, "keras", "keras") from error

__all__ = ["TrialCallback"]


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

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:  # noqa: ARG002
        """Start to look for the first validation."""
        self._validated = False

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:  # noqa: ARG002
        """Note that this training validates."""
        self._validated = True

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Report the epoch."""
        logs = logs or {}
        follows = self._trial.objective.metric not in logs and not self._validated and _validates_later()
        if self._trial.report(epoch + 1, logs, objective_follows=follows):
            self.model.stop_training = True


def _validates_later() -> bool:
    """Return whether the ``fit`` under way will validate at a later epoch only.

    Keras tells callbacks neither whether there is validation data nor how often it is used. Both are arguments of
    ``fit``, the function that called us; not to find them there only means that a missing metric is an error now.
    """
    frame = inspect.currentframe()
    while frame is not None:
        if frame.f_code.co_name == "fit" and "validation_freq" in frame.f_locals:
            return frame.f_locals.get("validation_data") is not None and frame.f_locals["validation_freq"] != 1
        frame = frame.f_back
    return False
