"""Tune inside the ``Trainer`` of Hugging Face Transformers, and of libraries that are built on it.

    trainer = Trainer(model, args, train_dataset=..., eval_dataset=..., callbacks=[TrialCallback(trial)])
    trainer.train(resume_from_checkpoint=trial.resume_from)

Every evaluation is a report, with what was logged since the one before: ``eval_loss``, ``eval_accuracy``, ``loss``.
With ``eval_strategy="epoch"`` the trial's epochs are epochs. With ``eval_strategy="steps"`` they are optimizer steps:
``Hyperband(min_resource=100, max_resource=2_000)`` then counts steps, and a trial is judged at the first evaluation
from a rung on. Without evaluations, what is logged is reported, by epochs or steps as ``logging_strategy`` says. A
separate ``evaluate()`` does not count.

A trial that is resumed after a pause or a crash needs ``resume_from_checkpoint=trial.resume_from``, which is None for a
new trial. Its checkpoint is the Trainer's own, with optimizer, schedule, random generators and the state of stateful
callbacks; the number of epochs or steps stays the total. A second ``train()`` of the same model is a second phase of
the trial: its epochs count on.
"""

from __future__ import annotations

import contextlib
import math
import os
import shutil
from collections.abc import Callable
from numbers import Real
from pathlib import Path
from typing import Any

from hpo_plugins.integrations._shared import (
    ask_rank_zero,
    best_checkpoint_of,
    calling_object,
    damaged,
    handle_of,
    hint_of_order,
    of_another_model,
)

from hpo_plugins.errors import CheckpointError, InvalidArgument, MetricNotFound, MissingDependency
from hpo_plugins.records import TrialRecord
from hpo_plugins.trial import Phase, TrainingHandle

try:
    import transformers
except ModuleNotFoundError as error:
    raise MissingDependency.of(error, "transformers", "transformers") from error

__all__ = ["TrialCallback", "load_model"]

_ENDED = "train_runtime"
"""Is logged when the training has ended only."""


class TrialCallback(transformers.TrainerCallback):
    """Report every evaluation to a trial or a fold, and end the training when it is to stop.

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
        self._trainer: Any = None
        self._logged: dict[str, float] = {}
        self._saves: _Save | None = None

    # The training.

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Begin a phase of the trial: check that it resumes where it was interrupted, and leave out what is over."""
        self._start()
        self._trains, self._trainer = True, calling_object(transformers.Trainer)
        trial, given = self._trial, _resource(args, state)
        self._phase = phase = self._begin_phase(args, kwargs["model"])
        if trial.plugin.can_pause and (reason := _why_not_saved(args)) is not None:
            raise InvalidArgument(f"{reason} Change that, or use a strategy with pause=False.")
        if phase.is_over:
            self._train_nothing(control, given)
        elif phase.restores and given != phase.trained:
            if trial.plugin.can_pause or given or phase.number:
                raise CheckpointError(
                    f"Trial {trial.trial_number} resumes after epoch or step {phase.start}, but this training begins "
                    f"after {phase.begin + given}. Pass resume_from_checkpoint=trial.resume_from to train(); it is "
                    "None for a new trial."
                )
            if state.is_world_process_zero:
                trial.plugin.start_over()
            self._phase = Phase(0, 0, 0, is_over=False, restores=False)
        elif phase.number == 0 and given and not phase.restores:
            raise InvalidArgument(
                f"Trial {trial.trial_number} is new, but its training resumes after {given} epochs or steps of another "
                "one's checkpoint. Pass resume_from_checkpoint=trial.resume_from to train()."
            )

    def _begin_phase(self, args: Any, model: Any) -> Phase:
        trial = self._trial
        phase: Phase = _from_rank_zero(args, lambda: trial.plugin.begin_phase(0, model.parameters()))
        if args.process_index:
            trial.plugin.follow_phase(phase)
        return phase

    def _train_nothing(self, control: Any, given: int) -> None:
        """Let a phase that is over return its model without a step."""
        control.should_training_stop = True
        trainer, checkpoint = self._trainer, self._phase.checkpoint
        if checkpoint is not None and not given:
            trainer._load_from_checkpoint(checkpoint)  # noqa: SLF001 - train() would resume from its steps
        trainer.get_batch_samples = lambda *_, **__: ([], None)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Neither evaluate nor save a phase that trains nothing."""
        if self._phase.is_over:
            control.should_evaluate = control.should_save = control.should_log = False

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Leave no trace in the trainer."""
        if self._phase.is_over:
            self._trainer.__dict__.pop("get_batch_samples", None)
        self._end_save(args)
        self._trains, self._trainer = False, None

    # Reports.

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        """Keep what is logged for the next report; without evaluations, report it."""
        if not self._trains or self._phase.is_over or not logs or _ENDED in logs:
            return
        self._logged |= {name: value for name, value in logs.items() if isinstance(value, Real)}
        if _evaluates(args) is None:
            self._report(args, state, control)

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, Any] | None = None, **_: Any) -> None:
        """Report the evaluation."""
        if not self._trains or self._phase.is_over or not state.global_step:  # also eval_on_start
            return
        self._logged |= {name: value for name, value in (metrics or {}).items() if isinstance(value, Real)}
        self._report(args, state, control)

    def _report(self, args: Any, state: Any, control: Any) -> None:
        """Let rank 0 report, and every rank act on the answer."""
        resource = _resource(args, state)
        try:
            stop, save_is_due = _from_rank_zero(args, lambda: self._answer(resource))
        except MetricNotFound as error:
            raise hint_of_order(error, self, self._trainer.callback_handler.callbacks) from None
        self._logged = {}
        if stop:
            control.should_training_stop = True
        if save_is_due and self._saves is None and _why_not_saved(args) is None:
            self._saves = _Save(args, is_ours=not control.should_save and not _folder(args, state).exists())
            control.should_save = True

    def _answer(self, resource: int) -> tuple[bool, bool]:
        """Report, and return whether to stop and to save."""
        trial, follows = self._trial, isinstance(self._trainer.eval_dataset, dict)  # evaluated one after another
        stop = trial.report(self._phase.begin + resource, self._logged, objective_follows=follows)
        return stop, trial.save_is_due

    # Checkpoints.

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Take over the checkpoint that the Trainer has written because it was due."""
        if self._saves is None:
            return
        save = self._saves
        self._end_save(args)
        if state.is_world_process_zero:
            self._trial.save(lambda path: save.take(_folder(args, state), path))

    def _end_save(self, args: Any) -> None:
        if self._saves is not None:
            args.save_total_limit, self._saves = self._saves.limit, None


def load_model(trial: TrialRecord, model: Any) -> Any:
    """Give a model the weights that a trial had at its best epoch, and return it.

    ``AutoModelForSequenceClassification.from_pretrained(trial.best_checkpoint)`` and its kin work, too.

    Args:
        trial: Its record, such as ``tuner.best_trial`` of a search with ``Tuner(checkpoints="best")``.
        model: A model as the trial's own.

    Raises:
        CheckpointError: The epoch was not saved, or the checkpoint is damaged or of another model.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_model as load_weights

    path = best_checkpoint_of(trial) / transformers.utils.SAFE_WEIGHTS_NAME
    try:
        load_weights(model, path)
    except (OSError, SafetensorError) as error:
        raise damaged(path, "Transformers", trial.number, error) from error
    except RuntimeError as error:
        raise of_another_model(path, trial.number, str(error)) from error
    return model


