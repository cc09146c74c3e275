"""The state of an XGBoost training run: its booster, its evaluation history and XGBoost's own callbacks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import xgboost


class Prepared(xgboost.Booster):
    """A booster that accepts parameters and ignores them."""

    def set_param(self, params: Any, value: Any = None) -> None:  # noqa: ARG002
        """Take the parameters."""
        self.taken = list(params.items()) if isinstance(params, Mapping) else list(params)


def early_stopping(container: Any) -> list[Any]:
    return [callback for callback in container.callbacks if isinstance(callback, xgboost.callback.EarlyStopping)]


def fill(history: Any, log: Mapping[str, Any]) -> None:
    """Add the evaluation history of earlier rounds to a training run."""
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
        booster.set_param("seed", int(generic["seed"]) + trained)  # otherwise it repeats the first rounds' draws
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
    """Make XGBoost's own callbacks continue to count from a checkpoint, at the first round after it.

    They add the model's earlier rounds to the rounds that they receive, which already include the ``trained`` ones.
    """
    begun = model.num_boosted_rounds() - trained
    for callback in container.callbacks:
        if isinstance(callback, xgboost.callback.EarlyStopping):
            callback.starting_round = begun
        if isinstance(callback, xgboost.callback.TrainingCheckPoint):
            callback._start = begun  # noqa: SLF001 - the first round after a resume would be counted twice
            callback._epoch = (trained - 1) % callback._iterations + 1  # noqa: SLF001 - rounds since it saved


def leave_out_early_stopping(container: Any) -> None:
    """Make a training run that trains nothing return its model unchanged, since it may have no best round."""
    others = [callback for callback in container.callbacks if callback not in early_stopping(container)]

    def after_training(model: Any) -> Any:
        for callback in others:
            model = callback.after_training(model=model)
        return model

    container.after_training = after_training
