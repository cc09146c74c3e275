"""The checkpoint file of a Lightning training run, and the random generators of its data loaders."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hpo_plugins.integrations import _random_state as random_state
from hpo_plugins.integrations._shared import best_checkpoint_of, damaged, of_another_model, warn_of_shared_path

from hpo_plugins.errors import CheckpointError
from hpo_plugins.records import TrialRecord
from hpo_plugins.trial import Fold, TrainingHandle, visit_trial


def allow_trials_in_checkpoints() -> None:
    """Allow PyTorch to load checkpoints of modules that keep their trial in ``save_hyperparameters()``.

    PyTorch executes allowed functions only: here, one that stores plain values.
    """
    import torch

    torch.serialization.add_safe_globals([visit_trial, Fold])


def generator_states(trainer: Any) -> list[str]:
    """Return the states of the generators that the training run's data loaders were given."""
    return [random_state.state_of(generator) for generator in _generators(trainer)]


def has_persistent_workers(trainer: Any) -> bool:
    """Return whether a data loader keeps its workers from epoch to epoch."""
    return any(getattr(loader, "persistent_workers", False) for loader in _loaders(trainer))


def restore_generators(trainer: Any, states: list[str], random: dict[str, Any]) -> None:
    """Restore the generators, after Lightning has begun to draw the order of the first epoch, and draw it again.

    Lightning creates the iterator of the first epoch before any hook that knows the data loaders; it creates another
    one for each later epoch, which draws a seed for its workers unless they are persistent. This function therefore
    discards the first iterator, and creates another from the restored states, as without the interruption.

    Args:
        trainer: The trainer, when the training run starts.
        states: The result of ``generator_states``.
        random: The states of the process's generators.
    """
    generators = _generators(trainer)
    if not generators and not has_persistent_workers(trainer):
        return
    for generator, state in zip(generators, states, strict=False):
        random_state.set_state(generator, state)
    random_state.restore(random)
    iter(trainer.fit_loop._data_fetcher)  # noqa: SLF001 - Lightning does this between two epochs


def _loaders(trainer: Any) -> list[Any]:
    combined = trainer.fit_loop._combined_loader  # noqa: SLF001 - its property returns the user's own structure
    return [] if combined is None else list(combined.flattened)


def _generators(trainer: Any) -> list[Any]:
    """Return the generators that data loaders, their samplers and data sets keep."""
    return random_state.generators_of(owner for loader in _loaders(trainer) for owner in random_state.owners_in(loader))


def why_not_restored(trainer: Any) -> str | None:
    """Return which state of the data is lost on resume, None if none is known to be."""
    loaders = _loaders(trainer)
    if any(isinstance(loader, Iterator) and not hasattr(loader, "state_dict") for loader in loaders):
        return (
            "A generator or iterator as training data cannot be saved: after a resume it begins again. Pass a "
            "DataLoader, or an object with state_dict() and load_state_dict()."
        )
    if has_persistent_workers(trainer):
        return (
            "The workers of a DataLoader with persistent_workers=True cannot be saved: after a resume, random "
            "numbers that they draw themselves (such as for augmentation) are new ones. All else is restored."
        )
    return None


def warn_of_data_and_files(trainer: Any, trial: TrainingHandle) -> None:
    """Warn at the first start of state that a resume cannot restore."""
    if trial.plugin.can_pause and (reason := why_not_restored(trainer)) is not None:
        trial.plugin.warn_once("lightning data", reason)
    for callback in trainer.checkpoint_callbacks:
        if getattr(callback, "dirpath", None) is not None:
            path = Path(callback.dirpath, callback.filename or "")
            is_apart = getattr(callback, "_enable_version_counter", True)  # it refuses a name in use
            warn_of_shared_path(trial, callback, path, is_apart=is_apart)


def call_after_epochs(trainer: Any, call: Callable[[], None] | None) -> None:
    """Call a function at the end of every epoch after all callbacks, the module, loggers and schedulers; None: no more.

    Args:
        trainer: The trainer.
        call: The function.
    """
    loop = trainer.fit_loop
    loop.__dict__.pop("on_advance_end", None)  # a fit that failed may have left it
    if call is None:
        return
    end = loop.on_advance_end

    def on_advance_end() -> None:
        end()
        call()

    loop.on_advance_end = on_advance_end


