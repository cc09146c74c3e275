"""The states of this process's random generators as plain strings, numbers and lists, for checkpoints.

They are those of Python, of numpy's global generator and, if PyTorch is loaded, of PyTorch: with them, a resumed
training draws what it would have drawn without the interruption.
"""

from __future__ import annotations

import random
import sys
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


def _to_hex(tensor: Any) -> str:
    return bytes(tensor.numpy()).hex()


def _from_hex(torch: Any, text: str) -> Any:
    return torch.frombuffer(bytearray.fromhex(text), dtype=torch.uint8)
