"""Tune inside ``lightgbm.train``, ``lightgbm.cv`` and the scikit-learn classes' ``fit(callbacks=)``.

    lightgbm.train(params, dtrain, 81, valid_sets=[dvalid], valid_names=["validation"],
                   callbacks=[TrialCallback(trial)], init_model=trial.resume_from)

Metrics are named ``<data>-<metric>``: ``validation-binary_logloss`` here, ``valid_0-binary_logloss`` without names and
with the scikit-learn classes' ``eval_set``, ``valid-binary_logloss`` with ``cv``, whose value is the mean over folds
(``valid-binary_logloss-std`` is recorded beside it).

LightGBM can only be given a model before it trains, so a training that is to be resumed after a pause or a crash needs
``init_model=trial.resume_from``; it is None for a new trial, and ``num_boost_round`` stays the total. The evaluation
history, early stopping and schedules (``reset_parameter``) continue, and the result is bit-identical to an
uninterrupted training, except where LightGBM draws random numbers (``bagging_fraction``, ``feature_fraction``,
``extra_trees``, ``dart``): its generators cannot be saved, so the rounds after a resume use new draws.

A second ``train`` with ``init_model=`` is a second phase of the trial: its rounds count on.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from hpo_plugins.integrations._shared import (
    best_rounds_of,
    caller_arguments,
    damaged,
    handle_of,
    hint_of_order,
    not_of_the_best,
)

from hpo_plugins.errors import CheckpointError, InvalidArgument, MetricNotFound, MissingDependency
from hpo_plugins.records import TrialRecord
from hpo_plugins.trial import Phase, TrainingHandle

try:
    import lightgbm
except ModuleNotFoundError as error:
    raise MissingDependency.of(error, "lightgbm", "lightgbm") from error

__all__ = ["TrialCallback", "load_model"]

_FIRST = -(10**9)
_LOG = "hpo_plugins:"
"""Begins the line of a saved model that contains its evaluation history; LightGBM skips it."""
_LAST_LINE = "pandas_categorical:"
_SEEDS = ("bagging_seed", "feature_fraction_seed", "extra_seed", "drop_seed", "objective_seed")
_SAMPLING = {
    "bagging_fraction": ("bagging_fraction", "sub_row", "subsample", "bagging"),
    "feature_fraction": ("feature_fraction", "sub_feature", "colsample_bytree"),
    "feature_fraction_bynode": ("feature_fraction_bynode", "sub_feature_bynode", "colsample_bynode"),
}
"""Parameters that draw unless they are 1, with their aliases."""
_BOOSTING = ("boosting", "boosting_type", "boost")
_FOLLOWING_HISTORY = (type(lightgbm.early_stopping(1, verbose=False)), type(lightgbm.record_evaluation({})))
"""LightGBM's own callbacks whose state is a function of the evaluation history."""

_Evaluation = list[tuple[str, str, float, bool]]


