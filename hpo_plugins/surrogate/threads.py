"""Keep linear algebra on one core.

The matrices here are small, and the machine is busy training: with a thread a core, BLAS waits for cores that others
use. On two loaded cores a factorisation of 200 x 200 then took a hundred times as long as on one thread.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def on_one_core(function: Callable[P, R]) -> Callable[P, R]:
    """Return the function with BLAS limited to one thread while it runs; about 20 us a call."""

    @functools.wraps(function)
    def limited(*args: P.args, **kwargs: P.kwargs) -> R:
        with _controller().limit(limits=1, user_api="blas"):
            return function(*args, **kwargs)

    return limited


@functools.cache
def _controller():  # type: ignore[no-untyped-def]
    import scipy.linalg  # noqa: F401 - the controller knows the libraries that are loaded when it is made
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
