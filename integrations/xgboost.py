"""Tune inside ``xgboost.train``, ``xgboost.cv`` and the scikit-learn classes' ``callbacks=``.

    xgboost.train(params, dtrain, 81, evals=[(dvalid, "validation")], callbacks=[TrialCallback(trial)])

Metrics are named ``<data>-<metric>``: ``validation-logloss`` here, ``validation_0-logloss`` with the scikit-learn
classes' ``eval_set``, ``test-logloss`` with ``cv``, whose value is the mean over folds (``test-logloss-std`` is
recorded beside it). An objective named as Amazon SageMaker does, ``validation:logloss``, is found too.

A trial that is resumed after a pause or a crash needs no change: its model, its evaluation history and the counters of
early stopping are restored, other callbacks see the rounds as if nothing had happened, and ``num_boost_round`` stays
the total. The result is bit-identical to an uninterrupted training run, except where XGBoost draws random numbers
(``subsample``, ``colsample_*``, ``num_parallel_tree``, and ``dart`` without ``seed_per_iteration``): its generator
cannot be saved, so the rounds after a resume use new draws.

A second ``train`` with ``xgb_model=`` is a second phase of the trial: its rounds continue the count.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from hpo_plugins.integrations._shared import (
    best_rounds_of,
    caller_arguments,
    calling_object,
    damaged,
    handle_of,
    hint_of_order,
    not_of_the_best,
    of_another_model,
    warn_of_shared_path,
)

from hpo_plugins.errors import MetricNotFound, MissingDependency
from hpo_plugins.records import TrialRecord
from hpo_plugins.trial import Phase, TrainingHandle

try:
    import xgboost
except ModuleNotFoundError as error:
    raise MissingDependency.of(error, "xgboost", "xgboost") from error

from hpo_plugins.integrations import _xgboost_state as boosting

__all__ = ["TrialCallback", "load_model"]

_IDENTITY = ("booster", "objective", "num_class", "num_target", "multi_strategy", "num_parallel_tree")
_NEWER = ("names", "types")
"""Model properties that checkpoints of earlier versions lack."""
_SAMPLING = ("subsample", "colsample_bytree", "colsample_bylevel", "colsample_bynode", "num_parallel_tree")
_STOPPING = ("stopping_history", "best_scores", "current_rounds", "maximize")
"""The counters of early stopping: public attributes of JSON types."""


class TrialCallback(xgboost.callback.TrainingCallback):
    """Report every boosting round to a trial or a fold, and end the training run when it must stop.

    Rounds are absolute: a training run continued with ``xgb_model=`` counts on from that model's rounds. The table that
    ``cv`` returns contains the rounds since the trial was resumed.

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
        self._boosters: list[Any] = []
        self._container: Any = None
        self._parameters: dict[str, Any] = {}
        self._data: Any = None
        self._model: dict[str, Any] = {}
        self._total: int | None = None
        self._phase = Phase(0, 0, 0, is_over=False, restores=False)
        self._stop = False
        self._is_ended = False  # whether XGBoost or another callback has ended the training run after the last round
        self._left = True  # whether num_boost_round asks for another round
        self._reported: int | None = None  # the last round of this training run, as XGBoost counts
        self._learning_rate: str | None = None

    def before_training(self, model: Any) -> Any:
        """Begin a phase of the trial: restore an interrupted phase, and skip a completed one."""
        self._start()
        trial, arguments = self._trial, caller_arguments(("train", "cv"), "num_boost_round")
        is_booster = isinstance(model, xgboost.Booster)
        self._boosters = [model] if is_booster else [fold.bst for fold in model.cvfolds]
        self._container = calling_object(xgboost.callback.CallbackContainer)
        self._total = arguments.get("num_boost_round")
        self._parameters = dict(arguments.get("params") or {})
        self._data = arguments.get("dtrain")
        self._model = _model(arguments) | {"boosters": len(self._boosters)}
        given = model.num_boosted_rounds() if is_booster and arguments.get("xgb_model") is not None else 0
        self._phase = phase = trial.plugin.begin_phase(given, continues=given > 0)
        for saving in self._container.callbacks:
            if isinstance(saving, xgboost.callback.TrainingCheckPoint):
                warn_of_shared_path(trial, saving, Path(saving._path, saving._name))  # noqa: SLF001
        if trial.plugin.can_pause or phase.restores:
            self._warn_of_sampling()
        if phase.checkpoint is not None:
            self._restore(Path(phase.checkpoint))
        if phase.is_over and phase.number in trial.plugin.state_of_phases:
            boosting.fill(self._container.history, trial.plugin.state_of_phases[phase.number])
        if phase.is_over and not phase.restores:
            boosting.leave_out_early_stopping(self._container)
        if not phase.is_over:
            self._join(self._container)
        return model

    def _join(self, container: Any) -> None:
        """Take part in every round after all callbacks have, whatever their order, and count on from a checkpoint.

        XGBoost asks no further callback after one that ends the training run, and it counts from 0 in each call of
        ``train``, so that a schedule of the learning rate would begin again.
        """
        before, after, trained = container.before_iteration, container.after_iteration, self._phase.trained

        def before_iteration(model: Any, epoch: int, *data: Any) -> bool:
            if self._stop or self._is_ended or not self._is_left(epoch + trained):
                return True
            if not epoch and trained:
                boosting.count_on(container, model, trained)
                for booster in self._boosters:
                    if self._learning_rate is not None:
                        booster.set_param("learning_rate", self._learning_rate)
            return bool(before(model, epoch + trained, *data))

        def after_iteration(model: Any, epoch: int, *data: Any) -> bool:
            ends = bool(after(model, epoch + trained, *data))
            if self._reported != epoch + trained:
                self.after_iteration(model, epoch + trained, container.history)
            self._is_ended, self._left = ends, self._is_left(epoch + trained + 1)
            self._save_if_due()
            return ends

        container.before_iteration, container.after_iteration = before_iteration, after_iteration

    def _warn_of_sampling(self) -> None:
        parameters = self._parameters
        drawn = [f"{name}={parameters[name]}" for name in _SAMPLING if float(parameters.get(name) or 1) != 1]
        if parameters.get("booster") == "dart" and not parameters.get("seed_per_iteration"):
            drawn.append("booster=dart")
        if drawn:
            self._trial.plugin.warn_once(
                "xgboost sampling",
                f"XGBoost cannot save the generator of its random draws ({', '.join(drawn)}): the rounds after a "
                "resume use new ones, so the result is equal in distribution to an uninterrupted training, not in "
                "every bit.",
            )

    def _is_left(self, epoch: int) -> bool:
        return self._total is None or epoch < self._total

    def before_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:  # noqa: ARG002
        """Train nothing in a phase that is over."""
        return self._phase.is_over

    def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:  # noqa: ARG002
        """Report the round.

        The training run ends before the next one: callbacks that come later must see this one.
        """
        self._reported = epoch
        metrics: dict[str, float] = {}
        for data, log in evals_log.items():
            for metric, values in log.items():
                value = values[-1]
                if isinstance(value, tuple):
                    value, metrics[f"{data}-{metric}-std"] = value
                metrics[f"{data}-{metric}"] = value
        objective = self._trial.objective.metric
        name = objective.replace(":", "-", 1)
        if objective not in metrics and name in metrics:
            metrics[objective] = metrics.pop(name)
        try:
            self._stop = self._trial.report(self._phase.begin + epoch + 1, metrics)
        except MetricNotFound as error:
            raise hint_of_order(error, self, self._container.callbacks) from None
        return False

    def after_training(self, model: Any) -> Any:
        """Register the end of the phase, and leave no trace in the model."""
        if not self._phase.is_over:
            plugin = self._trial.plugin
            plugin.state_of_phases[self._phase.number] = json.loads(json.dumps(self._container.history))
            plugin.end_phase(is_complete=self._is_ended or not self._stop or not self._left)
        for booster in self._boosters:
            booster.__dict__.pop("update", None)
        self._start()
        return model

    def _save_if_due(self) -> None:
        if self._trial.save_is_due and self._container.history:
            self._trial.save(self._write, suffix=".zip")

    def _write(self, path: Path) -> None:
        phases = self._trial.plugin.state_of_phases
        state = {
            "model": self._model,
            "log": self._container.history,
            "learning_rate": boosting.learning_rate(self._boosters[0]),
            "is_ended": self._is_ended,
            "phases": {number: log for number, log in phases.items() if number < self._phase.number},
            "early_stopping": [
                {name: getattr(callback, name) for name in _STOPPING}
                for callback in boosting.early_stopping(self._container)
            ],
        }
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            archive.writestr("state.json", json.dumps(state))
            for number, booster in enumerate(self._boosters):
                archive.writestr(f"{number}.ubj", bytes(booster.save_raw()))

    def _restore(self, path: Path) -> None:
        trial = self._trial.trial_number
        try:
            with zipfile.ZipFile(path) as archive:
                state = msgspec.structs.asdict(msgspec.json.decode(archive.read("state.json"), type=_State))
                models = [bytearray(archive.read(f"{number}.ubj")) for number in range(len(archive.namelist()) - 1)]
        except (OSError, zipfile.BadZipFile, ValueError, KeyError, EOFError) as error:
            raise damaged(path, "XGBoost", trial, error) from error
        own = {name: value for name, value in self._model.items() if name in state["model"] or name not in _NEWER}
        if state["model"] != own:
            raise of_another_model(path, trial, f"{state['model']}, and this training's is {own}")
        try:
            for booster, raw in zip(self._boosters, models, strict=True):
                boosting.load(booster, raw, self._prepared(), self._phase.trained if self._phase.restores else 0)
        except xgboost.core.XGBoostError as error:
            raise of_another_model(path, trial, str(error).strip().partition("\n")[0]) from error
        self._trial.plugin.state_of_phases.update({int(number): log for number, log in state["phases"].items()})
        if not self._phase.restores:
            return
        self._learning_rate, self._is_ended = state["learning_rate"], state["is_ended"]
        boosting.fill(self._container.history, state["log"])
        if self._phase.is_over:
            self._trial.plugin.state_of_phases[self._phase.number] = state["log"]
        for callback, counted in zip(boosting.early_stopping(self._container), state["early_stopping"], strict=False):
            for name in counted.keys() & _STOPPING:  # and nothing else that a stranger's file may name
                setattr(callback, name, counted[name])

    def _prepared(self) -> list[tuple[str, Any]]:
        """Return the parameters as XGBoost prepares them for a booster, such as constraints by features' positions."""
        data = self._data
        return boosting.Prepared(self._parameters, [] if data is None else [data]).taken


