"""Linear algebra on a single thread.

The matrices are small and the machine is busy training: with one thread per core, BLAS waits for cores that others
use (docs/decisions/0020).
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

_lock = threading.RLock()
"""The limit applies to the whole process. Without the lock, a thread that finishes would lift it for the others. Their
rounding errors, and thus their searches, would then differ.
"""


def single_threaded(function: Callable[P, R]) -> Callable[P, R]:
    """Return the function with BLAS limited to one thread while it runs."""

    @functools.wraps(function)
    def limited(*args: P.args, **kwargs: P.kwargs) -> R:
        with _lock, _controller().limit(limits=1, user_api="blas"):
            return function(*args, **kwargs)

    return limited


@functools.cache
def _controller() -> Any:
    import scipy.linalg  # noqa: F401 - the controller finds libraries that are loaded already
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
