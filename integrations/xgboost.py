"""Tune inside ``xgboost.train``, ``xgboost.cv`` and the scikit-learn classes' ``callbacks=``.

    xgboost.train(params, dtrain, 81, evals=[(dvalid, "validation")], callbacks=[TrialCallback(trial)])

Metrics are named ``<data>-<metric>``: ``validation-logloss`` here, ``validation_0-logloss`` with the scikit-learn
classes' ``eval_set``, ``test-logloss`` with ``cv``, whose value is the mean over folds (``test-logloss-std`` is
recorded beside it).
"""

from __future__ import annotations

from typing import Any

from hpo_plugins.errors import MissingDependency
from hpo_plugins.trial import Trial

try:
    import xgboost
except ModuleNotFoundError as error:
    raise MissingDependency.of(error, "xgboost", "xgboost") from error

__all__ = ["TrialCallback"]


class TrialCallback(xgboost.callback.TrainingCallback):
    """Report every boosting round to a trial, and end the training when the trial is to stop.

    Rounds are counted absolutely: a training continued with ``xgb_model=`` counts on from that model's rounds.

    Args:
        trial: What the tuner yielded.
    """

    def __init__(self, trial: Trial) -> None:
        """Bind to the trial."""
        super().__init__()
        self._trial = trial
        self._rounds_before = 0
        self._stop = False

    def before_training(self, model: Any) -> Any:
        """Count the rounds that the model has already; a model of ``cv`` is always fresh."""
        self._rounds_before = model.num_boosted_rounds() if isinstance(model, xgboost.Booster) else 0
        self._stop = False
        return model

    def before_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:  # noqa: ARG002
        """End the training here: after the round, the callbacks that come later would not have seen it."""
        return self._stop

    def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:  # noqa: ARG002
        """Report the round."""
        metrics: dict[str, float] = {}
        for data, log in evals_log.items():
            for metric, values in log.items():
                value = values[-1]
                if isinstance(value, tuple):
                    value, metrics[f"{data}-{metric}-std"] = value
                metrics[f"{data}-{metric}"] = value
        self._stop = self._trial.report(self._rounds_before + epoch + 1, metrics)
        return False
