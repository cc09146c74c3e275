"""The expected loss of a new training run, when training runs of one configuration differ.

A few losses rarely determine how much of their differences is noise, and on which scale the noise is equally large for
good and bad training runs. So Gaussian processes with several noise variances are fitted on several scales, and their
posteriors are mixed. The weights are the evidence times a prior of the noise, which comes from real training runs
(docs/decisions/0030).

Notation
    n, d       training runs; parameters
    L          losses, shape ``(n,)``
    g          a scale: y = g(L) is standardised, shape ``(n,)``
    v          the variance of y between training runs of one configuration
    theta      the other hyperparameters, p of them
    H          the Hessian of -log p(y, theta | v) at its minimum, shape ``(p, p)``

    p(L | v, g) = p(y | v) prod_i g'(L_i)                                the evidence for losses, not for y
    log p(y | v) = log p(y, theta | v) - log det(H) / 2 + constant       Laplace's approximation (RW equation 5.18)

Without the second term, small v always wins: short length scales explain any losses.

Reference:
    RW: Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006, equation 5.18; Snelson, Rasmussen,
    Ghahramani, "Warped Gaussian Processes", NIPS 2003 (the evidence on a scale).
"""

from __future__ import annotations

import math
import threading
from collections.abc import Hashable
from typing import NamedTuple

import numpy as np
from cachetools import LRUCache, cached
from scipy.optimize import brentq
from scipy.special import ndtr

from hpo_plugins.modeling.scale import LogScale
from hpo_plugins.space import FloatArray, Space
from hpo_plugins.surrogate.encoding import InputEncoder
from hpo_plugins.surrogate.gp import Posterior, fit, log_posterior
from hpo_plugins.surrogate.hyperparameters import Layout
from hpo_plugins.surrogate.threads import single_threaded

MAX_RUNS = 64
"""Maximum number of training runs for the processes: the best ones."""
NOISE = np.log([0.001, 0.004, 0.016, 0.05, 0.15, 0.4, 0.9])
"""The logarithms of v that are mixed."""
NOISE_MEAN, NOISE_DEVIATION = -3.5, 1.5
"""The normal prior of log v (docs/decisions/0030)."""
NO_NOISE = math.log(1e-6)
"""log v of training runs that repeat exactly, up to rounding."""
P_NO_NOISE = 0.1
"""Prior probability that training runs repeat exactly."""
SURE = 0.9
"""From this posterior probability on, they are taken to do so."""
LINEAR = 10.0
"""The offset of a scale that is nearly linear, as a multiple of the distance from the best loss to the median."""
MIN_OFFSET = 1e-9
"""The smallest offset of a scale, as a share of the range of losses: many may be equal, or almost."""
MAX_ITER = 15
"""Iterations of each search for hyperparameters."""
STEP = 1e-3
"""Of the finite differences of gradients, in logarithms of hyperparameters."""
MIN_CURVATURE = 0.3
"""The smallest eigenvalue of H that counts: the prior's curvature is 1, and a search may end before the minimum."""
NORMAL_90 = 1.645
"""The 90 % interval of a normal distribution, in standard deviations to either side."""


def _key(space: Space, points: FloatArray, losses: FloatArray, run: int) -> Hashable:
    return space, points.tobytes(), losses.tobytes(), run


@cached(LRUCache(maxsize=8), key=_key, lock=threading.Lock())
@single_threaded
def expected_loss(space: Space, points: FloatArray, losses: FloatArray, run: int) -> tuple[float, float] | None:
    """Return the expected loss of a new training run of a configuration, and its standard deviation.

    The expected loss is the median of the posterior, which is skewed. It plus and minus 1.645 standard deviations is a
    90 % interval. The deviation is 0 if training runs seem to repeat exactly. None without differences between good
    training runs, or if a float cannot express them.

    Args:
        space: The space.
        points: Configurations in the unit cube, shape ``(n, d)``.
        losses: Their losses, shape ``(n,)``.
        run: The index of the configuration.
    """
    encoder = InputEncoder(space)
    kept = _kept(losses, run)
    unit = float(np.abs(losses[kept]).max())
    if not encoder.columns or not unit or np.ptp(losses[kept] / unit) == 0:
        return None
    known, at = losses[kept] / unit, int(np.flatnonzero(kept == run)[0])
    layout = encoder.layout(curves=False)
    layout = Layout(layout.groups, layout.warped[:0], curves=False)  # warps would double the hyperparameters
    x = encoder.inputs(encoder.snap(points[kept]))
    levels = np.array(
        [
            _level(layout.with_noise(log_noise), scale, x, known, at)
            for scale in scales_of(known)
            for log_noise in (NO_NOISE, *NOISE)
        ]
    ).reshape(-1, 1 + len(NOISE), 3)
    if _p_no_noise(levels[..., 0]) >= SURE:
        return float(losses[run]), 0.0
    found = _Level(*np.moveaxis(levels[:, 1:], -1, 0))
    weights = np.exp(found.log_evidence - found.log_evidence.max()) * _noise_prior()
    weights /= weights.sum()
    if not (np.isfinite(found.deviation) & (found.deviation > 0)).all():
        return None
    median, deviation = mixture_interval(weights.ravel(), found.median.ravel(), found.deviation.ravel())
    # No run of the best configuration is expected to be better than the best of all that was seen.
    expected = max(median, float(known.min()))
    return (expected * unit, deviation * unit) if 0 < deviation * unit < math.inf else None


