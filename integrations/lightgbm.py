"""Tune inside ``lightgbm.train``, ``lightgbm.cv`` and the scikit-learn classes' ``fit(callbacks=)``.

    lightgbm.train(params, dtrain, 81, valid_sets=[dvalid], valid_names=["validation"],
                   callbacks=[TrialCallback(trial)], init_model=trial.resume_from)

Metrics are named ``<data>-<metric>``: ``validation-binary_logloss`` here, ``valid_0-binary_logloss`` without names and
with the scikit-learn classes' ``eval_set``, ``valid-binary_logloss`` with ``cv``, whose value is the mean over folds
(``valid-binary_logloss-std`` is recorded beside it).

LightGBM can only be given a model before it trains, so a training run that resumes after a pause or a crash needs
``init_model=trial.resume_from``; it is None for a new trial, and ``num_boost_round`` stays the total. The evaluation
history, early stopping, schedules (``reset_parameter``) and the data's ``init_score`` continue, and the result is
bit-identical to an uninterrupted training run, except where LightGBM draws random numbers (``bagging_fraction``,
``feature_fraction``, ``extra_trees``, ``dart``, ``goss``): its generators cannot be saved, so the rounds after a resume
use new draws. Training runs that LightGBM cannot continue (``boosting="rf"``, ``linear_tree``, ``Dataset(position=)``,
``cegb_penalty_feature_*``, several runs on one ``Dataset`` whose raw data is freed) are refused by strategies that
pause, and start over after a crash.

A second ``train`` with ``init_model=`` is a second phase of the trial: its rounds continue the count.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hpo_plugins.integrations._shared import (
    begins_elsewhere,
    best_rounds_of,
    caller_arguments,
    damaged,
    handle_of,
    hint_of_order,
    not_of_the_best,
)

from hpo_plugins.errors import InvalidArgument, MetricNotFound, MissingDependency
from hpo_plugins.records import TrialRecord
from hpo_plugins.trial import Phase, TrainingHandle

try:
    import lightgbm
except ModuleNotFoundError as error:
    raise MissingDependency.of(error, "lightgbm", "lightgbm") from error

from hpo_plugins.integrations import _lightgbm_data as training_data
from hpo_plugins.integrations import _lightgbm_state as state

__all__ = ["TrialCallback", "load_model"]

_FIRST = -(10**9)
_EARLY_STOPPING = type(lightgbm.early_stopping(1, verbose=False))
_FOLLOWING_HISTORY = (_EARLY_STOPPING, type(lightgbm.record_evaluation({})))
"""LightGBM's own callbacks whose state is a function of the evaluation history."""


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
        self.order = _FIRST  # on the object: LightGBM numbers callbacks that have none there
        self._data: training_data.TrainingData | None = None
        self._is_afresh = False
        self._start()

    @property
    def before_iteration(self) -> bool:
        """True: LightGBM calls it before every round. It asks for this once, before it constructs its data."""
        self._data, self._is_afresh = training_data.data_of_training(), False
        model, path = training_data.model_to_continue(), self._trial.resume_from
        if self._data is not None and model is not None and path is not None:
            if self._data.why_not_resumed is None:
                self._data.continue_from(path, model, self._trial.trial_number)
            else:
                self._data.start_over()
                self._is_afresh = True
        return True

    def _start(self) -> None:
        self._phase = Phase(0, 0, 0, is_over=False, restores=False)
        self._begin = 0  # the model's rounds before this phase
        self._end = 0
        self._offset = 0  # rounds that LightGBM counts, but the model does not have
        self._saves = True
        self._log: list[state.Evaluation] = []  # of the rounds since then
        self._others: list[Callable[[Any], object]] = []

    def __call__(self, env: Any) -> None:
        """Begin a phase of the trial before the first round; LightGBM calls it before every one."""
        if env.iteration == env.begin_iteration:
            self._start()
            self._begin_phase(env)

    def _begin_phase(self, env: Any) -> None:
        arguments = caller_arguments(("train", "cv"), "callbacks_after_iter")
        before, after = arguments["callbacks_before_iter"], arguments["callbacks_after_iter"]
        self._offset = env.begin_iteration if self._is_afresh else 0
        given, rounds = env.begin_iteration - self._offset, env.end_iteration - env.begin_iteration
        self._refuse_to_pause(env)
        self._phase = phase = self._trial.plugin.begin_phase(given, continues=given > 0)
        resumes = phase.restores and state.rounds_of(phase) == given
        if phase.restores and not resumes and not phase.is_over:
            phase = self._start_over(given)
        self._begin = given - phase.trained if resumes else given
        self._end = self._begin + rounds
        self._others = list(after)
        after[:] = [self._after_iteration]
        if self._saves and not phase.is_over and (self._trial.plugin.can_pause or resumes):
            self._warn_of_draws(env)
        ended = self._continue(env) if resumes else None
        if phase.is_over or ended is not None:
            self._train_nothing(env, after, ended)
            return
        if resumes or self._offset:
            before[:] = [self, *(self._shifted(callback) for callback in before if callback is not self)]

    def _continue(self, env: Any) -> Exception | None:
        """Restore the state of LightGBM's callbacks; return how the training run has ended, if it is complete."""
        phase, number = self._phase, self._trial.trial_number
        path = Path(str(phase.checkpoint))
        self._log = state.read_log(path, number, phase.trained)
        state.check_structure(path, env.model, number)
        ended = self._replay(env)
        if ended is None and self._begin + phase.trained >= self._end:
            ended = lightgbm.callback.EarlyStopException(-1, state.results_of(self._log[-1]))
        if phase.is_over:
            return ended
        if ended is None:
            state.draw_anew(env, phase.trained)
        else:
            self._trial.plugin.end_phase(is_complete=True)
        return ended

    def _refuse_to_pause(self, env: Any) -> None:
        """Raise InvalidArgument if the training run cannot be resumed, and the strategy may pause it."""
        trial = self._trial
        if not isinstance(env.model, lightgbm.Booster):
            if trial.plugin.can_pause:
                raise InvalidArgument(
                    "lightgbm.cv cannot be resumed, so the strategy must not pause it: use pause=False, or "
                    "lightgbm.train with trial.folds(n)."
                )
            if trial.resume_from is not None:
                trial.plugin.start_over()
            return
        data, self._data = self._data, None
        if data is None:
            return
        data.release(env.model)
        if data.why_not_resumed is None:
            return
        if trial.plugin.can_pause:
            raise InvalidArgument(
                f"This training run cannot be paused, since {data.why_not_resumed}. Change that, or use a strategy "
                "with pause=False."
            )
        self._saves = env.begin_iteration == self._offset  # the phases before need not be trained again

    def _start_over(self, given: int) -> Phase:
        """Return a phase from the first round, if the training run need not continue its checkpoint."""
        trial, phase = self._trial, self._phase
        if trial.plugin.can_pause or given or phase.number:
            how = "Pass init_model=trial.resume_from to train or fit; it is None for a new trial."
            raise begins_elsewhere(trial.trial_number, phase.start, given, how, "round")
        trial.plugin.start_over()
        self._phase = trial.plugin.begin_phase(0, continues=True)
        return self._phase

    def _warn_of_draws(self, env: Any) -> None:
        if drawn := state.draws_of(env.params):
            self._trial.plugin.warn_once(
                "lightgbm sampling",
                f"LightGBM cannot save the generators of its random draws ({', '.join(drawn)}): the rounds after a "
                "resume use new ones, so the result is equal in distribution to an uninterrupted training, not in "
                "every bit. With dart, trees from before a resume are not dropped any more. With goss, the first "
                "1/learning_rate rounds after a resume use all data.",
            )

    def _replay(self, env: Any) -> Exception | None:
        """Show LightGBM's own callbacks the rounds that were trained before; return how one of them ended it then."""
        callbacks = [callback for callback in self._others if isinstance(callback, _FOLLOWING_HISTORY)]
        ended: Exception | None = None
        for place, evaluation in enumerate(self._log):
            for callback in callbacks:
                try:
                    callback(self._seen(env, self._begin + place, state.results_of(evaluation)))
                except lightgbm.callback.EarlyStopException as error:
                    ended = error
        return ended

    def _shifted(self, callback: Callable[[Any], object]) -> Callable[[Any], object]:
        """Return a callback that sees the rounds as in an uninterrupted training run."""
        return lambda env: callback(self._seen(env, env.iteration - self._offset, env.evaluation_result_list))

    def _seen(self, env: Any, iteration: int, results: Any, end: int | None = None) -> Any:
        changes = {
            "iteration": iteration,
            "begin_iteration": self._begin,
            "end_iteration": self._end if end is None else end,
            "evaluation_result_list": results,
        }
        return dataclasses.replace(env, **changes) if dataclasses.is_dataclass(env) else env._replace(**changes)

    def _after_iteration(self, env: Any) -> None:
        """Report the round, show it to the other callbacks, save it if that is due, and end the training run."""
        results = env.evaluation_result_list or []
        self._log.append([(str(d), str(m), float(v), bool(h)) for d, m, v, h, *_ in results])
        iteration = env.iteration - self._offset
        try:
            stop = self._trial.report(self._phase.begin + iteration + 1 - self._begin, _metrics(results))
        except MetricNotFound as error:
            raise hint_of_order(error, self, [self, *self._others]) from None
        is_complete = True  # if another callback ends the training run in its own right
        try:
            self._show(env, iteration, is_cut=stop and not self._trial.plugin.can_pause)
            is_complete = iteration + 1 >= self._end
            if stop and not is_complete:
                self._show_end(env, iteration)
        except lightgbm.callback.EarlyStopException:
            self._trial.plugin.end_phase(is_complete=is_complete)
            self._save_if_due(env.model)
            raise
        if stop or is_complete:
            self._trial.plugin.end_phase(is_complete=is_complete)
        self._save_if_due(env.model)
        if (stop or is_complete) and env.iteration + 1 < env.end_iteration:
            # LightGBM records no best round for a training run that ends after its last round.
            raise lightgbm.callback.EarlyStopException(-1 if is_complete else iteration, results)

    def _show(self, env: Any, iteration: int, *, is_cut: bool) -> None:
        """Show a round to the other callbacks; all but early stopping see an early end as the last round."""
        whole = self._seen(env, iteration, env.evaluation_result_list)
        cut = self._seen(env, iteration, env.evaluation_result_list, iteration + 1)
        for callback in self._others:
            callback(cut if is_cut and not isinstance(callback, _EARLY_STOPPING) else whole)

    def _show_end(self, env: Any, iteration: int) -> None:
        """Run early stopping as at the last round, so that it ends the training run with its best round."""
        for callback in self._others:
            if isinstance(callback, _EARLY_STOPPING):
                callback(self._seen(env, iteration, env.evaluation_result_list, iteration + 1))

    def _train_nothing(self, env: Any, after: list[Callable[[Any], object]], ended: Exception | None = None) -> None:
        """Make a completed phase return its initial model, or the checkpoint's, without a round."""
        boosters = getattr(env.model, "boosters", [env.model])
        for booster in boosters:
            booster.update = lambda **_: True
        checkpoint, begin = self._phase.checkpoint, env.begin_iteration - self._offset

        def end(_: Any) -> None:
            for booster in boosters:
                del booster.update
            if checkpoint is not None and not begin:
                env.model.model_from_string(Path(checkpoint).read_text(encoding="utf-8"))
            raise ended or lightgbm.callback.EarlyStopException(begin - 1, [])

        after[:] = [end]

    def _save_if_due(self, model: Any) -> None:
        if self._saves and self._trial.save_is_due and isinstance(model, lightgbm.Booster):
            self._trial.save(lambda path: state.write(path, model, self._log), suffix=".txt")


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
