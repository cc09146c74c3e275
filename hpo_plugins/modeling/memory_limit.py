"""Which configurations need more memory than there is, learned from the trials that ran out of it.

Notation
    x      features of a configuration in [0, 1], shape ``(m,)``
    w, t   a hypothesis: a configuration runs out of memory if w x > t

Memory is mostly a product of sizes, such as batch size times width. In the logarithms of the sizes its limit is a
plane. Many planes are drawn from a prior: few parameters matter, and most of those need more memory the larger they
are. Each plane has a range of thresholds t that agrees with all trials: those that have reported an epoch fit, and
those that ran out of memory do not. The risk of a configuration is the share of that range that it exceeds, on average.

Each failure costs the start of a training run. After the first one, configurations of a small risk are tried, so that
the border is approached from below; after the second, only those that fit according to every hypothesis.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpo_plugins.history import History
from hpo_plugins.history.untried import untried_draw
from hpo_plugins.records import OUT_OF_MEMORY, TrialState
from hpo_plugins.space import Continuous, FloatArray, Integer, Listed, Params, Space
from hpo_plugins.space.sobol import draw
from hpo_plugins.surrogate.encoding import InputEncoder
from hpo_plugins.surrogate.valid_points import ValidPoints

N_HYPOTHESES = 1_024
N_REFINED = 512
MAX_RISK = 0.15
"""The largest risk that is taken after one trial has run out of memory; after another one, none is taken."""
MIN_FITTING = 3
"""Trials that fit, without which risks are taken further on: otherwise nothing but the smallest would be tried."""
REFINEMENTS = (0.2, 0.05)
"""Hypotheses that agree with the trials are drawn again with their weights changed by such factors, in logarithms."""
N_STARTS = 6
"""Trials that fit, from which others are sought if no random draw fits."""
N_DRAWS = 64
"""Random draws among which one that fits is sought."""
_GROWS = 0.9
"""Prior probability that a parameter that matters needs more memory the larger it is."""
_RATES_MATTER = 0.1
"""Prior probability that a real number or a category matters; whole and ordered numbers are more often sizes."""
_DUST = 1e-9
_CONFLICT = 1e-9
"""Weight of a hypothesis that contradicts a trial, beside those that contradict none."""


class MemoryLimit:
    """The limit, as far as a study's trials show it.

    Args:
        space: The search space.
        fitting: The configurations that fit, shape ``(n, d)``.
        failed: Those that do not, shape ``(k, d)``, at least one.
    """

    def __init__(self, space: Space, fitting: FloatArray, failed: FloatArray) -> None:
        """Weigh the hypotheses, and draw more of those that agree with the trials."""
        self._features = _Features(space)
        x_fits, x_fails = self._features(fitting), self._features(failed)
        rng = np.random.default_rng(0)
        prior = _hypotheses(self._features.lengths, self._features.is_rate, rng)
        self._weigh(prior, x_fits, x_fails)
        for spread in REFINEMENTS:
            kept = self._weights[rng.choice(len(self._weights), N_REFINED, p=self._chance)]
            changed = kept * np.exp(rng.normal(0.0, spread, kept.shape))
            self._weigh(np.concatenate([prior, kept, changed]), x_fits, x_fails)
        is_known = len(failed) > 1 and len(fitting) >= MIN_FITTING
        self.max_risk = 0.0 if is_known else MAX_RISK

    def _weigh(self, weights: FloatArray, x_fits: FloatArray, x_fails: FloatArray) -> None:
        low, high = np.minimum(weights, 0.0).sum(axis=1), np.maximum(weights, 0.0).sum(axis=1)
        self._weights = weights
        self._fits = (x_fits @ weights.T).max(axis=0, initial=-np.inf)
        self._fits = np.maximum(self._fits, low)  # nothing fits if nothing needs less
        self._fails = (x_fails @ weights.T).min(axis=0)
        gap = (self._fails - self._fits) / (high - low)
        # All that agree count alike, however narrow their range: the search itself leads to the border.
        chance = np.where(gap > 0, 1.0, _CONFLICT * np.exp(np.minimum(gap, 0.0) / 0.05))
        self._chance = chance / chance.sum()

    def risk(self, points: FloatArray) -> FloatArray:
        """Return the probabilities that configurations run out of memory, shape ``(n,)``."""
        scores = self._features(points) @ self._weights.T
        width = np.maximum(self._fails - self._fits, 1e-12)
        share = np.clip((scores - self._fits - _DUST) / width, 0.0, 1.0)
        risks: FloatArray = share @ self._chance
        return risks


class _Features:
    """The features of configurations: logarithms of positive numbers, coordinates of others, a column per category."""

    def __init__(self, space: Space) -> None:
        self._encoder = InputEncoder(space)
        self._columns: list[tuple[int, Any]] = []
        lengths: list[float] = []
        is_rate: list[bool] = []
        for index, parameter in enumerate(space.values()):
            if parameter.size == 1:
                continue
            table = _logarithms(parameter)
            if table is not None or not isinstance(parameter, Listed):
                self._columns.append((index, table))
                lengths.append(_length(parameter))
                is_rate.append(isinstance(parameter, Continuous))
            else:
                self._columns += [
                    (index, (position + 0.5) / len(parameter.values)) for position in range(len(parameter.values))
                ]
                lengths += [0.0] * len(parameter.values)
                is_rate += [True] * len(parameter.values)
        self.lengths = np.array(lengths)
        self.is_rate = np.array(is_rate)  # also categories: what is probably no size

    def __call__(self, points: FloatArray) -> FloatArray:
        points = self._encoder.snap(np.array(points, dtype=np.float64))
        active = self._encoder.active(points)
        x = np.zeros((len(points), len(self._columns)))
        for column, (index, what) in enumerate(self._columns):
            u = points[:, index]
            if isinstance(what, float):
                x[:, column] = np.isclose(u, what)
            elif what is None:
                x[:, column] = u
            else:
                x[:, column] = np.interp(u, *what)
            x[:, column] *= active[:, index]
        return x


def _logarithms(parameter: Any) -> tuple[FloatArray, FloatArray] | None:
    """Return coordinates and, at these, the logarithms of a positive parameter's values scaled to [0, 1].

    None for parameters whose coordinates are the feature, or that have no numbers.
    """
    if isinstance(parameter, Listed):
        values = np.array(
            [v if isinstance(v, int | float) and not isinstance(v, bool) else np.nan for v in parameter.values]
        )
        is_ordered = parameter.kind == "ordinal"
        if not is_ordered:
            return None
        units = (np.arange(len(values)) + 0.5) / len(values)
        if not np.all(values > 0):
            return units, np.linspace(0.0, 1.0, len(values))
        logs = np.log(values)
        return units, (logs - logs.min()) / np.ptp(logs)
    if parameter.low <= 0 or parameter.resolved_scale != "linear":
        return None
    units = np.linspace(0.0, 1.0, 65)
    values = parameter.low + units * (parameter.high - parameter.low)
    return units, np.log(values / parameter.low) / math.log(parameter.high / parameter.low)


def _length(parameter: Any) -> float:
    """Return the weight that a feature of length 1 has if memory is proportional to the parameter."""
    if isinstance(parameter, Continuous | Integer):
        return math.log(parameter.high / parameter.low) if parameter.low > 0 else 2.0
    numbers = [v for v in parameter.values if isinstance(v, int | float)]
    is_positive = len(numbers) == len(parameter.values) and min(numbers) > 0
    return math.log(max(numbers) / min(numbers)) if is_positive else 2.0


def _hypotheses(lengths: FloatArray, is_rate: NDArray[np.bool_], rng: np.random.Generator) -> FloatArray:
    """Return weights drawn from the prior, shape ``(N, m)``; no row is zero."""
    is_number = lengths > 0
    shape = (N_HYPOTHESES, len(lengths))
    sizes = np.flatnonzero(~is_rate) if not is_rate.all() else np.arange(shape[1])
    matters = rng.random(shape) < np.where(is_rate, _RATES_MATTER, min(0.5, 2 / len(sizes)))
    matters[np.arange(N_HYPOTHESES), rng.choice(sizes, N_HYPOTHESES)] = True
    powers = np.exp(rng.normal(0.0, 0.5, shape) * (rng.random((N_HYPOTHESES, 1)) < 0.5))  # half: a plain product
    powers *= np.where(rng.random(shape) < _GROWS, 1.0, -1.0)
    effects = rng.normal(0.0, 1.0, shape)  # of categories
    return np.asarray(matters * np.where(is_number, powers * lengths, effects), dtype=np.float64)


def memory_limit(history: History) -> MemoryLimit | None:
    """Return the limit that a study's trials show, None if none has run out of memory."""
    failed = [trial for trial in history if is_out_of_memory(trial)]
    if not failed or all(parameter.size == 1 for parameter in history.space.values()):
        return None
    fitting = [trial for trial in history if trial.has_reports and not is_out_of_memory(trial)]
    d = len(history.space)
    points = [np.array([trial.point for trial in trials]).reshape(-1, d) for trials in (fitting, failed)]
    return _limit(history.space, points[0].tobytes(), points[1].tobytes())


