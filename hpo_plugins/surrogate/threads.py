"""Linear algebra on a single thread.

The matrices are small and the machine is busy training: with one thread per core, BLAS waits for cores that others
use. On two loaded cores, a factorisation of 200 x 200 took a hundred times as long as on one thread.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def single_threaded(function: Callable[P, R]) -> Callable[P, R]:
    """Return the function with BLAS limited to one thread while it runs; this costs about 20 us per call."""

    @functools.wraps(function)
    def limited(*args: P.args, **kwargs: P.kwargs) -> R:
        with _LIMIT:
            return function(*args, **kwargs)

    return limited


class _Limit:
    """One limit for all threads of the process: the first to enter sets it, the last to leave restores what was.

    With a limit per thread, one that leaves would lift it for the others, whose rounding errors then differ, and the
    last to leave would keep it for good.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._depth = 0
        self._limiter: Any = None

    def __enter__(self) -> None:
        with self._lock:
            if self._depth == 0:
                self._limiter = _controller().limit(limits=1, user_api="blas")
            self._depth += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._depth -= 1
            if self._depth == 0:
                self._limiter.restore_original_limits()


_LIMIT = _Limit()


@functools.cache
def _controller() -> Any:
    import scipy.linalg  # noqa: F401 - the controller finds libraries that are loaded already
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