def check(path: Path, number: int, pl_module: Any, *, allow_code: bool) -> None:
    """Raise CheckpointError if a checkpoint is damaged, unsafe or of another model, before Lightning loads it.

    Of a model that creates layers later (``configure_model``), the existing layers are compared.

    Args:
        path: The checkpoint.
        number: The trial.
        pl_module: The model.
        allow_code: Whether it may contain objects whose loading runs code.
    """
    if path.is_dir():  # sharded: read by the training run's own strategy
        return
    try:
        import torch

        saved = torch.load(path, map_location="cpu", mmap=True, weights_only=True)["state_dict"]
    except (OSError, RuntimeError, KeyError, ValueError, EOFError, pickle.UnpicklingError) as error:
        if isinstance(error, pickle.UnpicklingError) and zipfile.is_zipfile(path):
            if allow_code:
                return
            raise CheckpointError(
                f"The checkpoint of trial {number}, {path}, contains more than tensors and plain values: loading it "
                f"can run any code: {str(error).strip().splitlines()[0]} If nobody else can have written it, pass "
                "TrialCallback(trial, allow_code_in_checkpoints=True); or allow the classes by "
                "torch.serialization.add_safe_globals. To train the trial from the start again: "
                f"tuner.restart({number})."
            ) from error
        raise damaged(path, "Lightning", number, error) from error
    there = {name: tuple(value.shape) for name, value in saved.items() if hasattr(value, "shape")}
    here = {name: tuple(value.shape) for name, value in pl_module.state_dict().items() if hasattr(value, "shape")}
    other = sorted(name for name, shape in here.items() if there.get(name, shape) != shape)
    if other:
        name = other[0]
        difference = f"{name} has shape {there[name]} there, and {here[name]} in this training"
        raise of_another_model(path, number, difference)


def refuse_other_modules(pl_module: Any, path: Path, number: int) -> Any:
    """Raise CheckpointError when a module loads a state with other entries than its own, until the result is removed.

    Neither is final before the load: the module may create layers late, and its hooks may change the state.

    Args:
        pl_module: The module.
        path: The checkpoint.
        number: The trial.
    """

    def refuse(_: Any, incompatible: Any) -> None:
        if not (pl_module.strict_loading and (incompatible.missing_keys or incompatible.unexpected_keys)):
            return
        handle.remove()
        kinds = {"it has no": incompatible.missing_keys, "it has": incompatible.unexpected_keys}
        parts = [f"{kind} {', '.join(names[:3])}" for kind, names in kinds.items() if names]
        raise of_another_model(path, number, f"{' and '.join(parts)}, unlike this training's")

    handle = pl_module.register_load_state_dict_post_hook(refuse)
    return handle


def epochs_of(checkpoint: dict[str, Any]) -> int:
    """Return the number of trained epochs in a Lightning checkpoint."""
    try:
        return int(checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"])
    except (KeyError, TypeError):
        return int(checkpoint.get("epoch", 0))


def optimizers_in(checkpoint: dict[str, Any]) -> list[list[int]] | None:
    """Return the number of parameters of each group of each optimizer in a checkpoint; None if it is missing."""
    try:
        return [
            [len(group["params"]) for group in optimizer["param_groups"]]
            for optimizer in checkpoint["optimizer_states"]
        ]
    except (KeyError, TypeError):  # of a strategy that shards them
        return None


def check_optimizers(saved: list[list[int]], loaded: dict[str, Any], trainer: Any, path: Path, number: int) -> None:
    """Raise CheckpointError if a training run's optimizers are not those of its checkpoint.

    Args:
        saved: The result of ``optimizers_in``.
        loaded: The callback's own state in the checkpoint.
        trainer: The trainer.
        path: The checkpoint.
        number: The trial.
    """
    own = [[len(group["params"]) for group in optimizer.param_groups] for optimizer in trainer.optimizers]
    names = [type(optimizer).__name__ for optimizer in trainer.optimizers]
    there = loaded.get("optimizers", names)  # checkpoints of earlier versions do not contain it
    if (saved, there) != (own, names):
        raise of_another_model(
            path,
            number,
            f"its optimizers are {', '.join(there)} with groups of {saved} parameters, and this training's are "
            f"{', '.join(names)} with groups of {own}",
        )


def load_model(trial: TrialRecord, model: Any, *, allow_code_in_checkpoints: bool = False) -> Any:
    """Load a trial's weights at its best epoch into a module, and return it.

    ``Module.load_from_checkpoint(trial.best_checkpoint)`` works, too, if the module saves its hyperparameters.

    Args:
        trial: Its record, such as ``tuner.best_trial`` of a search with ``Tuner(checkpoints="best")``.
        model: A module as the trial's own.
        allow_code_in_checkpoints: As in ``TrialCallback``.

    Raises:
        CheckpointError: The epoch was not saved, or the checkpoint is damaged, unsafe, sharded or of another model.
    """
    path = best_checkpoint_of(trial)
    if path.is_dir():
        raise CheckpointError(
            f"The checkpoint {path} is sharded: only the strategy that wrote it can read it. Pass it to "
            "Trainer.validate or Trainer.predict as ckpt_path=."
        )
    check(path, trial.number, model, allow_code=allow_code_in_checkpoints)
    import torch

    saved = torch.load(path, map_location="cpu", weights_only=not allow_code_in_checkpoints)["state_dict"]
    try:
        model.load_state_dict(saved)
    except RuntimeError as error:
        raise of_another_model(path, trial.number, str(error)) from error
    return model


def load_weights(path: Path, pl_module: Any, *, allow_code: bool) -> None:
    """Load the weights of a checkpoint into a module that trains nothing now, if they fit."""
    if path.is_dir():
        return
    import torch

    saved = torch.load(path, map_location="cpu", weights_only=not allow_code)["state_dict"]
    own = pl_module.state_dict()
    if {n: v.shape for n, v in saved.items()} == {n: v.shape for n, v in own.items()}:
        pl_module.load_state_dict(saved)
