"""The weights in a Trainer's checkpoint, of a whole model or of adapters, in one file or in shards."""

from __future__ import annotations

import json
import pickle
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from hpo_plugins.integrations._shared import best_checkpoint_of, damaged, of_another_model
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from transformers import utils

from hpo_plugins.records import TrialRecord

UNREADABLE = (OSError, ValueError, KeyError, EOFError, RuntimeError, TypeError, pickle.UnpicklingError, SafetensorError)
"""Exceptions of reading a damaged checkpoint."""
_WRAPPERS = ("_orig_mod.",)
"""The prefix that ``torch.compile`` puts into the names of weights."""


def difference(path: Path, model: Any) -> str | None:
    """Return the difference of a checkpoint's weights from a model's in words, None if they fit."""
    return _difference(_own_weights(model), _shapes(path, model), model)


def load_model(trial: TrialRecord, model: Any) -> Any:
    """Load a trial's weights at its best epoch into a model, and return it.

    ``AutoModelForSequenceClassification.from_pretrained(trial.best_checkpoint)`` and similar classes work, too.

    Args:
        trial: Its record, such as ``tuner.best_trial`` of a search with ``Tuner(checkpoints="best")``.
        model: A model as the trial's own. For adapters, it is a PEFT model with the same ones.

    Raises:
        CheckpointError: The epoch was not saved, or the checkpoint is damaged or of another model.
    """
    path = best_checkpoint_of(trial)
    if not _is_peft(model) and list(path.glob("adapter_model.*")):
        raise of_another_model(
            path, trial.number, "it has the weights of PEFT adapters only, so load_model needs a PEFT model"
        )
    try:
        names = {_plain(name): name for name in _own_weights(model)}
        shapes = {names.get(_plain(name), name): shape for name, shape in _shapes(path, model).items()}
    except UNREADABLE as error:
        raise damaged(path, "Transformers", trial.number, error) from error
    if (other := _difference(_own_weights(model), shapes, model)) is not None:
        raise of_another_model(path, trial.number, other)
    try:
        _load(path, model, names)
    except UNREADABLE as error:
        raise damaged(path, "Transformers", trial.number, error) from error
    return model


def _load(path: Path, model: Any, names: Mapping[str, str]) -> None:
    if _is_peft(model):
        import peft

        for adapter in model.peft_config:
            weights = _read(_adapter_file(path, model, adapter))
            peft.set_peft_model_state_dict(model, weights, adapter_name=adapter)
        return
    for file in _files(path):
        model.load_state_dict({names.get(_plain(name), name): w for name, w in _read(file).items()}, strict=False)


def _files(path: Path) -> list[Path]:
    """Return the files of a checkpoint's weights: one, or the shards that an index lists."""
    for single, index in (
        (utils.SAFE_WEIGHTS_NAME, utils.SAFE_WEIGHTS_INDEX_NAME),
        (utils.WEIGHTS_NAME, utils.WEIGHTS_INDEX_NAME),
    ):
        if (path / single).is_file():
            return [path / single]
        if (path / index).is_file():
            shards = json.loads((path / index).read_text(encoding="utf-8"))["weight_map"].values()
            return [path / Path(name).name for name in sorted(set(shards))]
    raise FileNotFoundError(f"there are no weights in {path}")


def _adapter_file(path: Path, model: Any, adapter: str) -> Path:
    folder = path / adapter if (path / adapter).is_dir() else path
    if folder is path and len(model.peft_config) > 1 and adapter != "default":
        raise FileNotFoundError(f"there is no adapter {adapter!r} in {path}")
    files = [folder / name for name in (utils.ADAPTER_SAFE_WEIGHTS_NAME, utils.ADAPTER_WEIGHTS_NAME)]
    return next((file for file in files if file.is_file()), files[0])


def _read(file: Path) -> dict[str, Any]:
    if file.suffix == ".safetensors":
        return load_file(file, device="cpu")
    weights: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    return weights


def _shapes(path: Path, model: Any) -> dict[str, tuple[int, ...]]:
    """Return the names and shapes of a checkpoint's weights."""
    if _is_peft(model):
        files = {adapter: _adapter_file(path, model, adapter) for adapter in model.peft_config}
        return {
            f"{adapter}: {name}": shape for adapter, file in files.items() for name, shape in _shapes_in(file).items()
        }
    return {name: shape for file in _files(path) for name, shape in _shapes_in(file).items()}


def _shapes_in(file: Path) -> dict[str, tuple[int, ...]]:
    if file.suffix != ".safetensors":
        return {name: tuple(weights.shape) for name, weights in _read(file).items()}
    with safe_open(file, "pt") as opened:
        return {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118


def _own_weights(model: Any) -> dict[str, Any]:
    """Return the weights of a model by the names that its checkpoint has."""
    if not _is_peft(model):
        weights: dict[str, Any] = model.state_dict()
        return weights
    import peft

    return {
        f"{adapter}: {name}": weight
        for adapter in model.peft_config
        for name, weight in peft.get_peft_model_state_dict(
            model,
            adapter_name=adapter,
            save_embedding_layers=False,  # "auto" asks the Hub
        ).items()
    }


def _difference(own: Mapping[str, Any], saved: Mapping[str, tuple[int, ...]], model: Any) -> str | None:
    """Return the difference of a model from a checkpoint in words, None if they agree."""
    base = model.state_dict() if _is_peft(model) else {}  # PEFT also saves embeddings that are trained
    found = {name: own.get(name, base.get(name.partition(": ")[2])) for name in saved}
    for name, weight in found.items():
        if weight is None:
            return f"it has {name}, which the model lacks"
        if tuple(weight.shape) != saved[name]:
            return f"its {name} has the shape {saved[name]}, the model's {tuple(weight.shape)}"
    places = {weight.data_ptr() for weight in found.values()}  # weights that are tied are saved once
    ignored = tuple(getattr(model, "_keys_to_ignore_on_save", None) or ())
    for name, weight in own.items():
        is_tied = weight.numel() == 0 or weight.data_ptr() in places
        if name not in saved and not is_tied and name not in ignored:
            return f"it lacks {name}, which the model has"
    return None


def _plain(name: str) -> str:
    for wrapper in _WRAPPERS:
        name = name.replace(wrapper, "")
    return name


def _is_peft(model: Any) -> bool:
    peft: Any = sys.modules.get("peft")
    return peft is not None and isinstance(model, peft.PeftModel | peft.PeftMixedModel)
