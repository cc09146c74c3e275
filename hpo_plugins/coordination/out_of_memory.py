"""Recognise that a training run has run out of memory, in any framework, and free memory for the next one.

No framework is imported: exceptions are recognised by the names of their classes and by their messages.
"""

from __future__ import annotations

import gc
import logging
import re
import sys
import traceback
from collections.abc import Iterator

logger = logging.getLogger("hpo_plugins")

_CLASSES = frozenset({"OutOfMemoryError", "ResourceExhaustedError"})
"""Names of classes: those of PyTorch, CuPy and TensorFlow."""
_MESSAGES = re.compile(
    r"\bout of memory\b"  # PyTorch on CUDA, ROCm and MPS; XGBoost, cudaErrorMemoryAllocation
    r"|\bRESOURCE_EXHAUSTED\b"  # JAX, and TensorFlow's XLA
    r"|\bbad_alloc\b"  # XGBoost and LightGBM on the host
    r"|can't allocate memory|not enough memory: you tried to allocate"  # PyTorch on the host
    r"|Cannot allocate memory"  # ENOMEM
    r"|CU(?:BLAS|DNN|SPARSE|SOLVER)_STATUS_ALLOC_FAILED"
    r"|CL_OUT_OF_(?:HOST_MEMORY|RESOURCES)|CL_MEM_OBJECT_ALLOCATION_FAILURE",  # LightGBM on OpenCL
    re.IGNORECASE,
)
_OF_FRAMEWORKS = (RuntimeError, OSError)
"""Exceptions with such a message; other classes are ours to recognise by the names of their packages."""
_PACKAGES = frozenset(
    {"torch", "jaxlib", "jax", "tensorflow", "xgboost", "lightgbm", "catboost", "keras", "cupy", "_catboost"}
)


def is_out_of_memory(error: object) -> bool:
    """Return whether an exception, or one that has caused it, says that there was too little memory."""
    return isinstance(error, BaseException) and any(map(_says_so, _chain(error)))


def _says_so(error: BaseException) -> bool:
    classes = type(error).__mro__
    if isinstance(error, MemoryError) or any(cls.__name__ in _CLASSES for cls in classes):
        return True
    is_theirs = isinstance(error, _OF_FRAMEWORKS) or any(
        cls.__module__.partition(".")[0] in _PACKAGES for cls in classes
    )
    return is_theirs and _MESSAGES.search(str(error)) is not None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception, those in a group, and those that have caused it, each once."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        waiting += [each.__cause__, None if each.__suppress_context__ else each.__context__]
        waiting += each.exceptions if isinstance(each, BaseExceptionGroup) else []


def names_memory(kinds: tuple[type[Exception], ...]) -> bool:
    """Return whether one of some exception types, such as those of ``retry_on``, is of running out of memory."""
    return any(issubclass(kind, MemoryError) or kind.__name__ in _CLASSES for kind in kinds)


def release_frames(error: BaseException) -> None:
    """Clear the local variables of the functions that an exception has left: they hold models and batches."""
    for each in _chain(error):
        traceback.clear_frames(each.__traceback__)


def free_memory() -> None:
    """Free the memory of the training run that has ended: Python's, and what PyTorch keeps for itself."""
    gc.collect()
    torch = sys.modules.get("torch")
    try:
        if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
            torch.cuda.empty_cache()
        if torch is not None and torch.backends.mps.is_available():
            torch.mps.empty_cache()
    except (AttributeError, RuntimeError) as problem:  # another module of that name, or a device in error
        logger.debug("PyTorch's cache could not be emptied: %s", problem)
