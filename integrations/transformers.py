"""Tune inside the ``Trainer`` of Hugging Face Transformers, and of libraries that are built on it.

    trainer = Trainer(model, args, train_dataset=..., eval_dataset=..., callbacks=[TrialCallback(trial)])
    trainer.train(resume_from_checkpoint=trial.resume_from)

Every evaluation that ``eval_strategy`` asks for is a report, with all that was logged and evaluated since the one
before: ``eval_loss``, ``eval_accuracy``, ``loss``. With ``eval_strategy="epoch"`` the trial's epochs are epochs. With
``eval_strategy="steps"`` they are optimizer steps: ``Hyperband(min_resource=100, max_resource=2_000)`` then counts
steps, and a trial is judged at the first evaluation from a rung on. Without evaluations, what is logged is reported, by
epochs or steps as ``logging_strategy`` says. A separate ``evaluate()`` does not count.

A trial that is resumed after a pause or a crash needs ``resume_from_checkpoint=trial.resume_from``, which is None for a
new trial. Its checkpoint is one that the Trainer writes, with optimizer, schedule and random generators, but into the
study's folder: ``output_dir``, ``save_strategy`` and the other arguments of that kind are for the user's own savers.
Stateful callbacks, such as ``EarlyStoppingCallback``, keep their counts. The number of epochs or steps stays the total.
A second ``train()`` of the same model is a second phase of the trial: its epochs continue the count.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from numbers import Real
from pathlib import Path
from typing import Any

from hpo_plugins.integrations._shared import (
    ask_rank_zero,
    begins_elsewhere,
    caller_arguments,
    calling_object,
    handle_of,
    hint_of_order,
)

from hpo_plugins.errors import CheckpointError, MetricNotFound, MissingDependency
from hpo_plugins.trial import Fold, Phase, TrainingHandle

try:
    import transformers
except ModuleNotFoundError as error:
    raise MissingDependency.of(error, "transformers", "transformers") from error

from hpo_plugins.integrations import _transformers_data as training_data
from hpo_plugins.integrations import _transformers_state as checkpoints
from hpo_plugins.integrations._transformers_weights import load_model

__all__ = ["TrialCallback", "load_model"]

_REMEDY = "Pass resume_from_checkpoint=trial.resume_from to train(); it is None for a new trial."

_ENDED = "train_runtime"
"""Is logged when the training run has ended only."""


class TrialCallback(transformers.TrainerCallback):
    """Report every evaluation to a trial or a fold, and end the training run when it must stop.

    Args:
        trial: The trial that the tuner yielded, or a fold of it.

    Raises:
        InvalidArgument: It is neither.
    """

    def __init__(self, trial: TrainingHandle) -> None:
        """Bind to the trial."""
        self._trial = handle_of(trial)
        self._start()

    def _start(self) -> None:
        self._trains = False
        self._phase = Phase(0, 0, 0, is_over=False, restores=False)
        self._is_over = False  # it trains nothing
        self._resumes = False  # it begins with the trial's checkpoint
        self._trainer: Any = None
        self._logged: dict[str, float] = {}
        self._is_between_steps = False  # the Trainer logs, evaluates and saves
        self._has_result = False  # it has evaluated, or logged, between these steps
        self._has_reported = False
        self._has_trained = False
        self._is_stopped = False  # by us
        self._ends_itself = False  # and by another one at the same time
        self._data: training_data.DataProgress | None = None
        self._uncounted = 0  # epochs or steps that the Trainer counts, and the phase does not
        self._resumed_at = 0  # the step
        self._best: str | None = None  # the best model so far, in the trial's checkpoint

    # The training run.

    def on_init_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Check the checkpoint that the Trainer loads before it calls any other hook."""
        if (trainer := calling_object(transformers.Trainer)) is not None:
            checkpoints.guard(trainer, self._trial)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Begin a phase of the trial: check that it resumes where it was interrupted, and skip a completed one."""
        trainer = calling_object(transformers.Trainer)
        if self._trains and trainer is self._trainer and args.auto_find_batch_size:
            self._begin_again(args, state, control, kwargs["model"])
            return
        self._start()
        self._trains, self._trainer = True, trainer
        self._leave()
        trial, given = self._trial, _resource(args, state)
        self._phase = phase = self._begin_phase(args, kwargs["model"])
        self._is_over = phase.is_over
        path = caller_arguments(("_inner_training_loop",), "resume_from_checkpoint").get("resume_from_checkpoint")
        self._resumes = resumes = phase.restores and path is not None and Path(path) == Path(str(phase.checkpoint))
        self._uncounted = given - phase.trained if resumes else given  # the user's own resume_from_checkpoint
        if phase.is_over:
            self._train_nothing(control, given)
        elif phase.restores and not resumes:
            if trial.plugin.can_pause or given or phase.number:
                raise begins_elsewhere(trial.trial_number, phase.start, phase.begin + given, _REMEDY, "epoch or step")
            self._phase = self._begin_phase(args, kwargs["model"], starts_over=True)
        elif phase.number == 0 and given and not phase.restores:
            raise begins_elsewhere(trial.trial_number, 0, given, _REMEDY, "epoch or step")
        self._data = training_data.DataProgress(trainer)
        if resumes:
            self._restore(control, given)
        self._warn(args, state)
        if not self._is_over:
            self._follow()

    def _begin_phase(self, args: Any, model: Any, *, starts_over: bool = False) -> Phase:
        """Begin a phase on rank 0, and register it on the others.

        Args:
            args: The training run's arguments.
            model: The model.
            starts_over: Whether the trial begins again, without its checkpoint and its reports.
        """
        trial = self._trial

        def begin() -> Phase:
            if starts_over:
                trial.plugin.start_over()
            return trial.plugin.begin_phase(0, model.parameters())

        phase: Phase = _from_rank_zero(args, begin)
        if args.process_index:
            trial.plugin.follow_phase(phase)
        return phase

    def _begin_again(self, args: Any, state: Any, control: Any, model: Any) -> None:
        """Follow ``auto_find_batch_size``: after an out-of-memory error, the Trainer begins with a smaller batch."""
        trial, phase, given = self._trial, self._phase, _resource(args, state)
        if self._has_reported and (given or phase.number):
            raise CheckpointError(
                f"auto_find_batch_size has begun the training of trial {trial.trial_number} again after it was "
                f"resumed and had reported epochs. The trial stays as it was at epoch or step {phase.start}; to resume "
                "it, use a smaller per_device_train_batch_size."
            )
        if self._has_trained and self._resumes:
            self._trainer._load_from_checkpoint(phase.checkpoint)  # noqa: SLF001 - train() does it only once
        elif self._has_trained:
            trial.plugin.warn_once(
                "transformers auto_find_batch_size",
                "auto_find_batch_size has begun a training again after its first steps: Transformers keeps the weights "
                "of these steps. What they reported is discarded.",
            )
        if self._has_reported:
            self._phase = self._begin_phase(args, model, starts_over=True)
        self._logged, self._has_reported, self._has_trained = {}, False, False
        self._leave()
        self._data = training_data.DataProgress(self._trainer)
        if self._resumes:
            self._restore(control, given)
        self._follow()

    def _train_nothing(self, control: Any, given: int) -> None:
        """Make a completed phase return its model without a step."""
        control.should_training_stop = True
        trainer, checkpoint = self._trainer, self._phase.checkpoint
        if checkpoint is not None and not given:
            trainer._load_from_checkpoint(checkpoint)  # noqa: SLF001 - train() would resume from its steps
        trainer.get_batch_samples = lambda *_, **__: ([], None)

    def _restore(self, control: Any, given: int) -> None:
        """Restore the state that the Trainer does not; a training run that was saved after its end is over."""
        trainer, path = self._trainer, Path(str(self._phase.checkpoint))
        checkpoints.check(path, trainer, self._trial.trial_number)
        self._resumed_at = trainer.state.global_step
        if checkpoints.restore(trainer, path) and not self._is_over:
            self._is_over = True
            self._train_nothing(control, given)
        self._best = trainer.state.best_model_checkpoint
        if self._data is not None and not self._is_over:
            self._data.restore(str(path), checkpoints.read_data(trainer, path, self._trial.trial_number))

    def _warn(self, args: Any, state: Any) -> None:
        """Warn at the first start of state that a resumed run would lose, and of checkpoints that would be mixed."""
        plugin, loader = self._trial.plugin, self._trainer.callback_handler.train_dataloader
        resumes = plugin.can_pause or state.global_step > 0
        if resumes and (lost := training_data.not_restored(loader, within_epochs=_unit(args) == "steps")):
            plugin.warn_once(
                "transformers data",
                f"A resumed training cannot restore the state of its data ({'; '.join(lost)}): its order or its random "
                "draws differ from those of an uninterrupted training.",
            )
        is_new = self._trial.attempt == 1 and self._phase.number == 0 and not isinstance(self._trial, Fold)
        if checkpoints.shares_output_dir(self._trial, args, is_new=is_new):
            plugin.warn_once(
                "transformers output_dir",
                f"Training runs that save to the same output_dir={args.output_dir!r} overwrite and delete each "
                "other's checkpoints. Put trial.number into output_dir, or use save_strategy='no'. The checkpoints of "
                "the study are not affected.",
            )

    def _follow(self) -> None:
        """Act after the Trainer has logged, evaluated and saved, when all other callbacks have had their say."""
        trainer = self._trainer
        for name, follow in (("_evaluate", self._evaluate), ("_maybe_log_save_evaluate", self._between_steps)):
            setattr(trainer, name, functools.partial(follow, getattr(trainer, name)))

    def _leave(self) -> None:
        """Remove our hooks from the trainer, including those of a training run that raised an error."""
        for name in ("get_batch_samples", "_evaluate", "_maybe_log_save_evaluate"):
            vars(self._trainer).pop(name, None)

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Record where the epoch's order begins."""
        if self._data is not None and not self._is_over:
            self._data.begin_epoch()

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Neither evaluate nor save a phase that trains nothing."""
        if self._is_over:
            control.should_evaluate = control.should_save = control.should_log = False
        elif self._data is not None:
            self._data.end_epoch()

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """End the phase, and leave no trace in the trainer."""
        if not self._trains:
            return
        self._leave()
        if not self._phase.is_over:
            self._trial.plugin.end_phase(is_complete=self._ends_itself or not self._is_stopped)
        self._trains, self._trainer, self._data = False, None, None

    # Reports.

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:  # noqa: ARG002
        """Keep logged values for the next report."""
        if self._trains and logs and _ENDED not in logs:
            self._keep(logs)
            self._has_result |= self._is_between_steps and _evaluates(args) is None

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, Any] | None = None, **_: Any) -> None:  # noqa: ARG002
        """Keep the result of any evaluation for the next report."""
        if self._trains:
            self._keep(metrics)

    def _keep(self, metrics: dict[str, Any] | None) -> None:
        self._logged |= {name: value for name, value in (metrics or {}).items() if isinstance(value, Real)}

    def _evaluate(self, evaluate: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Evaluate as the Trainer does; additions of the user's own ``evaluate`` count, too."""
        before = dict(self._logged)
        metrics = evaluate(*args, **kwargs)
        self._keep(metrics)
        if self._is_between_steps:
            self._has_result = True
        else:  # eval_on_start
            self._logged = before
        return metrics

    def _between_steps(self, act: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Run the Trainer's logging, evaluation and saves; then report, save for the trial, and stop."""
        self._has_trained, self._is_between_steps, self._has_result = True, True, False
        try:
            act(*args, **kwargs)
        finally:
            self._is_between_steps = False
        trainer = self._trainer
        is_asked = _evaluates(trainer.args) is None and self._trial.objective.metric in self._logged
        if self._has_result or is_asked:
            self._report(trainer.args, trainer.state, trainer.control)

    def _report(self, args: Any, state: Any, control: Any) -> None:
        """Report on rank 0, and apply the answer on every rank."""
        own, logged = _resource(args, state) - self._uncounted, self._logged
        if self._data is not None and self._data.is_stream and _unit(args) == "epoch":
            own = self._data.epochs
        resource = self._phase.begin + own
        try:
            stop, save_is_due = _from_rank_zero(args, lambda: self._answer(resource, logged))
        except MetricNotFound as error:
            raise hint_of_order(error, self, self._trainer.callback_handler.callbacks) from None
        self._logged, self._has_reported = {}, True
        if save_is_due:
            self._save(args, state)
        if stop and not self._is_stopped:
            self._is_stopped, self._ends_itself = True, control.should_training_stop
            control.should_training_stop = True

    def _answer(self, resource: int, logged: dict[str, float]) -> tuple[bool, bool]:
        """Report, and return whether to stop and to save."""
        stop = self._trial.report(resource, logged)
        return stop, self._trial.save_is_due

    # Checkpoints.

    def _save(self, args: Any, state: Any) -> None:
        """Save the trial; every rank takes part."""
        data = {} if self._data is None else self._data.to_save()
        path = checkpoints.save(self._trial, self._trainer, data, functools.partial(_from_rank_zero, args))
        if path is not None:
            self._best = checkpoints.best_within(path, state)
            if state.best_model_checkpoint is not None and not Path(state.best_model_checkpoint).is_dir():
                state.best_model_checkpoint = self._best  # it was in the checkpoint before

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Keep the best model from before a resume, since another trial may now own the folder of its step."""
        if self._trains and self._best is not None and (checkpoints.best_step(state) or 0) <= self._resumed_at:
            state.best_model_checkpoint = self._best


def _evaluates(args: Any) -> str | None:
    """Return ``"epoch"`` or ``"steps"``, None if the training run does not evaluate."""
    strategy = _value(args.eval_strategy)
    return None if strategy == "no" else strategy


def _unit(args: Any) -> str:
    """Return the unit of the trial's epochs: ``"epoch"`` or ``"steps"``."""
    return _evaluates(args) or _value(args.logging_strategy)


def _value(strategy: Any) -> str:
    return str(getattr(strategy, "value", strategy))


def _resource(args: Any, state: Any) -> int:
    """Return the epochs or steps that a training run has done; a last part of an epoch counts as one."""
    return int(state.global_step) if _unit(args) == "steps" else math.ceil((state.epoch or 0.0) - 1e-6)


def _from_rank_zero(args: Any, ask: Callable[[], Any]) -> Any:
    """Return rank 0's answer, or raise its exception, on every rank."""

    def broadcast(answer: Any) -> Any:
        if args.world_size == 1:
            return answer
        from accelerate.utils import broadcast_object_list

        return broadcast_object_list([answer])[0]

    return ask_rank_zero(ask, broadcast, is_rank_zero=args.process_index == 0)
