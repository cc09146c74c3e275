"""The state of a Trainer's training data: random generators and counters of data sets, samplers and data loaders.

The Trainer restores the global generators, and continues with the next epoch's order. The user's objects that have
their own generators, or count, would start again as in the first epoch.
"""

from __future__ import annotations

import functools
import io
import random
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
import transformers

_PARTS = ("dataset", "datasets", "sampler", "batch_sampler", "data_source")
"""Attributes by which data loaders, samplers and data sets contain each other."""
_STATELESS = ("torch", "transformers", "accelerate", "datasets", "builtins")
"""Packages whose objects keep only their generators as state between epochs."""
_MAX_DEPTH = 6


class _Owner(NamedTuple):
    """An object of the training data, and how it is reached."""

    place: str
    value: Any
    is_in_workers: bool

    @property
    def is_users(self) -> bool:
        """Whether its class is the user's, and it is consumed in a way that may leave a state behind."""
        package = type(self.value).__module__.partition(".")[0]
        is_consumed = isinstance(self.value, torch.utils.data.IterableDataset | torch.utils.data.Sampler)
        return is_consumed and package not in _STATELESS


def has_length(loader: Any) -> bool:
    """Return whether a data loader knows how many batches an epoch has."""
    try:
        len(loader)
    except TypeError:
        return False
    return True


class StreamResumption:
    """Continues within data without a length; one pass over it is an epoch.

    The Trainer takes all steps of a training run for one epoch then, and skips as many batches from the beginning of
    the first pass on, although the data may have had several.

    Args:
        trainer: The trainer, when its training begins.
        path: The checkpoint.
        passes: The passes that were over.
        batches: The batches of the next one that were trained.
    """

    def __init__(self, trainer: Any, path: str, passes: int, batches: int) -> None:
        """Prevent the Trainer from skipping batches by itself."""
        self._trainer, self._path, self._passes, self._batches = trainer, path, passes, batches
        self._iterator: Any = None
        trainer.args.ignore_data_skip = True  # until it has begun the first pass
        self._loader = trainer.callback_handler.train_dataloader
        if hasattr(self._loader, "set_epoch"):
            self._loader.set_epoch = functools.partial(self._set_epoch, self._loader.set_epoch)
        trainer.get_batch_samples = functools.partial(self._get_batch_samples, trainer.get_batch_samples)

    @staticmethod
    def is_possible() -> bool:
        """Return whether this version of Transformers lets a callback do so."""
        return hasattr(transformers.Trainer, "_run_epoch")

    def begin_pass(self) -> None:
        """Restore the global generators, if a pass begins."""
        if not self._batches:
            self._trainer._load_rng_state(self._path)  # noqa: SLF001 - as the Trainer does with data of a length

    def end_pass(self) -> None:
        """Do nothing more; the Trainer does the rest."""
        vars(self._trainer).pop("get_batch_samples", None)

    def _set_epoch(self, set_epoch: Any, epoch: int) -> None:
        """Count from the passes that were over; the data loader itself repeats the number that it received."""
        is_repeated = epoch == getattr(self._loader, "iteration", None) and epoch >= self._passes
        set_epoch(epoch if is_repeated else self._passes + epoch)

    def _get_batch_samples(self, get: Any, iterator: Any, n_batches: int, device: Any) -> Any:
        self._trainer.args.ignore_data_skip = False
        if self._iterator is not None or not self._batches:
            return get(self._iterator or iterator, n_batches, device)
        self._iterator = iterator
        for _ in range(self._batches):
            next(iterator, None)
        samples = get(iterator, n_batches, device)
        if not samples[0]:  # the pass ended with the last batch that was trained
            if hasattr(self._loader, "set_epoch"):
                self._loader.set_epoch(1)
            self._iterator = iter(self._loader)
            samples = get(self._iterator, n_batches, device)
        self._trainer._load_rng_state(self._path)  # noqa: SLF001 - as above
        return samples


class DataProgress:
    """The position of a training run in its data.

    Args:
        trainer: The trainer, when its training begins.

    Attributes:
        loader: The data loader of the training data.
        is_stream: Whether the data has no length, so that the Trainer does not know what an epoch is.
    """

    def __init__(self, trainer: Any) -> None:
        """Begin with the first epoch."""
        self._trainer = trainer
        self.loader = trainer.callback_handler.train_dataloader
        self.is_stream = not has_length(self.loader)
        self._states: dict[str, Any] = {}  # where the epoch's order began
        self._passes = 0  # that are over
        self._pass_step: int | None = None  # the step at which the present one began
        self._resumption: StreamResumption | None = None

    @property
    def epochs(self) -> int:
        """The passes over the data so far; a part of one counts."""
        return self._passes + (self._pass_step is not None)

    def restore(self, path: str, data: dict[str, Any]) -> None:
        """Continue where a checkpoint was written.

        Args:
            path: The checkpoint.
            data: The result of ``to_save`` at that time.
        """
        args, self._passes = self._trainer.args, data["passes"]
        restore(self.loader, data["states"])
        if self.is_stream and not args.ignore_data_skip and StreamResumption.is_possible():
            self._pass_step = self._trainer.state.global_step - data["batches"] // args.gradient_accumulation_steps
            self._resumption = StreamResumption(self._trainer, path, data["passes"], data["batches"])

    def begin_epoch(self) -> None:
        """Record where the epoch's order begins."""
        self._states = capture(self.loader)
        if self._resumption is not None:
            self._resumption.begin_pass()
        else:
            self._pass_step = self._trainer.state.global_step

    def end_epoch(self) -> None:
        """Record the end of a pass."""
        self._passes, self._pass_step = self._passes + 1, None
        if self._resumption is not None:
            self._resumption.end_pass()
            self._resumption = None

    def to_save(self) -> dict[str, Any]:
        """Return the position as plain values, for a checkpoint."""
        state, begun = self._trainer.state, self._pass_step
        is_within = begun is not None if self.is_stream else abs(state.epoch - round(state.epoch)) > 1e-6
        steps = state.global_step - begun if is_within and begun is not None else 0
        return {
            "states": self._states if is_within else capture(self.loader),
            "passes": self._passes,
            "batches": steps * self._trainer.args.gradient_accumulation_steps,
        }