class TrialCallback:
    """Report every boosting round to a trial or a fold, and end the training when it is to stop.

    Rounds are absolute: a training continued with ``init_model=`` counts on from that model's rounds.

    Args:
        trial: The trial that the tuner yielded, or a fold of it.

    Raises:
        InvalidArgument: It is neither.
    """

    before_iteration = True

    def __init__(self, trial: TrainingHandle) -> None:
        """Bind to the trial."""
        self._trial = handle_of(trial)
        self.order = _FIRST  # on the object: LightGBM numbers callbacks that have none there
        self._start()

    def _start(self) -> None:
        self._phase = Phase(0, 0, 0, is_over=False, restores=False)
        self._begin = 0  # the model's rounds before this phase
        self._end = 0
        self._log: list[_Evaluation] = []  # of the rounds since then
        self._others: list[Callable[[Any], object]] = []

    def __call__(self, env: Any) -> None:
        """Begin a phase of the trial before the first round; LightGBM calls it before every one."""
        if env.iteration == env.begin_iteration:
            self._start()
            self._begin_phase(env)

    def _begin_phase(self, env: Any) -> None:
        trial, given = self._trial, env.begin_iteration
        arguments = caller_arguments(("train", "cv"), "callbacks_after_iter")
        is_cv = not isinstance(env.model, lightgbm.Booster)
        if is_cv and trial.plugin.can_pause:
            raise InvalidArgument(
                "lightgbm.cv cannot be resumed, so the strategy must not pause it: use pause=False, or lightgbm.train "
                "with trial.folds(n)."
            )
        if is_cv and trial.resume_from is not None:
            trial.plugin.start_over()
        self._phase = phase = trial.plugin.begin_phase(given, continues=given > 0)
        before, after = arguments["callbacks_before_iter"], arguments["callbacks_after_iter"]
        if phase.is_over:
            self._train_nothing(env, after)
            return
        if phase.restores and given != phase.start:
            phase = self._start_over(given)
        self._begin = given - phase.trained
        self._end = self._begin + env.end_iteration - env.begin_iteration
        self._others = list(after)
        after[:] = [self._after_iteration]
        if trial.plugin.can_pause or phase.trained:
            self._warn_of_sampling(env)
        if phase.trained:
            self._log = _read_log(Path(str(phase.checkpoint)), trial.trial_number)
            self._replay(env)
            _draw_anew(env, phase.trained)
            before[:] = [self, *(self._shifted(callback) for callback in before if callback is not self)]

    def _start_over(self, given: int) -> Phase:
        """Return a phase from the first round, if the training need not continue its checkpoint."""
        trial, phase = self._trial, self._phase
        if trial.plugin.can_pause or given or phase.number:
            raise CheckpointError(
                f"Trial {trial.trial_number} resumes after round {phase.start}, but this training begins after round "
                f"{given}. Pass init_model=trial.resume_from to train or fit; it is None for a new trial."
            )
        trial.plugin.start_over()
        self._phase = Phase(0, 0, 0, is_over=False, restores=False)
        return self._phase

    def _warn_of_sampling(self, env: Any) -> None:
        drawn = [
            f"{name}={env.params[alias]}"
            for name, aliases in _SAMPLING.items()
            for alias in aliases
            if float(env.params.get(alias) or 1) != 1
        ]
        drawn += [f"boosting={env.params[name]}" for name in _BOOSTING if env.params.get(name) in ("dart", "rf")]
        drawn += ["extra_trees"] * bool(env.params.get("extra_trees"))
        if drawn:
            self._trial.plugin.warn_once(
                "lightgbm sampling",
                f"LightGBM cannot save the generators of its random draws ({', '.join(drawn)}): the rounds after a "
                "resume use new ones, so the result is equal in distribution to an uninterrupted training, not in "
                "every bit. With dart, trees from before a resume are not dropped any more.",
            )

    def _replay(self, env: Any) -> None:
        """Show LightGBM's own callbacks the rounds that were trained before."""
        callbacks = [callback for callback in self._others if isinstance(callback, _FOLLOWING_HISTORY)]
        for place, evaluation in enumerate(self._log):
            for callback in callbacks:
                callback(self._seen(env, self._begin + place, _results(evaluation)))

    def _shifted(self, callback: Callable[[Any], object]) -> Callable[[Any], object]:
        """Return a callback that sees the rounds as they would be without the interruption."""
        return lambda env: callback(self._seen(env, env.iteration, env.evaluation_result_list))

    def _seen(self, env: Any, iteration: int, results: Any, end: int | None = None) -> Any:
        changes = {
            "iteration": iteration,
            "begin_iteration": self._begin,
            "end_iteration": self._end if end is None else end,
            "evaluation_result_list": results,
        }
        return dataclasses.replace(env, **changes) if dataclasses.is_dataclass(env) else env._replace(**changes)

    def _after_iteration(self, env: Any) -> None:
        """Report the round, show it to the other callbacks, save it if that is due, and end the training.

        A training that is to stop is shown to the others as one whose last round this is: then early stopping ends it,
        with its best round.
        """
        metrics = _metrics(env.evaluation_result_list or [])
        self._log.append([(str(d), str(m), float(v), bool(h)) for d, m, v, h, *_ in env.evaluation_result_list or []])
        last = env.iteration + 1
        try:
            stop = self._trial.report(self._phase.begin + last - self._begin, metrics)
        except MetricNotFound as error:
            raise hint_of_order(error, self, [self, *self._others]) from None
        stop = stop or last >= self._end
        seen = self._seen(env, env.iteration, env.evaluation_result_list, end=last if stop else self._end)
        try:
            for callback in self._others:
                callback(seen)
        except lightgbm.callback.EarlyStopException:
            self._save_if_due(env.model)
            raise
        self._save_if_due(env.model)
        if stop and last < env.end_iteration:
            raise lightgbm.callback.EarlyStopException(env.iteration, env.evaluation_result_list or [])

    def _train_nothing(self, env: Any, after: list[Callable[[Any], object]]) -> None:
        """Let a phase that is over return the model that it was given, or the checkpoint's, without a round."""
        boosters = getattr(env.model, "boosters", [env.model])
        for booster in boosters:
            booster.update = lambda **_: True
        checkpoint, begin = self._phase.checkpoint, env.begin_iteration

        def end(_: Any) -> None:
            for booster in boosters:
                del booster.update
            if checkpoint is not None and not begin:
                env.model.model_from_string(Path(checkpoint).read_text(encoding="utf-8"))
            raise lightgbm.callback.EarlyStopException(begin - 1, [])

        after[:] = [end]

    def _save_if_due(self, model: Any) -> None:
        if self._trial.save_is_due and isinstance(model, lightgbm.Booster):
            self._trial.save(lambda path: _write(path, model, self._log), suffix=".txt")


