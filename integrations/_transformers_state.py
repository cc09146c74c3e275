"""The checkpoint of a Trainer's training run: write it into our own folder, check it, and restore it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from accelerate.utils import gather_object
from hpo_plugins.integrations import _transformers_weights as weights
from hpo_plugins.integrations._shared import damaged, of_another_model, seems_own
from transformers.trainer_callback import ExportableState

from hpo_plugins.trial import TrainingHandle

_STATE = "trainer_state.json"
_ARGUMENTS = "training_args.bin"
_BEST = "best"
"""The folder of the best model's weights within a checkpoint, if ``load_best_model_at_end`` needs them."""
_output_dirs: dict[Path, int] = {}
"""The folders that the Trainers of this process save to, with the number of the last trial."""
_OF_A_RANK = ("rng_state_", "hpo_plugins_data_")
"""How the files begin that each rank writes."""
_NOT_WEIGHTS = ("optimizer*", "scheduler*", "scaler*", "rng_state*", "hpo_plugins*", _STATE, _BEST)


# Writing.


def save(
    trial: TrainingHandle, trainer: Any, data: Mapping[str, Any], from_rank_zero: Callable[[Callable[[], Any]], Any]
) -> Path | None:
    """Save a trial; every rank calls it.

    Args:
        trial: The trial.
        trainer: The trainer.
        data: The position of this rank in its training data; see ``read_data``.
        from_rank_zero: Returns on every rank what a function returns on rank 0.

    Returns:
        The path of the checkpoint, None if it was not written.
    """
    kept: list[Path] = []

    def note(path: Path) -> Path:
        kept.append(path.with_name(f"epoch-{path.name.removeprefix('part-')}"))
        return path

    if trainer.args.world_size == 1:
        trial.save(lambda path: write(trainer, note(path), data))
        return kept[0] if kept else None
    name = f"part-{trainer.state.global_step:06d}.{trial.attempt}-trainer"
    place = Path(from_rank_zero(lambda: str(trial.checkpoint_dir / name)))
    with _reachable(place) as folder:
        write_into(trainer, folder, data)
        trainer.accelerator.wait_for_everyone()  # each rank writes its own random generators
        _gather(trainer, folder)
    folder = place
    from_rank_zero(lambda: trial.save(lambda path: take(trainer, folder, note(path))))
    path = from_rank_zero(lambda: str(kept[0]) if kept else None)
    return None if path is None else Path(path)


@contextlib.contextmanager
def _reachable(place: Path) -> Iterator[Path]:
    """Yield rank 0's folder or, on a machine that does not see it, one that is removed afterwards."""
    if place.parent.is_dir():
        yield place
        return
    with tempfile.TemporaryDirectory(prefix="hpo-plugins-") as own:
        yield Path(own) / place.name


def _gather(trainer: Any, folder: Path) -> None:
    """Give rank 0 the files that ranks on other machines have written: their random generators and data."""
    if int(os.environ.get("LOCAL_WORLD_SIZE", "0")) in (0, trainer.args.world_size):
        return
    written = _written(trainer, folder)
    own = {file.name: file.read_bytes() for file in written.iterdir() if file.name.startswith(_OF_A_RANK)}
    for files in gather_object([own]):
        if trainer.args.process_index == 0:
            for name, content in files.items():
                (written / name).write_bytes(content)
    trainer.accelerator.wait_for_everyone()


