"""The importance of parameters: the share of the variance over the space that each one explains.

Notation
    f(x)    the surrogate's predicted loss of a full training run of configuration x
    S_Ti    the total effect of parameter i: the share of the variance of f that remains if all others are fixed

``f`` is evaluated over the whole space, each parameter on its own scale, and not only near the trials. The uncertainty
of an index comes from refitting the surrogate without a fifth of the trials at a time.

Reference:
    Saltelli, Annoni, Azzini, Campolongo, Ratto, Tarantola, "Variance based sensitivity analysis of model output",
    Computer Physics Communications 181, 2010; computed by ``scipy.stats.sobol_indices``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from hpo_plugins import modeling
from hpo_plugins.history import History
from hpo_plugins.space import FloatArray

PARTS = 5
SAMPLES = 512
"""Points per index, a power of two: the sampling error of an index is below what refits differ by (see
docs/decisions/0024)."""
MIN_TRIALS = 8
"""Minimum number of trials; with fewer, the surrogate knows nothing of most parameters."""


class Importance(NamedTuple):
    """The importance of one parameter.

    Attributes:
        name: The parameter.
        total: Its total effect, from 0 to 1.
        deviation: The standard deviation over refits.
    """

    name: str
    total: float
    deviation: float


def importances(history: History, last: int | None) -> list[Importance]:
    """Return the importance of each parameter, the largest first; empty if too little is known.

    Args:
        history: The study.
        last: Epochs of a full training run, None if training runs have one value.
    """
    history = history.up_to_fold(0)
    names = list(history.space)
    if sum(history.loss(number) is not None for number in range(len(history))) < MIN_TRIALS:
        return []
    totals = [total for model in modeling.model.refit_without_parts(history, last, PARTS) for total in _totals(model)]
    if not totals:
        return []
    table = np.array(totals)
    rows = zip(names, table.mean(axis=0), table.std(axis=0), strict=True)
    found = [Importance(name, float(total), float(spread)) for name, total, spread in rows]
    return sorted(found, key=lambda importance: -importance.total)


def _totals(model: modeling.model.Model) -> list[FloatArray]:
    """Return the total effects according to one surrogate, shape ``(d,)``, or nothing if it is constant."""
    from scipy.stats import sobol_indices, uniform

    def expected(x: FloatArray) -> FloatArray:
        points = model.encoder.snap(x.T)
        mean: FloatArray = model.posterior.predict(model.inputs(points, model.last or 1)).mean
        return mean

    dimension = len(model.history.space)
    if dimension == 1:
        return [np.ones(1)]
    rng = np.random.default_rng(0)
    if np.ptp(expected(rng.random((dimension, 64)))) == 0:
        return []
    result = sobol_indices(func=expected, n=SAMPLES, dists=[uniform()] * dimension, rng=rng)
    return [np.clip(result.total_order, 0.0, 1.0)]