def load_model(trial: TrialRecord) -> Any:
    """Return the model of a trial at its best epoch, such as ``load_model(tuner.best_trial).predict(x)``.

    Rounds after the best one are left out; a model of ``dart`` has none only if it was saved at that round
    (``Tuner(checkpoints="best")``).

    Args:
        trial: Its record.

    Raises:
        CheckpointError: No checkpoint has the best round, or it is damaged.
    """
    path, rounds = best_rounds_of(trial)
    try:
        model = lightgbm.Booster(model_file=path)
    except (OSError, ValueError, lightgbm.basic.LightGBMError) as error:
        raise damaged(path, "LightGBM", trial.number, error) from error
    trained = model.current_iteration()
    if trained == rounds:
        return model
    if trained < rounds or "[boosting: dart]" in path.read_text(encoding="utf-8"):
        raise not_of_the_best(path, trial, trained)
    return lightgbm.Booster(model_str=model.model_to_string(num_iteration=rounds))


def _metrics(results: Sequence[Sequence[Any]]) -> dict[str, float]:
    """Return an evaluation by names such as ``validation-auc``."""
    metrics: dict[str, float] = {}
    for data, metric, value, _, *deviation in results:
        # Before LightGBM 4.7, the name of the data is part of the metric's in cv.
        name = metric.replace(" ", "-", 1) if data == "cv_agg" else f"{data}-{metric}"
        metrics[name] = value
        if deviation and deviation[0] is not None:
            metrics[f"{name}-std"] = deviation[0]
    return metrics


def _results(evaluation: _Evaluation) -> list[Any]:
    """Return a saved evaluation as LightGBM's callbacks take it: named tuples since 4.7, plain ones before."""
    return list(lightgbm.callback.EarlyStopException(0, [tuple(result) for result in evaluation]).best_score)


def _write(path: Path, model: Any, log: list[_Evaluation]) -> None:
    """Write a model that LightGBM reads, with the evaluation history in a line that it skips."""
    text = model.model_to_string(num_iteration=-1)
    end = text.rindex(_LAST_LINE)
    path.write_text(f"{text[:end]}{_LOG}{json.dumps(log)}\n{text[end:]}", encoding="utf-8")


def _read_log(path: Path, trial: int) -> list[_Evaluation]:
    try:
        text = path.read_text(encoding="utf-8")
        line = text[text.rindex(_LOG) + len(_LOG) :].partition("\n")[0]
        return msgspec.json.decode(line, type=list[_Evaluation])
    except (OSError, ValueError) as error:
        raise damaged(path, "LightGBM's TrialCallback", trial, error) from error


def _draw_anew(env: Any, trained: int) -> None:
    """Give a resumed training other seeds, else it repeats the draws of the first rounds."""
    base = int(env.params.get("seed") or env.params.get("random_state") or 0)
    env.model.reset_parameter({name: (base + trained * 1_000_003 + place) % 2**31 for place, name in enumerate(_SEEDS)})