def write(trainer: Any, path: Path, data: Mapping[str, Any]) -> None:
    """Let the Trainer write a checkpoint to a path.

    Args:
        trainer: The trainer.
        path: The path of the checkpoint.
        data: The position in the training data; see ``read_data``.
    """
    folder = path.with_name(f"{path.name}-trainer")
    try:
        write_into(trainer, folder, data)
        take(trainer, folder, path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_into(trainer: Any, folder: Path, data: Mapping[str, Any]) -> None:
    """Let the Trainer write a checkpoint within a folder of ours; every rank calls it.

    It does not affect the user's ``output_dir``, the callbacks and the Trainer's own saves.

    Args:
        trainer: The trainer.
        folder: The folder.
        data: The position of this rank in its training data; see ``read_data``.
    """
    args, state = trainer.args, trainer.state
    ours = {"output_dir": str(folder), "save_total_limit": None, "save_only_model": False, "push_to_hub": False}
    users = {name: getattr(args, name) for name in ours}
    best, callbacks = state.best_model_checkpoint, state.stateful_callbacks
    state.stateful_callbacks = transformers.TrainerState(stateful_callbacks=_stateful(trainer)).stateful_callbacks
    try:
        for name, value in ours.items():
            setattr(args, name, value)
        trainer._save_checkpoint(trainer.model_wrapped, None)  # noqa: SLF001 - save_model() saves no optimizer
    finally:
        for name, value in users.items():
            setattr(args, name, value)
        state.best_model_checkpoint, state.stateful_callbacks = best, callbacks
    written = _written(trainer, folder)
    (written / f"hpo_plugins_data_{args.process_index}.json").write_text(json.dumps(data), encoding="utf-8")


def take(trainer: Any, folder: Path, path: Path) -> None:
    """Move the checkpoint from the folder that it was written into, with the best model if it is needed at the end."""
    args, state, written = trainer.args, trainer.state, _written(trainer, folder)
    if (written / _ARGUMENTS).exists():
        torch.save(args, written / _ARGUMENTS)  # otherwise it names our folder as the output_dir
    best, final = state.best_model_checkpoint, path.with_name(f"epoch-{path.name.removeprefix('part-')}")
    if args.load_best_model_at_end and best_step(state) == state.global_step:
        best = str(final)
    elif args.load_best_model_at_end and best is not None and Path(best).is_dir():
        shutil.copytree(best, written / _BEST, ignore=shutil.ignore_patterns(*_NOT_WEIGHTS))
        best = str(final / _BEST)
    elif best is not None and not Path(best).is_dir():
        best = None
    saved = json.loads((written / _STATE).read_text(encoding="utf-8"))
    saved["best_model_checkpoint"] = best
    (written / _STATE).write_text(json.dumps(saved, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    shutil.move(written, path)


def best_within(path: Path, state: Any) -> str | None:
    """Return the folder of the best model's weights within a checkpoint, None if it has none."""
    best = path if best_step(state) == state.global_step else path / _BEST
    return str(best) if best.is_dir() else None


def best_step(state: Any) -> int | None:
    """Return the step of the best model so far, None if there is none."""
    if hasattr(state, "best_global_step"):  # not before Transformers 4.52
        step: int | None = state.best_global_step
        return step
    number = str(state.best_model_checkpoint).rpartition("-")[2]
    return int(number) if number.isdecimal() else None


def _written(trainer: Any, folder: Path) -> Path:
    return folder / f"{transformers.trainer_utils.PREFIX_CHECKPOINT_DIR}-{trainer.state.global_step}"


def _stateful(trainer: Any) -> list[Any]:
    return [
        each for each in [*trainer.callback_handler.callbacks, trainer.control] if isinstance(each, ExportableState)
    ]


def shares_output_dir(trial: TrainingHandle, args: Any, *, is_new: bool) -> bool:
    """Return whether the Trainer's own savers write to where another trial, or another run, has written or may write.

    Args:
        trial: The trial.
        args: The training run's arguments.
        is_new: Whether the trial begins, so that there can be no checkpoints of its own.
    """
    if str(getattr(args.save_strategy, "value", args.save_strategy)) == "no":
        return False
    folder, number = Path(args.output_dir).absolute(), trial.trial_number
    before = _output_dirs.get(folder, number)
    _output_dirs[folder] = number
    return before != number or (is_new and (any(folder.glob("checkpoint-*")) or not seems_own(trial, folder)))


# Resuming.


def restore(trainer: Any, path: Path) -> bool:
    """Restore what the Trainer does not; return whether the training run had ended by itself when it was saved.

    Args:
        trainer: The trainer, when its training begins.
        path: The checkpoint that it resumes from.
    """
    args, state = trainer.args, trainer.state
    saved = state.stateful_callbacks or {}
    if not getattr(args, "restore_callback_states_from_checkpoint", False):
        _restore_callbacks(trainer, saved)
    if args.load_best_model_at_end:
        state.best_model_checkpoint = best_within(path, state)
    control = saved.get("TrainerControl", {})
    if not control.get("args", {}).get("should_training_stop", False):
        return False
    steps = json.loads((path / _STATE).read_text(encoding="utf-8"))["max_steps"]  # the script may train longer now
    return bool(state.global_step < steps or state.global_step >= state.max_steps)


def read_data(trainer: Any, path: Path, number: int) -> dict[str, Any]:
    """Return a checkpoint's position in the training data.

    Args:
        trainer: The trainer.
        path: The checkpoint.
        number: The trial.

    Raises:
        CheckpointError: The checkpoint is damaged.
    """
    file = path / f"hpo_plugins_data_{trainer.args.process_index}.json"
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        return {"states": dict(data["states"]), "passes": int(data["passes"]), "batches": int(data["batches"])}
    except FileNotFoundError:  # it was written by an earlier version
        return {"states": {}, "passes": 0, "batches": 0}
    except weights.UNREADABLE as error:
        raise damaged(file, "Transformers' TrialCallback", number, error) from error


def _restore_callbacks(trainer: Any, saved: Mapping[str, Any]) -> None:
    """Restore the counts of stateful callbacks, such as EarlyStoppingCallback."""
    left = {name: list(states) if isinstance(states, list) else [states] for name, states in saved.items()}
    for callback in _stateful(trainer):
        states = left.get(type(callback).__name__)
        if callback is not trainer.control and states:
            for name, value in states.pop(0).get("attributes", {}).items():
                if hasattr(callback, name):
                    setattr(callback, name, value)


def guard(trainer: Any, trial: TrainingHandle) -> None:
    """Raise one error for an unusable checkpoint of the trial, and leave the trial unchanged.

    The Trainer loads it before it calls any callback, and loads matching weights of another model without an error.

    Args:
        trainer: The trainer.
        trial: The trial.
    """

    def guarded(load: Callable[..., Any]) -> Callable[..., Any]:
        def load_ours(checkpoint: Any, *args: Any, **kwargs: Any) -> Any:
            if checkpoint is None or trial.resume_from is None or Path(checkpoint) != Path(trial.resume_from):
                return load(checkpoint, *args, **kwargs)
            check(Path(checkpoint), trainer, trial.trial_number)
            try:
                return load(checkpoint, *args, **kwargs)
            except torch.OutOfMemoryError:
                raise
            except weights.UNREADABLE as error:
                raise damaged(Path(checkpoint), "Transformers", trial.trial_number, error) from error

        return load_ours

    for name in ("_load_from_checkpoint", "_load_optimizer_and_scheduler"):
        setattr(trainer, name, guarded(getattr(trainer, name)))


def check(path: Path, trainer: Any, number: int) -> None:
    """Raise CheckpointError if a checkpoint is incomplete, damaged or of another model.

    Args:
        path: The checkpoint.
        trainer: The trainer that is to resume from it.
        number: The trial.
    """
    if getattr(trainer, "is_deepspeed_enabled", False) or getattr(trainer, "is_fsdp_enabled", False):
        return  # their files are their own
    try:
        json.loads((path / _STATE).read_text(encoding="utf-8"))
        for name in ("optimizer.pt", "scheduler.pt", "rng_state*.pth"):  # the Trainer trains on without them
            if not any(path.glob(name)):
                raise FileNotFoundError(f"{name} is missing")
        difference = weights.difference(path, trainer.model)
    except weights.UNREADABLE as error:
        raise damaged(path, "Transformers", number, error) from error
    if difference is not None:
        raise of_another_model(path, number, difference)
