"""Scrambled Sobol points: the same as those of ``scipy.stats.qmc.Sobol``, without the import of ``scipy.stats``.

That import takes most of a search's first second, in each process (docs/decisions/0040).

Notation:
    d       coordinates of a point, from 0
    BITS    binary digits of a coordinate, the most significant one first
    V       direction numbers, shape ``(d, BITS)``; column k belongs to binary digit k
    L       random lower triangular matrices of zeros and ones, shape ``(d, BITS, BITS)``

Reference:
    Joe and Kuo, "Constructing Sobol Sequences with Better Two-Dimensional Projections", SIAM Journal on Scientific
    Computing 30, 2008: the primitive polynomials and initial direction numbers, from the file new-joe-kuo-6.21201.
    Matousek, "On the L2-Discrepancy for Anchored Boxes", Journal of Complexity 14, 1998: the scrambling.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hpo_plugins.space.values import FloatArray

BITS = 30

# fmt: off
_POLYNOMIALS = (  # of coordinate 1, 2, ...: the coefficients as binary digits
    3, 7, 11, 13, 19, 25, 37, 41, 47, 55, 59, 61, 67, 91, 97, 103, 109, 115, 131, 137, 143, 145, 157, 167, 171, 185,
    191, 193, 203, 211, 213, 229, 239, 241, 247, 253,
)
_INITIAL = (  # of the same coordinates: as many as the polynomial's degree
    (1,), (1, 3), (1, 3, 1), (1, 1, 1), (1, 1, 3, 3), (1, 3, 5, 13), (1, 1, 5, 5, 17), (1, 1, 5, 5, 5),
    (1, 1, 7, 11, 19), (1, 1, 5, 1, 1), (1, 1, 1, 3, 11), (1, 3, 5, 5, 31), (1, 3, 3, 9, 7, 49), (1, 1, 1, 15, 21, 21),
    (1, 3, 1, 13, 27, 49), (1, 1, 1, 15, 7, 5), (1, 3, 1, 15, 13, 25), (1, 1, 5, 5, 19, 61),
    (1, 3, 7, 11, 23, 15, 103), (1, 3, 7, 13, 13, 15, 69), (1, 1, 3, 13, 7, 35, 63), (1, 3, 5, 9, 1, 25, 53),
    (1, 3, 1, 13, 9, 35, 107), (1, 3, 1, 5, 27, 61, 31), (1, 1, 5, 11, 19, 41, 61), (1, 3, 5, 3, 3, 13, 69),
    (1, 1, 7, 13, 1, 19, 1), (1, 3, 7, 5, 13, 19, 59), (1, 1, 3, 9, 25, 29, 41), (1, 3, 5, 13, 23, 1, 55),
    (1, 3, 7, 3, 13, 59, 17), (1, 3, 1, 3, 5, 53, 69), (1, 1, 5, 5, 23, 33, 13), (1, 1, 7, 7, 1, 61, 123),
    (1, 1, 7, 9, 13, 61, 49), (1, 3, 3, 5, 3, 55, 33),
)
# fmt: on
MAX_DIMENSIONS = 1 + len(_POLYNOMIALS)
"""Coordinates whose direction numbers are listed here; SciPy draws points with more."""


class SobolPoints:
    """The points of one scrambled Sobol sequence, in order.

    Args:
        dimensions: Coordinates of a point.
        seed: The seed.
    """

    def __init__(self, dimensions: int, seed: int) -> None:
        """Begin with the first point."""
        self.num_generated = 0
        self._scipys = None
        if dimensions > MAX_DIMENSIONS:
            from scipy.stats import qmc  # imported here: few spaces are as large

            self._scipys = qmc.Sobol(dimensions, rng=np.random.default_rng(seed))
            return
        (rng,) = np.random.default_rng(seed).spawn(1)
        digits = 1 << np.arange(BITS)
        self._last = rng.integers(2, size=(dimensions, BITS), dtype=np.uint32) @ digits
        scramble = np.tril(rng.integers(2, size=(dimensions, BITS, BITS), dtype=np.uint32))
        scramble[:, range(BITS), range(BITS)] = 1
        numbers = np.array([_direction_numbers(dimension) for dimension in range(dimensions)])
        binary = numbers[:, None, :] // digits[::-1, None] % 2  # (d, digit, number)
        self._directions = (digits[::-1] @ (scramble @ binary % 2)).T  # one row for each digit

    def random(self, count: int) -> FloatArray:
        """Return the next points, shape ``(count, d)``, in [0, 1)."""
        first = self.num_generated
        self.num_generated += count
        if self._scipys is not None:
            points: FloatArray = self._scipys.random(count)
            return points
        # Point n differs from point n - 1 by one direction number of each coordinate.
        steps = np.arange(max(first, 1), first + count)
        numbers = np.bitwise_xor.accumulate(np.vstack([self._last, self._directions[_lowest_zero(steps - 1)]]))
        self._last = numbers[-1]
        drawn: FloatArray = numbers[-count:] * 2.0**-BITS
        return drawn


def _lowest_zero(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the place of the least significant binary digit that is 0, from 0."""
    places: NDArray[np.int64] = np.log2(~numbers & (numbers + 1)).astype(np.int64)
    return places


def _direction_numbers(dimension: int) -> list[int]:
    """Return V of one coordinate, each number shifted to its place."""
    if dimension == 0:
        odd = [1] * BITS
    else:
        polynomial, odd = _POLYNOMIALS[dimension - 1], list(_INITIAL[dimension - 1])
        degree = len(odd)
        for place in range(degree, BITS):
            number = odd[place - degree]
            for k in range(1, degree + 1):
                if polynomial >> (degree - k) & 1:
                    number ^= odd[place - k] << k
            odd.append(number)
    return [number << (BITS - 1 - place) for place, number in enumerate(odd)]
