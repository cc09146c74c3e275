"""The state of a Keras training run as arrays and JSON, for checkpoints.

It contains the model's variables, seed generators included; every optimiser that hangs on the model; the history and
the counters of Keras's own callbacks; and the states of the random generators.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
from hpo_plugins.integrations import _random_state as random_state
from hpo_plugins.integrations._shared import damaged, of_another_model

from hpo_plugins.errors import CheckpointError

COUNTERS = {
    keras.callbacks.EarlyStopping: ("wait", "best", "best_epoch"),
    keras.callbacks.ReduceLROnPlateau: ("wait", "best", "cooldown_counter"),
    keras.callbacks.ModelCheckpoint: ("best", "_batches_seen_since_last_saving", "_last_batch_seen"),
    keras.callbacks.SwapEMAWeights: ("_ema_weights_in_model",),
}
"""Attributes that Keras's callbacks, and classes derived from them, carry from epoch to epoch."""


class OptimizerState(NamedTuple):
    """An optimiser's variables, and which of the model's variables it was built for."""

    arrays: list[Any]
    trains: list[int]

    def trains_all(self, places: list[int]) -> bool:
        """Return whether it was built for all given variables; Keras refuses to train others."""
        return set(places) <= set(self.trains)


class Checkpoint(NamedTuple):
    """The content of a checkpoint.

    Attributes:
        model: The model's variables.
        optimizers: The state of each optimiser, None of one that was not built.
        best_weights: Those that ``EarlyStopping`` keeps, of all such callbacks.
        state: The rest, as JSON.
    """

    model: list[Any]
    optimizers: list[OptimizerState | None]
    best_weights: list[Any]
    state: dict[str, Any]


def variables_of(owner: Any) -> list[Any]:
    """Return each variable of a model or optimiser once: shared layers and seed generators are listed several times."""
    return list({id(variable): variable for variable in owner.variables}.values())


def arrays_of(owner: Any) -> list[Any]:
    """Return copies of the variables' values; numpy has no bfloat16, which float32 holds exactly."""
    return [
        np.array(keras.ops.convert_to_numpy(keras.ops.cast(v, "float32") if v.dtype == "bfloat16" else v))
        for v in variables_of(owner)
    ]


def optimizers_of(model: Any) -> list[Any]:
    """Return all optimisers that hang on a model: its own, and those of training steps of the user's, as in a GAN."""
    found = [model.optimizer, *_optimizers_in([value for _, value in sorted(vars(model).items())])]
    return list({id(optimizer): optimizer for optimizer in found if optimizer is not None}.values())


def _optimizers_in(values: Any) -> Iterator[Any]:
    for value in values:
        if isinstance(value, keras.optimizers.Optimizer):
            yield value
        elif isinstance(value, list | tuple):
            yield from _optimizers_in(value)
        elif isinstance(value, dict):
            yield from _optimizers_in(value.values())


# Writing.


def write(path: Path, model: Any, callbacks: list[Any], data: Any, phases: dict[int, Any], *, is_ended: bool) -> None:
    """Write a checkpoint, after all callbacks have seen an epoch.

    Args:
        path: Where to write it.
        model: The model.
        callbacks: The callbacks of the training run.
        data: The training run's ``x``.
        phases: What is kept of the phases before, by number.
        is_ended: Whether another callback has ended the training run after this epoch.
    """
    history = next((c for c in callbacks if isinstance(c, keras.callbacks.History)), None)
    counting = _counting(callbacks)
    best = [getattr(c, "best_weights", None) or [] for c, _ in counting]
    optimizers = optimizers_of(model)
    places = {id(variable): place for place, variable in enumerate(variables_of(model))}
    state = {
        "random": random_state.capture(),
        "history": None if history is None else [list(history.epoch), history.history],
        "phases": phases,
        "callbacks": [
            {name: getattr(c, name) for name in names if hasattr(c, name)} | {"best_weights": len(weights)}
            for (c, names), weights in zip(counting, best, strict=True)
        ],
        "optimizers": [_places(optimizer, model, places) if optimizer.built else None for optimizer in optimizers],
        "optimizer_types": [type(optimizer).__name__ for optimizer in optimizers],
        "is_ended": is_ended,
        "data": data_state(data),
    }
    arrays = {"model": arrays_of(model), "best": [np.asarray(array) for weights in best for array in weights]}
    arrays |= {f"optimizer{n}": arrays_of(o) if o.built else [] for n, o in enumerate(optimizers)}
    named = {f"{part}-{number}": array for part, all_ in arrays.items() for number, array in enumerate(all_)}
    text = json.dumps(state, default=_plain).encode()
    with path.open("wb") as file:
        np.savez(file, state=np.frombuffer(text, np.uint8), **named)