class _State(msgspec.Struct):
    """The content of a checkpoint's ``state.json``."""

    model: Any
    log: dict[str, dict[str, list[Any]]]
    learning_rate: float | str | None
    phases: dict[int, dict[str, Any]]
    early_stopping: list[dict[str, Any]]
    is_ended: bool = False  # checkpoints of earlier versions do not contain it


def load_model(trial: TrialRecord) -> Any:
    """Return the model of a trial at its best epoch, such as ``load_model(tuner.best_trial).predict(data)``.

    Rounds after the best one are left out; a model of ``dart`` or ``gblinear`` has none only if it was saved at that
    round (``Tuner(checkpoints="best")``).

    Args:
        trial: Its record.

    Raises:
        CheckpointError: No checkpoint has the best round, or it is damaged.
    """
    path, rounds = best_rounds_of(trial)
    booster = xgboost.Booster()
    try:
        with zipfile.ZipFile(path) as archive:
            booster.load_model(bytearray(archive.read("0.ubj")))
    except (OSError, zipfile.BadZipFile, ValueError, KeyError, EOFError, xgboost.core.XGBoostError) as error:
        raise damaged(path, "XGBoost", trial.number, error) from error
    trained = booster.num_boosted_rounds()
    if trained == rounds:
        return booster
    kind = json.loads(booster.save_config())["learner"]["learner_train_param"]["booster"]
    if trained < rounds or kind != "gbtree":
        raise not_of_the_best(path, trial, trained)
    return booster[:rounds]


def _model(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the properties that a checkpoint and a training run must share.

    It is read from the arguments: what a booster says of itself depends on whether it was configured.
    """
    parameters, data = dict(arguments.get("params") or {}), arguments.get("dtrain")
    model = {name: str(parameters[name]) for name in _IDENTITY if name in parameters}
    if data is None:
        return model | {"features": None}
    return model | {"features": data.num_col(), "names": data.feature_names, "types": data.feature_types}