def mixture_interval(weights: FloatArray, means: FloatArray, deviations: FloatArray) -> tuple[float, float]:
    """Return the median of a mixture of normal distributions, and the deviation of a normal one as wide around it.

    Between the median and 1.645 times the deviation to either side are 90 % of the mixture.

    Args:
        weights: Of the parts, shape ``(k,)``; their sum is 1.
        means: Of the parts, shape ``(k,)``.
        deviations: Of the parts, above 0, shape ``(k,)``.
    """

    def below(loss: float) -> float:
        return float(weights @ ndtr((loss - means) / deviations))

    median = float(brentq(lambda loss: below(loss) - 0.5, means.min(), means.max(), xtol=1e-15, maxiter=1000))
    reach = float((np.abs(means - median) + 3 * deviations).max())

    def outside(half_width: float) -> float:
        return below(median + half_width) - below(median - half_width) - 0.9

    half = brentq(outside, 0.0, reach, xtol=1e-15, maxiter=1000)
    return median, float(half) / NORMAL_90


def _kept(losses: FloatArray, run: int) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """Return the indices of the best training runs, without those that are much worse than the others."""
    order = np.argsort(losses, kind="stable")[:MAX_RUNS]
    scale = LogScale.of(losses)
    kept = order[losses[order] / scale.unit <= scale.limit]
    return kept if run in kept else np.append(kept, run)


def scales_of(losses: FloatArray) -> list[LogScale]:
    """Return scales that keep differences near the best, among the better half, and everywhere.

    Args:
        losses: Not all equal, shape ``(n,)``.
    """
    best, quarter, median, worst = np.quantile(losses, (0, 0.25, 0.5, 1))
    return [
        _standardized(losses, float(best), max(float(offset), MIN_OFFSET * float(worst - best)))
        for offset in (quarter - best, median - best, LINEAR * (median - best))
    ]


def _standardized(losses: FloatArray, best: float, offset: float) -> LogScale:
    plain = LogScale(1.0, math.inf, best, offset, 0.0, 1.0, math.inf)
    y = plain(losses)
    mean, deviation = float(y.mean()), float(y.std())
    return plain._replace(mean=mean, deviation=deviation, worst=float((y.max() - mean) / deviation))


class _Level(NamedTuple):
    """One noise variance on one scale, or arrays of them.

    Attributes:
        log_evidence: log p(L | v, g), up to a constant.
        median: Of a new training run's loss.
        deviation: Its standard deviation, from the width of the 90 % interval.
    """

    log_evidence: FloatArray
    median: FloatArray
    deviation: FloatArray


def _level(layout: Layout, scale: LogScale, x: FloatArray, losses: FloatArray, at: int) -> tuple[float, float, float]:
    y = scale(losses)
    theta = fit(layout, x, y, max_iter=MAX_ITER)
    posterior = Posterior(layout, theta, x, y)
    found = posterior.predict(x[[at]])
    mean, deviation = float(found.mean[0]), math.sqrt(found.deviation[0] ** 2 + posterior.hyperparameters.noise)
    low, high = (scale.inverse(mean + side * NORMAL_90 * deviation) for side in (-1, 1))
    # d y / d L = 1 / (deviation (offset + L - best)) for L > best
    log_slopes = -np.log((scale.offset + losses - scale.best) * scale.deviation).sum()
    evidence = log_evidence(layout, theta, x, y) + float(log_slopes)
    return evidence, scale.inverse(mean), (high - low) / (2 * NORMAL_90)


def log_evidence(layout: Layout, theta: FloatArray, x: FloatArray, y: FloatArray) -> float:
    """Return Laplace's approximation of log p(y | v), up to a constant.

    Args:
        layout: Which hyperparameters there are; one whose bounds are equal is known.
        theta: Their logarithms at the highest posterior density, shape ``(layout.size,)``.
        x: Inputs, shape ``(n, m)``.
        y: Standardised losses, shape ``(n,)``.
    """
    value, gradient = log_posterior(layout, theta, x, y)
    free = [index for index, prior in enumerate(layout.priors) if prior.low < prior.high]
    rows = []
    for index in free:
        moved = theta.copy()
        moved[index] += STEP
        rows.append((gradient - log_posterior(layout, moved, x, y)[1])[free] / STEP)
    hessian = np.array(rows)
    curvatures = np.maximum(np.linalg.eigvalsh((hessian + hessian.T) / 2), MIN_CURVATURE)
    return value - 0.5 * float(np.log(curvatures).sum())


def _noise_prior() -> FloatArray:
    prior = np.exp(-0.5 * ((NOISE - NOISE_MEAN) / NOISE_DEVIATION) ** 2)
    found: FloatArray = prior / prior.sum()
    return found


def _p_no_noise(log_evidence: FloatArray) -> float:
    """Return the posterior probability that training runs repeat exactly.

    Args:
        log_evidence: Of no noise and of the noise variances, by scale, shape ``(scales, 1 + variances)``.
    """
    evidence = np.exp(log_evidence - log_evidence.max())
    exact = P_NO_NOISE * evidence[:, 0].sum()
    noisy = (1 - P_NO_NOISE) * (evidence[:, 1:] @ _noise_prior()).sum()
    return float(exact / (exact + noisy))