@functools.lru_cache(maxsize=8)
def _limit(space: Space, fitting: bytes, failed: bytes) -> MemoryLimit:
    d = len(space)
    return MemoryLimit(space, np.frombuffer(fitting).reshape(-1, d), np.frombuffer(failed).reshape(-1, d))


def is_out_of_memory(trial: Any) -> bool:
    """Return whether a trial ran out of memory."""
    return trial.state is TrialState.FAILED and trial.row.rule == OUT_OF_MEMORY


def fitting_draw(history: History, seed: int, drawn: Space | None = None, first: int | None = None) -> Params:
    """Return the first random draw, from the trial's own or ``first`` on, that no trial has and that fits into memory.

    Args:
        history: The study; a finite space must have an untried configuration.
        seed: Its seed.
        drawn: What to draw from: the space of the study, by default, or the same one without the belief.
        first: The number of the first draw; by default, the number of trials.
    """
    drawn = history.space if drawn is None else drawn
    params = untried_draw(history, seed, drawn, first)
    limit = memory_limit(history)
    if limit is None:
        return params
    space, size, index = history.space, history.space.size, len(history) if first is None else first
    indices = dict.fromkeys(index + n if size is None else (index + n) % size for n in range(N_DRAWS))
    others = (draw(drawn, seed, each) for each in indices)
    candidates = [params, *(each for each in others if not history.has_configuration(each))]
    risks = limit.risk(np.array([space.encode(params) for params in candidates]))
    fits = np.flatnonzero(risks <= limit.max_risk)
    if len(fits):
        return candidates[int(fits[0])]
    return _moved_towards_fitting(history, limit, params) or candidates[int(np.argmin(risks))]


def _moved_towards_fitting(history: History, limit: MemoryLimit, params: Params) -> Params | None:
    """Return the configuration nearest to another one on the ways from trials that fit to it, and to one another.

    None if all of these were tried.
    """
    space = history.space
    fitting = np.array([trial.point for trial in history if trial.has_reports and not is_out_of_memory(trial)])
    if not len(fitting):
        return None
    point = space.encode(params)
    starts = fitting[np.argsort(np.abs(fitting - point).sum(axis=1), kind="stable")[:N_STARTS]]
    ends = [np.repeat(point[None], len(starts), axis=0), *(np.roll(starts, n, axis=0) for n in range(1, len(starts)))]
    moved = ValidPoints(space, limit).retreat(np.tile(starts, (len(ends), 1)), np.concatenate(ends))
    for each in moved[np.argsort(np.abs(moved - point).sum(axis=1), kind="stable")]:
        found = space.decode(each)
        is_safe = limit.risk(space.encode(found)[None])[0] <= limit.max_risk
        if is_safe and space.accepts(found) and not history.has_configuration(found):
            return found
    return None
