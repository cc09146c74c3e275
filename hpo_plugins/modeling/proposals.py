"""New configurations for the surrogate to choose among, and how far they may go from what is known.

Of a process that knows little, the highest expected improvement is in a corner of the space, where it is least sure. So
the first configurations are the best of random draws.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable

import numpy as np
from cachetools import LRUCache, cached

from hpo_plugins.modeling.model import Model
from hpo_plugins.space import FloatArray
from hpo_plugins.surrogate.optimize import AcquisitionOptimizer, Proposals

N_CAUTIOUS_TRIALS = 12
"""If curves are modelled, the trials after which new configurations are sought everywhere, corners included.

A compromise: real training runs gain from more of them, LCBench, whose optima are in corners, from fewer
(docs/decisions/0003).
"""


def _key(model: Model, running: tuple[int, ...], excluded: FloatArray) -> Hashable:
    return model.data_key, running, excluded.tobytes()


@cached(LRUCache(maxsize=8), key=_key, lock=threading.Lock())
def propose(model: Model, running: tuple[int, ...], excluded: FloatArray) -> Proposals:
    """Return new configurations in descending order of expected improvement.

    Args:
        model: The surrogate.
        running: Trials whose results are still to come: they count with their predicted losses.
        excluded: Configurations not to return, shape ``(n, d)``.
    """
    last = model.last or 1
    competitors = np.array(running, dtype=np.intp)
    posterior = model.posterior.condition_on_mean(model.inputs(model.points[competitors], last))
    if model.last is not None:  # the best so far may have trained for few epochs, and be expected to improve
        competitors = np.append(competitors, np.intersect1d(model.incumbents(20), model.improvable()))
    means = posterior.predict_mean(model.inputs(model.points[competitors], last))
    best = float(np.min([model.best, *means]))
    rng = np.random.default_rng(len(model.observed.loss))
    fidelity = None if model.last is None else 1.0
    cautious = model.last is not None and len(model.points) < N_CAUTIOUS_TRIALS
    optimizer = AcquisitionOptimizer(model.encoder, posterior, best, log_fidelity=fidelity, cautious=cautious, rng=rng)
    return optimizer.run(model.points[model.incumbents(5)], excluded)