class _Save:
    """A checkpoint that the Trainer writes for the trial.

    Args:
        args: The training's arguments.
        is_ours: Whether it would not have written one itself; then it is moved, and else copied, and it makes no older
            checkpoint of the user's give way.
    """

    def __init__(self, args: Any, *, is_ours: bool) -> None:
        self.is_ours = is_ours
        self.limit = args.save_total_limit
        if is_ours:
            args.save_total_limit = None

    def take(self, folder: Path, path: Path) -> None:
        """Move or copy the folder of the checkpoint."""
        if self.is_ours:
            shutil.move(folder, path)
            with contextlib.suppress(OSError):  # not empty: it contains what the user's script has written
                folder.parent.rmdir()
        else:
            shutil.copytree(folder, path, copy_function=_link)


def _folder(args: Any, state: Any) -> Path:
    """Return the folder of the Trainer's checkpoint of the present step."""
    return Path(args.output_dir) / f"{transformers.trainer_utils.PREFIX_CHECKPOINT_DIR}-{state.global_step}"


def _link(source: str, target: str) -> None:
    """Link a file, since checkpoints are never changed; copy it where that is not possible."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _evaluates(args: Any) -> str | None:
    """Return ``"epoch"`` or ``"steps"``, None if the training does not evaluate."""
    strategy = str(getattr(args.eval_strategy, "value", args.eval_strategy))
    return None if strategy == "no" else strategy


def _why_not_saved(args: Any) -> str | None:
    """Return why the Trainer cannot be asked for a checkpoint that can be resumed from, None if it can."""
    if str(getattr(args.save_strategy, "value", args.save_strategy)) == "best":
        return (
            "A trial cannot be saved with save_strategy='best', since the Trainer then decides by itself when to save."
        )
    if args.save_only_model:
        return "A trial cannot be resumed with save_only_model=True, since its checkpoints then have no optimizer."
    return None


def _resource(args: Any, state: Any) -> int:
    """Return the epochs or steps that a training has done; a last part of an epoch counts as one."""
    unit = _evaluates(args) or str(getattr(args.logging_strategy, "value", args.logging_strategy))
    return int(state.global_step) if unit == "steps" else math.ceil((state.epoch or 0.0) - 1e-6)


def _from_rank_zero(args: Any, ask: Callable[[], Any]) -> Any:
    """Return what rank 0 answers, or raise what it raises, on every rank."""

    def broadcast(answer: Any) -> Any:
        if args.world_size == 1:
            return answer
        from accelerate.utils import broadcast_object_list

        return broadcast_object_list([answer])[0]

    return ask_rank_zero(ask, broadcast, is_rank_zero=args.process_index == 0)
