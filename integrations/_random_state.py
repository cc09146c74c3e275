"""The states of this process's random generators as plain strings, numbers and lists, for checkpoints.

They are those of Python, of numpy's global generator and, if PyTorch is loaded, of PyTorch: with them, a resumed
training run draws the same numbers as an uninterrupted one.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np


def capture() -> dict[str, Any]:
    """Return the states."""
    version, words, gauss = random.getstate()
    name, keys, *rest = np.random.get_state(legacy=True)  # noqa: NPY002 - the generator that frameworks use
    state: dict[str, Any] = {
        "python": [version, list(words), gauss],
        "numpy": [str(name), np.asarray(keys).tobytes().hex(), *rest],
    }
    torch: Any = sys.modules.get("torch")
    if torch is not None:
        state["torch"] = _to_hex(torch.get_rng_state())
        if torch.cuda.is_initialized():
            state["cuda"] = [_to_hex(one) for one in torch.cuda.get_rng_state_all()]
    return state


def restore(state: dict[str, Any]) -> None:
    """Restore the states; those of devices that this process does not have are skipped."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, np.frombuffer(bytes.fromhex(keys), np.uint32), *rest))  # noqa: NPY002 - as above
    torch: Any = sys.modules.get("torch")
    if torch is not None and "torch" in state:
        torch.set_rng_state(_from_hex(torch, state["torch"]))
        devices = state.get("cuda", [])
        if devices and torch.cuda.device_count() == len(devices):
            torch.cuda.set_rng_state_all([_from_hex(torch, one) for one in devices])


def generators_of(owners: Iterable[Any]) -> list[Any]:
    """Return each random generator that one of some objects, such as samplers and data sets, keeps as an attribute."""
    torch: Any = sys.modules.get("torch")
    kinds = (random.Random, np.random.Generator, np.random.RandomState, *([] if torch is None else [torch.Generator]))
    found = (value for owner in owners for value in getattr(owner, "__dict__", {}).values())
    return list({id(value): value for value in found if isinstance(value, kinds)}.values())


def owners_in(loader: Any) -> Iterator[Any]:
    """Yield a data loader and the parts of it that may keep a generator: samplers, and data sets within data sets."""
    batches = getattr(loader, "batch_sampler", None)
    yield from (loader, getattr(loader, "sampler", None), batches, getattr(batches, "sampler", None))
    data = getattr(loader, "dataset", None)
    seen: set[int] = set()
    while data is not None and id(data) not in seen:
        seen.add(id(data))
        yield data
        data = getattr(data, "dataset", None)


def state_of(generator: Any) -> str:
    """Return the state of a generator."""
    if isinstance(generator, random.Random):
        return json.dumps(generator.getstate())
    if isinstance(generator, np.random.Generator):
        return json.dumps(generator.bit_generator.state, default=_plain)
    if isinstance(generator, np.random.RandomState):
        return json.dumps(generator.get_state(legacy=False), default=_plain)
    return _to_hex(generator.get_state())


def set_state(generator: Any, state: str) -> None:
    """Restore the state of a generator."""
    if isinstance(generator, random.Random):
        version, words, gauss = json.loads(state)
        generator.setstate((version, tuple(words), gauss))
    elif isinstance(generator, np.random.Generator):
        generator.bit_generator.state = json.loads(state)
    elif isinstance(generator, np.random.RandomState):
        generator.set_state(json.loads(state))
    else:
        generator.set_state(_from_hex(sys.modules["torch"], state))


def _plain(value: Any) -> Any:
    return value.tolist()


def _to_hex(tensor: Any) -> str:
    return bytes(tensor.numpy()).hex()


def _from_hex(torch: Any, text: str) -> Any:
    return torch.frombuffer(bytearray.fromhex(text), dtype=torch.uint8)