def _plain(value: Any) -> Any:
    """Return a number or an array of the history as JSON has it."""
    return value.tolist() if hasattr(value, "tolist") else float(value)


def _places(optimizer: Any, model: Any, places: dict[int, int]) -> list[int]:
    """Return the places among the model's variables of those that an optimiser was built for."""
    trained = getattr(optimizer, "_trainable_variables", None) or model.trainable_variables
    return [places[id(variable)] for variable in trained if id(variable) in places]


def _counting(callbacks: list[Any]) -> list[tuple[Any, tuple[str, ...]]]:
    """Return the callbacks with counters, and the names of these."""
    return [
        (callback, next(names for cls, names in COUNTERS.items() if isinstance(callback, cls)))
        for callback in callbacks
        if isinstance(callback, tuple(COUNTERS))
    ]


# Reading.


def read(path: Path, trial: int) -> Checkpoint:
    """Read a checkpoint.

    Args:
        path: Where it is.
        trial: The trial's number.

    Raises:
        CheckpointError: It is damaged, or something else.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            state = json.loads(bytes(archive["state"]))

            def part(name: str) -> list[Any]:
                return [archive[f"{name}-{n}"] for n in range(sum(k.startswith(f"{name}-") for k in archive.files))]

            optimizers = [
                None if trains is None else OptimizerState(part(f"optimizer{number}"), trains)
                for number, trains in enumerate(state["optimizers"])
            ]
            return Checkpoint(part("model"), optimizers, part("best"), state)
    except (OSError, zipfile.BadZipFile, zlib.error, ValueError, KeyError, EOFError) as error:
        raise damaged(path, "Keras", trial, error) from error


def restore_model(checkpoint: Checkpoint, model: Any, path: Path, trial: int) -> None:
    """Assign a checkpoint's values to a model and its optimisers.

    Raises:
        CheckpointError: They are of another model, or the model is not built.
    """
    variables = variables_of(model)
    if not model.built and _shapes(variables) != [a.shape for a in checkpoint.model]:
        raise CheckpointError(
            f"The model of trial {trial} must be built before fit to resume from {path}. Give it a "
            "keras.layers.Input, or call it on a batch first."
        )
    optimizers = optimizers_of(model)
    if len(optimizers) != len(checkpoint.optimizers):
        difference = f"it has {len(checkpoint.optimizers)} optimisers, and this training's has {len(optimizers)}"
        raise of_another_model(path, trial, difference)
    here = [type(optimizer).__name__ for optimizer in optimizers]
    there = checkpoint.state.get("optimizer_types", here)  # checkpoints of earlier versions do not contain it
    if there != here:
        difference = f"its optimisers are {', '.join(there)}, and this training's {', '.join(here)}"
        raise of_another_model(path, trial, difference)
    _assign("model", variables, checkpoint.model, path, trial)
    places = {id(variable): place for place, variable in enumerate(variables)}
    for optimizer, saved in zip(optimizers, checkpoint.optimizers, strict=True):
        if saved is None:
            continue
        if optimizer is model.optimizer and not saved.trains_all([places[id(v)] for v in model.trainable_variables]):
            raise of_another_model(path, trial, "its optimiser trains fewer of the layers than this training's")
        if not optimizer.built:
            optimizer.build([variables[place] for place in saved.trains])
        _assign("optimiser", variables_of(optimizer), saved.arrays, path, trial)


def assign_weights(checkpoint: Checkpoint, model: Any, path: Path, trial: int) -> None:
    """Assign a checkpoint's weights to a model.

    Raises:
        CheckpointError: They are of another model, or the model is not built.
    """
    _assign("model", variables_of(model), checkpoint.model, path, trial)


def restore_weights(checkpoint: Checkpoint, model: Any) -> None:
    """Assign a checkpoint's values to a model that trains nothing now, if it has the same variables."""
    variables = variables_of(model)
    if _shapes(variables) == [array.shape for array in checkpoint.model]:
        for variable, array in zip(variables, checkpoint.model, strict=True):
            variable.assign(array)


