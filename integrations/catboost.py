"""Tune inside ``CatBoost.fit``, ``CatBoostClassifier.fit`` and those of the other classes.

::

    model.fit(x, y, eval_set=(xv, yv), callbacks=[TrialCallback(trial)], **snapshot(trial))

Metrics are named ``<data>-<metric>``, with CatBoost's names: ``validation-Logloss`` here, ``validation_0-Logloss`` with
several ``eval_set``, ``learn-Logloss`` for the training data.

CatBoost continues a training run only from its own snapshot, so ``snapshot(trial)`` passes one to ``fit``: a new file
in the trial's folder, or after a pause or a crash the one in its checkpoint. The evaluation history, early stopping and
random draws continue, ``iterations`` stays the total, and the result is bit-identical to an uninterrupted training run
with the same ``thread_count``. Without it, a strategy that pauses is refused, and after a crash the training run starts
over. ``catboost.cv`` has no callbacks: call ``fit`` in ``for fold in trial.folds(n)``.

A second ``fit`` with ``init_model=`` is a second phase of the trial: its rounds continue the count.

On a GPU CatBoost has no callbacks; ``train_in_chunks`` trains some rounds at a time there, and judges between them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hpo_plugins.integrations._shared import best_rounds_of, handle_of, not_of_the_best

from hpo_plugins._validation import whole_number
from hpo_plugins.errors import InvalidArgument, MissingDependency
from hpo_plugins.records import TrialRecord
from hpo_plugins.trial import TrainingHandle

try:
    import catboost
except ModuleNotFoundError as error:
    raise MissingDependency.of(error, "catboost", "catboost") from error

from hpo_plugins.integrations import _catboost_state as state
from hpo_plugins.integrations._catboost_run import Run, finish_checkpoint

__all__ = ["TrialCallback", "load_model", "snapshot", "train_in_chunks"]

_NEVER = 10**9
_HANDED = -1
"""The key of the checkpoint that ``snapshot`` has passed on last; phases have numbers from 0."""


class TrialCallback:
    """Report every boosting round to a trial or a fold, and end the training run when it must stop.

    Rounds are absolute: a training run continued with ``init_model=`` counts on from that model's rounds.

    Args:
        trial: The trial that the tuner yielded, or a fold of it.

    Raises:
        InvalidArgument: It is neither.
    """

    def __init__(self, trial: TrainingHandle) -> None:
        """Bind to the trial."""
        self._trial = handle_of(trial)
        self._run: Run | None = None

    def after_iteration(self, info: Any) -> bool:
        """Report the round, and return whether to continue; CatBoost calls it after every round."""
        call = state.call_on_the_stack()
        if self._run is None or self._run.call.parameters is not call.parameters:
            self._run = Run(self._trial, self, call)
        return self._run.after_iteration(info)


def snapshot(trial: TrainingHandle, seconds: int = 10) -> dict[str, Any]:
    """Return the arguments of ``fit`` with which CatBoost saves the training run and resumes it.

    They are empty if nothing needs a checkpoint: the study is in memory, and its strategy does not pause.

    Args:
        trial: The trial, or a fold of it. Call this anew for each ``fit``.
        seconds: How often CatBoost writes its snapshot while it trains; a crash loses the rounds since then. 0 writes
            it after every round. With ``Tuner(checkpoints="best")`` it is always 0.

    Raises:
        InvalidArgument: ``trial`` is no trial, or ``seconds`` is not a whole number from 0 on.
        CheckpointError: The trial's checkpoint is damaged.
    """
    trial, seconds = handle_of(trial), whole_number("seconds", seconds, at_least=0)
    plugin = trial.plugin
    session = plugin.visit().session
    policy = session.checkpoints.policy
    saves_running = policy == "best" or (policy != "pauses" and session.store.outlives_process)
    if not (saves_running or plugin.can_pause or trial.resume_from):
        return {}
    known = plugin.state_of_phases
    if trial.resume_from is not None and known.get(_HANDED) == trial.resume_from:
        plugin.begin_phase(0, continues=True)  # the last ``fit`` had nothing left to train, so it called no callback
        plugin.end_phase(is_complete=True)
    path, file = trial.resume_from, state.new_working_file(trial)
    if path is not None and not state.extract_snapshot(Path(path), file, trial.trial_number):
        path = None
    known[_HANDED] = path
    interval = 0 if policy == "best" else seconds if saves_running else _NEVER
    return {"save_snapshot": True, "snapshot_file": str(file), "snapshot_interval": interval}


def train_in_chunks(
    trial: TrainingHandle, model: Any, x: Any, y: Any = None, *, chunk: int = 10, **fit_arguments: Any
) -> Any:
    """Train a model some rounds at a time, report the last round of each chunk, and return the trained model.

    This is for ``task_type="GPU"``, where CatBoost calls no callbacks, and works on a CPU, too. Each chunk continues
    CatBoost's snapshot of the chunk before, so the model is that of one ``fit``. CatBoost prepares the data for every
    chunk again: choose a chunk that trains much longer than that.

    Args:
        trial: The trial, or a fold of it.
        model: An untrained model. It needs a ``learning_rate``, since CatBoost's own choice depends on the number of
            rounds, and ``iterations`` is the total.
        x: The training data, as ``fit`` takes it.
        y: Its labels.
        chunk: Rounds between two reports.
        fit_arguments: Further arguments of ``fit``, such as ``eval_set``.

    Raises:
        InvalidArgument: The model is trained or has no ``learning_rate``, ``chunk`` is not a whole number from 1 on, or
            ``fit_arguments`` has callbacks, a snapshot or an ``init_model``.
    """
    trial, chunk = handle_of(trial), whole_number("chunk", chunk, at_least=1)
    parameters = _parameters_of(model, fit_arguments)
    total = next((int(parameters[name]) for name in state.ROUNDS if parameters.get(name) is not None), 1000)
    others = {name: value for name, value in parameters.items() if name not in state.ROUNDS}
    phase, file = trial.plugin.begin_phase(), state.new_working_file(trial)
    if phase.checkpoint is not None:
        state.extract_snapshot(Path(phase.checkpoint), file, trial.trial_number)
    saving = {"save_snapshot": True, "snapshot_file": str(file), "snapshot_interval": _NEVER}
    trained = phase.trained
    if phase.is_over:
        total = trained = trained or 1  # CatBoost has no model without a round
    try:
        while True:
            end = trained if phase.is_over else min((trained // chunk + 1) * chunk, total)
            trained_model = type(model)(**others, iterations=end)
            trained_model.fit(x, y, **fit_arguments, **saving)
            if phase.is_over:
                return trained_model
            is_over, trained = _judge(trial, trained_model, phase.begin, trained, end, total)
            if trial.save_is_due:
                _save(trial, trained_model, phase.begin + trained, file)
            if is_over:
                finish_checkpoint(trial, trained_model)
                return trained_model
    finally:
        file.unlink(missing_ok=True)


def _parameters_of(model: Any, fit_arguments: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(model, catboost.CatBoost):
        raise InvalidArgument(f"model must be a model of CatBoost, but got {type(model).__name__}.")
    if model.is_fitted():
        raise InvalidArgument("model must be untrained, but it is trained. Make a new one for each trial.")
    taken = {"callbacks", "init_model", "save_snapshot", "snapshot_file", "snapshot_interval"} & fit_arguments.keys()
    if taken:
        raise InvalidArgument(
            f"train_in_chunks must be given other arguments of fit than {sorted(taken)}, which it sets itself."
        )
    parameters: dict[str, Any] = model.get_params()
    if parameters.get("learning_rate") is None and parameters.get("eta") is None:
        raise InvalidArgument(
            "model must have a learning_rate, since CatBoost's own choice depends on the number of rounds, which "
            "differs from chunk to chunk. Add one, or make it a parameter of the search."
        )
    return parameters


def _judge(trial: TrainingHandle, model: Any, begin: int, before: int, end: int, total: int) -> tuple[bool, int]:
    """Report the last round of a chunk; return whether the training run is over, and the rounds that it has."""
    history = model.get_evals_result()
    trained = max((len(values) for log in history.values() for values in log.values()), default=end)
    trained = min(trained, end)
    if trained <= before:  # early stopping has ended the training run in the chunk before
        trial.plugin.end_phase(is_complete=True)
        return True, before
    metrics = {f"{data}-{name}": values[-1] for data, log in history.items() for name, values in log.items() if values}
    stop = trial.report(begin + trained, metrics)
    is_complete = trained < end or end >= total
    if stop or is_complete:
        trial.plugin.end_phase(is_complete=is_complete)
    return stop or is_complete, trained


def _save(trial: TrainingHandle, model: Any, rounds: int, file: Path) -> None:
    kind = type(model).__name__
    trial.save(lambda path: state.write(path, rounds, kind, snapshot=file, model=model), suffix=".zip")


def load_model(trial: TrialRecord) -> Any:
    """Return the model of a trial at its best epoch, such as ``load_model(tuner.best_trial).predict(x)``.

    Rounds after the best one are left out. CatBoost hands its model over when a training run ends, so a trial that was
    killed has none until it is resumed.

    Args:
        trial: Its record.

    Raises:
        CheckpointError: No checkpoint has the model of the best round, or it is damaged.
    """
    path, rounds = best_rounds_of(trial)
    model = state.load(path, trial.number)
    if model is None:
        raise not_of_the_best(path, trial, 0)
    if model.tree_count_ < rounds:
        raise not_of_the_best(path, trial, model.tree_count_)
    if model.tree_count_ > rounds:
        model.shrink(ntree_end=rounds)
    return model
