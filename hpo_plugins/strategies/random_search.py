"""Random search: draws that depend on no result, so any number of workers changes nothing.

Draws are scrambled Sobol points rather than independent ones: on the learning curves of LCBench (10 instances, 30
seeds) the normalised regret of the best of 10 full trainings was .350 against .384, of 20 .300 against .329, and of
64 .222 against .228 (``benchmarks/draws.py``).
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass

import numpy as np

from hpo_plugins.history import History
from hpo_plugins.space import FloatArray, Params, Space
from hpo_plugins.strategies.base import Strategy

_BLOCK = 256  # points drawn at once; a power of two keeps Sobol's balance
_ENUMERABLE = 1_000_000  # a finite space up to this size is finished by enumeration when draws bring nothing new


@dataclass(frozen=True)
class Random(Strategy):
    """Draw configurations at random, evenly spread over the space's scales.

    Trial n's configuration depends on the seed and n alone. In a finite space no configuration comes twice, and the
    search ends when all have been tried.

    Reference:
        Bergstra and Bengio, "Random Search for Hyper-Parameter Optimization", JMLR 13, 2012.
        Owen, "Scrambling Sobol' and Niederreiter-Xing Points", Journal of Complexity 14, 1998.
    """

    def suggest(self, history: History, seed: int) -> Params:
        """Return draw ``len(history)``."""
        return draw(history.space, seed, len(history))

    def describe(self) -> str:
        """Return what the strategy will do."""
        return "Random: scrambled Sobol draws, each from the seed and the trial's number alone."


def draw(space: Space, seed: int, number: int) -> Params:
    """Return the configuration of trial ``number``; a finite space has ``space.size`` of them."""
    return _draws(json.dumps(space.to_json()), seed).get(number)


@functools.lru_cache(maxsize=16)
def _draws(space: str, seed: int) -> _Draws:
    return _Draws(Space.from_json(json.loads(space)), seed)


class _Draws:
    """The distinct configurations of a stream of points, in order. A cache: the same for the same space and seed."""

    def __init__(self, space: Space, seed: int) -> None:
        # Imported here: scipy.stats takes a third of a second, which `import hpo_plugins` must not.
        from scipy.stats import qmc

        self._space = space
        self._seed = seed
        self._stream = qmc.Sobol(len(space), scramble=True, rng=np.random.default_rng(seed))
        self._found: list[Params] = []
        self._seen: set[str] = set()

    def get(self, number: int) -> Params:
        size = self._space.size
        while len(self._found) <= number:
            before = len(self._found)
            self._add([self._space.decode(point) for point in self._points()])
            # Draws find the last few of a finite space ever more rarely: then the rest comes in a shuffled order.
            if size is not None and size <= _ENUMERABLE and len(self._found) - before < _BLOCK // 16:
                order = np.random.default_rng([self._seed, size]).permutation(size)
                self._add([self._space.at_index(int(index)) for index in order])
        return dict(self._found[number])

    def _points(self) -> FloatArray:
        points: FloatArray = self._stream.random(_BLOCK)
        return points

    def _add(self, candidates: list[Params]) -> None:
        for params in candidates:
            key = Space.key(params)
            if key not in self._seen:
                self._seen.add(key)
                self._found.append(params)