def _assign(part: str, variables: list[Any], arrays: list[Any], path: Path, trial: int) -> None:
    here, there = _shapes(variables), [array.shape for array in arrays]
    if here != there:
        difference = f"its {part} has variables of shapes {there}, and this training's has {here}"
        raise of_another_model(path, trial, difference)
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)


def _shapes(variables: list[Any]) -> list[tuple[int, ...]]:
    return [tuple(variable.shape) for variable in variables]


def restore_callbacks(checkpoint: Checkpoint, callbacks: list[Any]) -> None:
    """Restore the history and the counters of callbacks."""
    if checkpoint.state["history"] is not None:
        restore_history(checkpoint.state["history"], callbacks)
    weights = iter(checkpoint.best_weights)
    for (callback, names), counted in zip(_counting(callbacks), checkpoint.state["callbacks"], strict=False):
        own = [next(weights) for _ in range(counted["best_weights"])]
        if own:
            callback.best_weights = own
        for name in names:
            if name in counted:
                setattr(callback, name, counted[name])


def data_state(data: Any) -> dict[str, Any]:
    """Return the state of training data: that of its random generators, and its own if it has one."""
    generators = random_state.generators_of(random_state.owners_in(data))
    own = data.state_dict() if _tells(data) else None
    return {"generators": [random_state.state_of(generator) for generator in generators], "own": own}


def restore_data(checkpoint: Checkpoint, data: Any) -> None:
    """Restore the state of training data."""
    state = checkpoint.state.get("data") or {"generators": [], "own": None}
    generators = random_state.generators_of(random_state.owners_in(data))
    for generator, saved in zip(generators, state["generators"], strict=False):
        random_state.set_state(generator, saved)
    if state["own"] is not None and _tells(data):
        data.load_state_dict(state["own"])


def why_not_restored(data: Any) -> str | None:
    """Return which state of the training data is lost on resume, None if none is known to be."""
    tells = "give it state_dict() and load_state_dict() of JSON types"
    if _tells(data):
        return None
    if isinstance(data, Iterator):
        return (
            "A generator or iterator as training data cannot be saved: after a resume it begins again. Pass arrays or "
            f"a keras.utils.PyDataset instead, or {tells}."
        )
    if isinstance(data, keras.utils.PyDataset):
        hooks = [hook for hook in ("on_epoch_begin", "on_epoch_end") if _overrides(data, hook)]
        if hooks:
            return (
                f"What {type(data).__name__}.{hooks[0]} changes cannot be saved: after a resume the data begins as it "
                f"was made. To restore it, {tells}."
            )
        if data.workers > 1 and random_state.generators_of([data]):
            return f"The generators in the workers of {type(data).__name__} cannot be saved: use workers=1."
    if type(data).__module__.startswith("tensorflow") and keras.backend.backend() != "tensorflow":  # otherwise: warning
        return (
            "The shuffling of tf.data cannot be saved: a training that resumes shuffles its data anew, and is equal in "
            "distribution to an uninterrupted one, not in every bit."
        )
    return None


def _overrides(data: Any, hook: str) -> bool:
    return getattr(type(data), hook, None) is not getattr(keras.utils.PyDataset, hook, None)


def _tells(data: Any) -> bool:
    return hasattr(data, "state_dict") and hasattr(data, "load_state_dict")


def restore_history(saved: list[Any], callbacks: list[Any]) -> None:
    """Restore the epochs and metrics of an interrupted training run in the history callback."""
    for history in (c for c in callbacks if isinstance(c, keras.callbacks.History)):
        history.epoch, history.history = saved
