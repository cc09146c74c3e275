"""Tune inside ``xgboost.train``, ``xgboost.cv`` and the scikit-learn classes' ``callbacks=``.

    xgboost.train(params, dtrain, 81, evals=[(dvalid, "validation")], callbacks=[TrialCallback(trial)])

Metrics are named ``<data>-<metric>``: ``validation-logloss`` here, ``validation_0-logloss`` with the scikit-learn
classes' ``eval_set``, ``test-logloss`` with ``cv``, whose value is the mean over folds (``test-logloss-std`` is
recorded beside it).

A trial that is resumed after a pause or a crash needs no change: its model, its evaluation history and the counters of
early stopping are restored, and ``num_boost_round`` stays the total. The result is bit-identical to an uninterrupted
training, except where XGBoost draws random numbers (``subsample``, ``colsample_*``, ``num_parallel_tree``, and
``dart`` without ``seed_per_iteration``): its generator cannot be saved, so the rounds after a resume use new draws.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpo_plugins.integrations._shared import caller_arguments, damaged, of_another_model

from hpo_plugins.errors import MissingDependency
from hpo_plugins.trial import Trial

try:
    import xgboost
except ModuleNotFoundError as error:
    raise MissingDependency.of(error, "xgboost", "xgboost") from error

__all__ = ["TrialCallback"]

_IDENTITY = ("booster", "objective", "num_class", "num_target", "multi_strategy", "num_parallel_tree")
_STOPPING = ("stopping_history", "best_scores", "current_rounds", "maximize")
"""The counters of early stopping: public attributes of JSON types."""


class TrialCallback(xgboost.callback.TrainingCallback):
    """Report every boosting round to a trial, and end the training when the trial is to stop.

    Rounds are absolute: a training continued with ``xgb_model=`` counts on from that model's rounds. Put an
    ``EarlyStopping`` in ``callbacks`` after this one; ``early_stopping_rounds=`` comes after it by itself. The table
    that ``cv`` returns contains the rounds since the trial was resumed.

    Args:
        trial: The trial that the tuner yielded.
    """

    def __init__(self, trial: Trial) -> None:
        """Bind to the trial."""
        super().__init__()
        self._trial = trial
        self._start()

    def _start(self) -> None:
        self._boosters: list[Any] = []
        self._early_stopping: list[Any] = []
        self._model: dict[str, Any] = {}
        self._rounds_before = 0
        self._total: int | None = None
        self._earlier_log: dict[str, Any] = {}
        self._log: Any = {}
        self._stop = False

    def before_training(self, model: Any) -> Any:
        """Restore a resumed training, and count the rounds that the model already has."""
        self._start()
        self._boosters = [model] if isinstance(model, xgboost.Booster) else [fold.bst for fold in model.cvfolds]
        arguments = caller_arguments(("train", "cv"), "num_boost_round")
        stopping = xgboost.callback.EarlyStopping
        self._early_stopping = [c for c in arguments.get("callbacks") or [] if isinstance(c, stopping)]
        self._model = _model(arguments) | {"boosters": len(self._boosters)}
        if self._trial.resume_from is not None:
            self._total = arguments.get("num_boost_round")
            self._restore(Path(self._trial.resume_from))
        if isinstance(model, xgboost.Booster) or self._trial.resume_from is not None:
            self._rounds_before = self._boosters[0].num_boosted_rounds()
        return model

    def before_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:  # noqa: ARG002
        """Save the round before if that is due, and end the training.

        It ends here rather than in ``after_iteration``, where callbacks that come later would miss the last round.
        """
        if self._earlier_log and not evals_log:
            evals_log.update({data: {m: list(v) for m, v in log.items()} for data, log in self._earlier_log.items()})
        self._save_if_due()
        return self._stop or (self._total is not None and self._rounds_before + epoch >= self._total)

    def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:  # noqa: ARG002
        """Report the round."""
        metrics: dict[str, float] = {}
        for data, log in evals_log.items():
            for metric, values in log.items():
                value = values[-1]
                if isinstance(value, tuple):
                    value, metrics[f"{data}-{metric}-std"] = value
                metrics[f"{data}-{metric}"] = value
        self._log = evals_log
        self._stop = self._trial.report(self._rounds_before + epoch + 1, metrics)
        return False

    def after_training(self, model: Any) -> Any:
        """Save the last round if that is due, and leave no trace in the model."""
        self._save_if_due()
        for booster in self._boosters:
            booster.__dict__.pop("update", None)
        self._start()
        return model

    def _save_if_due(self) -> None:
        if self._trial.save_is_due and self._log:
            self._trial.save(self._write, suffix=".zip")

    def _write(self, path: Path) -> None:
        state = {
            "model": self._model,
            "log": self._log,
            "early_stopping": [{name: getattr(c, name) for name in _STOPPING} for c in self._early_stopping],
        }
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            archive.writestr("state.json", json.dumps(state))
            for number, booster in enumerate(self._boosters):
                archive.writestr(f"{number}.ubj", bytes(booster.save_raw()))

    def _restore(self, path: Path) -> None:
        try:
            with zipfile.ZipFile(path) as archive:
                state = json.loads(archive.read("state.json"))
                models = [bytearray(archive.read(f"{number}.ubj")) for number in range(len(archive.namelist()) - 1)]
        except (OSError, zipfile.BadZipFile, ValueError, KeyError, EOFError) as error:
            raise damaged(path, "XGBoost", self._trial.number, error) from error
        if state["model"] != self._model:
            difference = f"{state['model']}, and this training's is {self._model}"
            raise of_another_model(path, self._trial.number, difference)
        for booster, raw in zip(self._boosters, models, strict=True):
            _load(booster, raw)
        self._earlier_log = {
            data: {m: [tuple(v) if isinstance(v, list) else v for v in values] for m, values in log.items()}
            for data, log in state["log"].items()
        }
        for callback, counted in zip(self._early_stopping, state["early_stopping"], strict=False):
            for name, value in counted.items():
                setattr(callback, name, value)


def _load(booster: Any, raw: bytearray) -> None:
    """Load a saved model into the booster of this training, and let its rounds count on.

    This works only before the training begins.
    """
    booster.load_model(raw)
    start, update = booster.num_boosted_rounds(), booster.update
    learner = json.loads(booster.save_config())["learner"]
    generic, kind = learner["generic_param"], learner["learner_train_param"]["booster"]
    if kind != "gblinear" and generic["seed_per_iteration"] != "1":
        booster.set_param("seed", int(generic["seed"]) + start)  # else it repeats the first rounds' draws
    booster.update = lambda dtrain, iteration, fobj=None: update(dtrain, iteration + start, fobj)


def _model(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a checkpoint and a training must have in common.

    It is read from the arguments: asking a booster would configure it, after which no model can be loaded into it.
    """
    parameters, data = dict(arguments.get("params") or {}), arguments.get("dtrain")
    model = {name: str(parameters[name]) for name in _IDENTITY if name in parameters}
    return model | {"features": None if data is None else data.num_col()}
