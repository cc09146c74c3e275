"""Pareto fronts: which points no other one dominates, the volume that they dominate, and choices among them.

Notation
    n, m    points; objectives, as losses
    z       losses scaled by the front: 0 at the best value of each objective, 1 at the worst one on the front

A point dominates another one if it is as good in all objectives, and better in one.

References:
    Fonseca, Paquete, Lopez-Ibanez, "An Improved Dimension-Sweep Algorithm for the Hypervolume Indicator", CEC 2006.
    Branke, Deb, Dierolf, Osswald, "Finding Knees in Multi-objective Optimization", PPSN 2004.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hpo_plugins.space import FloatArray

AUGMENTATION = 0.05
"""The weight of the sum beside that of the largest distance, as in ParEGO: of equally far points, the better one."""


def non_dominated(losses: FloatArray) -> NDArray[np.bool_]:
    """Return which points no other one dominates, shape ``(n,)``; of equal points, all or none.

    Args:
        losses: Shape ``(n, m)``.
    """
    rows, inverse = np.unique(losses, axis=0, return_inverse=True)  # in the order of the first objective
    if losses.shape[1] <= 2:
        before = np.append(np.inf, np.minimum.accumulate(rows[:-1, -1])) if len(rows) else np.empty(0)
        best = rows[:, -1] < before
    else:
        best = np.zeros(len(rows), dtype=bool)
        for index, row in enumerate(rows):  # only rows before it can dominate it
            best[index] = not (rows[:index][best[:index]] <= row).all(axis=1).any()
    return np.asarray(best[inverse.ravel()])


def hypervolume(losses: FloatArray, reference: FloatArray) -> float:
    """Return the volume that points dominate and that dominates a reference point.

    It is computed exactly, slice by slice along the last objective, which takes time in ``n^(m - 1)``.

    Args:
        losses: Shape ``(n, m)``.
        reference: A point that is worse than those that count, shape ``(m,)``.
    """
    inside = losses[(losses < reference).all(axis=1)]
    if not len(inside):
        return 0.0
    inside = inside[non_dominated(inside)]
    if losses.shape[1] == 1:
        return float(reference[0] - inside.min())
    inside = inside[np.argsort(inside[:, -1], kind="stable")]
    if losses.shape[1] == 2:
        ends = np.append(inside[1:, 1], reference[1])
        best = np.minimum.accumulate(inside[:, 0])
        return float(((reference[0] - best) * (ends - inside[:, 1])).sum())
    ends = np.append(inside[1:, -1], reference[-1])
    depths = ends - inside[:, -1]
    return float(
        sum(
            depth * hypervolume(inside[: count + 1, :-1], reference[:-1])
            for count, depth in enumerate(depths)
            if depth > 0
        )
    )


def scaled_by_front(losses: FloatArray) -> FloatArray:
    """Return z of the points of a front, shape ``(n, m)``; an objective in which all are equal is 0."""
    best = losses.min(axis=0)
    extent = losses.max(axis=0) - best
    return np.asarray((losses - best) / np.where(extent > 0, extent, 1.0))


def chebyshev(z: FloatArray, weights: FloatArray) -> FloatArray:
    """Return the augmented Chebyshev distances of points from the ideal one, shape ``(n,)``.

    Args:
        z: Scaled losses, shape ``(n, m)``.
        weights: Shape ``(m,)``.
    """
    weighted = weights * z
    return np.asarray(weighted.max(axis=1, initial=-np.inf) + AUGMENTATION * weighted.sum(axis=1))


def preferred(losses: FloatArray, weights: FloatArray) -> int:
    """Return the index of the point of a front that weights prefer, the first of equal ones.

    Args:
        losses: Shape ``(n, m)``.
        weights: How much each objective counts, on the scale of the front; shape ``(m,)``.
    """
    return int(np.argmin(chebyshev(scaled_by_front(losses), weights / weights.sum())))


def knee(losses: FloatArray) -> int:
    """Return the index of the knee of a front: the point furthest below the plane through the best of each objective.

    From it, a little more of any objective costs much of another one.

    Args:
        losses: Shape ``(n, m)``.
    """
    return int(np.argmin(scaled_by_front(losses).sum(axis=1)))