def capture(loader: Any) -> dict[str, Any]:
    """Return the states of a data loader's data as plain values, by their places."""
    states: dict[str, Any] = {}
    for owner in _owners(loader):
        for name, value in _attributes(owner.value):
            if (state := _state(value)) is not None:
                states[f"{owner.place}.{name}"] = state
            elif owner.is_users and isinstance(value, bool | int | float | str):
                states[f"{owner.place}.{name}"] = value
    return states


def restore(loader: Any, states: dict[str, Any]) -> None:
    """Restore the states; skip those that the data no longer has."""
    for owner in _owners(loader):
        for name, value in _attributes(owner.value):
            state = states.get(f"{owner.place}.{name}")
            if state is None:
                continue
            if _state(value) is not None:
                _set_state(value, state)
            elif owner.is_users:
                setattr(owner.value, name, state)


def not_restored(loader: Any, *, within_epochs: bool) -> list[str]:
    """Return the data whose state cannot be restored, in words.

    Args:
        loader: The data loader.
        within_epochs: Whether the training run may be interrupted within an epoch.
    """
    found = []
    if not has_length(loader) and not StreamResumption.is_possible():
        found.append("data without a length, in this version of Transformers")
    for owner in _owners(loader):
        kind = type(owner.value).__name__
        draws = any(_state(value) is not None for _, value in _attributes(owner.value))
        hides = any(isinstance(value, Iterator | io.IOBase) for _, value in _attributes(owner.value))
        is_iterable = isinstance(owner.value, torch.utils.data.IterableDataset)
        counts = any(isinstance(value, int) for _, value in _attributes(owner.value))
        if owner.is_in_workers and (draws or (owner.is_users and (hides or counts))):
            found.append(f"{kind}, which is consumed in worker processes (dataloader_num_workers)")
        elif owner.is_users and hides:
            found.append(f"{kind}, which contains an iterator or an open file")
        elif owner.is_users and is_iterable and not (draws or counts or hasattr(owner.value, "set_epoch")):
            found.append(f"{kind}, whose state cannot be seen, if it has one")
        elif draws and within_epochs and isinstance(owner.value, torch.utils.data.Dataset) and not is_iterable:
            found.append(f"{kind}, which draws while it is read: a resume within an epoch draws again")
    return found


def _owners(loader: Any) -> Iterator[_Owner]:
    """Yield the data loader and what it consists of, each object once."""
    seen: set[int] = set()
    in_workers = getattr(loader, "num_workers", 0) > 0

    def visit(place: str, value: Any, depth: int, *, is_dataset: bool) -> Iterator[_Owner]:
        if value is None or id(value) in seen or depth > _MAX_DEPTH:
            return
        seen.add(id(value))
        yield _Owner(place, value, in_workers and is_dataset)
        for part in _PARTS:
            inner = getattr(value, part, None)
            for number, each in enumerate(inner if part == "datasets" and isinstance(inner, list) else [inner]):
                is_data = is_dataset or part.startswith("dataset")
                yield from visit(f"{place}.{part}[{number}]", each, depth + 1, is_dataset=is_data)

    yield from visit("loader", loader, 0, is_dataset=False)


def _attributes(value: Any) -> list[tuple[str, Any]]:
    try:
        return list(vars(value).items())
    except TypeError:
        return []


def _state(value: Any) -> Any:
    """Return the state of a random generator as plain values, None if it is none."""
    if isinstance(value, torch.Generator):
        return bytes(value.get_state().cpu().numpy()).hex()
    if isinstance(value, np.random.Generator):
        return _plain(value.bit_generator.state)
    if isinstance(value, np.random.RandomState):
        return _plain(value.get_state(legacy=False))
    if isinstance(value, random.Random):
        version, words, gauss = value.getstate()
        return [version, list(words), gauss]
    return None


def _set_state(value: Any, state: Any) -> None:
    if isinstance(value, torch.Generator):
        value.set_state(torch.frombuffer(bytearray.fromhex(state), dtype=torch.uint8))
    elif isinstance(value, np.random.Generator):
        value.bit_generator.state = _numpy(state)
    elif isinstance(value, np.random.RandomState):
        value.set_state(_numpy(state))
    else:
        version, words, gauss = state
        value.setstate((version, tuple(words), gauss))


def _plain(state: Any) -> Any:
    if isinstance(state, dict):
        return {name: _plain(value) for name, value in state.items()}
    if isinstance(state, np.ndarray):
        return {"array": state.tobytes().hex(), "dtype": state.dtype.str}
    return state.item() if isinstance(state, np.generic) else state


def _numpy(state: Any) -> Any:
    if not isinstance(state, dict):
        return state
    if state.keys() == {"array", "dtype"}:
        return np.frombuffer(bytes.fromhex(state["array"]), np.dtype(state["dtype"]))
    return {name: _numpy(value) for name, value in state.items()}
