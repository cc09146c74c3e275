"""The state of an XGBoost training: its booster, its evaluation history and XGBoost's own callbacks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import xgboost


class Prepared(xgboost.Booster):
    """A booster that takes parameters and does nothing with them."""

    def set_param(self, params: Any, value: Any = None) -> None:  # noqa: ARG002
        """Take the parameters."""
        self.taken = list(params.items()) if isinstance(params, Mapping) else list(params)


def early_stopping(container: Any) -> list[Any]:
    return [callback for callback in container.callbacks if isinstance(callback, xgboost.callback.EarlyStopping)]


def fill(history: Any, log: Mapping[str, Any]) -> None:
    """Give a training run the evaluation history of the rounds that it does not train itself."""
    for data, metrics in log.items():
        history[data] = {m: [tuple(v) if isinstance(v, list) else v for v in values] for m, values in metrics.items()}


def load(booster: Any, raw: bytearray, parameters: list[tuple[str, Any]], trained: int) -> None:
    """Load a saved model into the booster of this training run, which continues after ``trained`` of its rounds.

    This works only before the training run begins.
    """
    booster.load_model(raw)
    # If the booster was configured before, as by a question for its number of rounds, loading has lost its parameters.
    # Metrics stay, and giving them again would repeat them.
    booster.set_param([(name, value) for name, value in parameters if name != "eval_metric"])
    if not trained:
        return
    update = booster.update
    learner = json.loads(booster.save_config())["learner"]
    generic, kind = learner["generic_param"], learner["learner_train_param"]["booster"]
    if kind != "gblinear" and generic["seed_per_iteration"] != "1":
        booster.set_param("seed", int(generic["seed"]) + trained)  # else it repeats the first rounds' draws
    booster.update = lambda dtrain, iteration, fobj=None: update(dtrain, iteration + trained, fobj)


def learning_rate(booster: Any) -> str | None:
    """Return the learning rate that a booster has now; ``LearningRateScheduler`` sets it after the round before."""
    parts = [json.loads(booster.save_config())["learner"]["gradient_booster"]]
    while parts:
        part = parts.pop()
        if "learning_rate" in part:
            return str(part["learning_rate"])
        parts += [value for value in part.values() if isinstance(value, dict)]
    return None


def count_on(container: Any, model: Any, trained: int) -> None:
    """Let XGBoost's own callbacks count on from a checkpoint, when the first round after it begins.

    They add the rounds that the model had before this training run to those that they are told, which include the
    ``trained`` ones already.
    """
    begun = model.num_boosted_rounds() - trained
    for callback in container.callbacks:
        if isinstance(callback, xgboost.callback.EarlyStopping):
            callback.starting_round = begun
        if isinstance(callback, xgboost.callback.TrainingCheckPoint):
            callback._start = begun  # noqa: SLF001 - the first round after a resume would be counted twice
            callback._epoch = (trained - 1) % callback._iterations + 1  # noqa: SLF001 - rounds since it saved


def leave_out_early_stopping(container: Any) -> None:
    """Let a training run that trains nothing return its model as it is: there may be no best round to return."""
    others = [callback for callback in container.callbacks if callback not in early_stopping(container)]

    def after_training(model: Any) -> Any:
        for callback in others:
            model = callback.after_training(model=model)
        return model

    container.after_training = after_training
