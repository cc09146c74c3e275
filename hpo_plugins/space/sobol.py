"""Scrambled Sobol draws: evenly spread random configurations, each a function of the seed and its index alone.

If the space comes with a belief, the first draw is its mode. Of the others, draw n follows the belief with probability
``N_BELIEVED / (N_BELIEVED + n)``, as a further coordinate of the Sobol points decides: those that do and those that do
not are thus evenly spread each.

Reference:
    Owen, "Scrambling Sobol' and Niederreiter-Xing Points", Journal of Complexity 14, 1998.
"""

from __future__ import annotations

import functools
import threading

import numpy as np

from hpo_plugins.errors import InvalidArgument
from hpo_plugins.space.sobol_points import SobolPoints
from hpo_plugins.space.space import Space
from hpo_plugins.space.values import FloatArray, Params

N_BELIEVED = 4
"""The draw from which on less than half of the draws follow the belief (docs/decisions/0033)."""

_BLOCK_SIZE = 256  # points drawn at a time; a power of two keeps the balance of Sobol points
_MAX_FRUITLESS = 4_096  # blocks in a row without a new configuration before a constraint counts as used up
_MAX_ENUMERATED = 1_000_000  # finite spaces up to this size are completed by enumeration once draws yield few new ones


def draw(space: Space, seed: int, index: int) -> Params:
    """Return draw ``index`` of a space, in a new dict; no two draws of a finite space are equal.

    Draws of a space with a constraint are those of the space without it that are valid.

    Args:
        space: The space; a finite one has ``space.size`` draws.
        seed: The seed.
        index: Which draw, from 0.
    """
    return _draws(space, seed).get(index)


@functools.lru_cache(maxsize=16)
def _draws(space: Space, seed: int) -> _Draws:
    return _Draws(space, seed)


class _Draws:
    """The distinct configurations of one sequence of Sobol points, in order; threads may share it."""

    def __init__(self, space: Space, seed: int) -> None:
        self._space = space
        self._seed = seed
        self._points = SobolPoints(len(space) + bool(space.belief), seed)
        self._configurations: list[Params] = []
        self._keys: set[str] = set()
        self._lock = threading.Lock()
        if space.belief:
            self._add([dict(space.mode)])

    def get(self, index: int) -> Params:
        with self._lock:
            fruitless = 0
            while len(self._configurations) <= index:
                before = len(self._configurations)
                self._extend()
                fruitless = 0 if len(self._configurations) > before else fruitless + 1
                if self._space.valid is not None and fruitless == _MAX_FRUITLESS:
                    raise InvalidArgument(
                        f"valid={self._space.valid!r} must leave enough configurations, but "
                        f"{fruitless * _BLOCK_SIZE:,} random draws found none beyond the {before} that were drawn. "
                        "Lower max_trials."
                    )
        return dict(self._configurations[index])

    def _extend(self) -> None:
        before, size = len(self._configurations), self._space.size
        self._add([self._space.decode(point) for point in self._next_points()])
        # Draws find the last configurations of a finite space ever more rarely: the rest comes in shuffled order.
        added = len(self._configurations) - before
        if size is not None and size <= _MAX_ENUMERATED and added < _BLOCK_SIZE // 16:
            order = np.random.default_rng([self._seed, size]).permutation(size)
            self._add([self._space.at_index(int(index)) for index in order])

    def _next_points(self) -> FloatArray:
        first, belief = self._points.num_generated, self._space.belief
        points = self._points.random(_BLOCK_SIZE)
        if not belief:
            return points
        points, coin = points[:, :-1], points[:, -1]
        is_believed = coin < N_BELIEVED / (N_BELIEVED + first + np.arange(_BLOCK_SIZE))
        return np.where(is_believed[:, None], belief.quantile(points), points)

    def _add(self, candidates: list[Params]) -> None:
        for params in candidates:
            key = Space.key(params)
            if key not in self._keys and self._space.accepts(params):
                self._keys.add(key)
                self._configurations.append(params)
