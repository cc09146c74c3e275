"""The surrogate of a study: fitted to its history, asked where to go on.

It is a function of the history: the seed enters by the random draws that the history begins with. What is remembered
between calls (what was learned from the settled observations) is a cache: a process that takes over computes the same.

Notation
    settled     observed before the trainings that run now (see ``Observations``)
    R           the last epoch of a full training, ``last``; None where only final values are modelled
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from hpo_plugins.history import History
from hpo_plugins.modeling.observations import (
    Observations,
    Standardization,
    known_points,
    observe_curves,
    observe_identical,
    observe_values,
    place,
)
from hpo_plugins.modeling.transfer import guides, lead, learn_guess
from hpo_plugins.records import TrialState
from hpo_plugins.space import FloatArray, Params, Space
from hpo_plugins.space.sobol import draw
from hpo_plugins.surrogate.threads import on_one_core

if TYPE_CHECKING:
    from hpo_plugins.surrogate.encoding import Features
    from hpo_plugins.surrogate.gp import Posterior
    from hpo_plugins.surrogate.kernel import Layout
    from hpo_plugins.surrogate.prior_mean import Guess

T = TypeVar("T")

INITIAL = 8
"""Random draws before the model has a say, where only final values are modelled.

Earlier, it looks into the corners of a space of many parameters: with 4 the regret on ten tasks after 10 and 50
evaluations was .32 and .05, with 8 .17 and .04.
"""
INITIAL_CURVES = 4
"""The same where curves are modelled, and a draw costs a few epochs only."""
FITTED = 100
"""Observations that the hyperparameters are learned from; more make each step dear and change little."""
EXACT = 400
"""Observations that the process is conditioned on."""
STEPS = 30
"""Of the search for the hyperparameters."""


class Learned(NamedTuple):
    """What the settled observations say: the hyperparameters, the scale of the losses, and whom to believe."""

    layout: Layout
    theta: FloatArray
    scale: Standardization
    guess: Guess | None
    """What earlier studies say, None where there are none or they are not believed."""


class Model:
    """The surrogate of a study.

    Args:
        history: The study.
        last: R, or None.
        seen: What the process is conditioned on.
        learned: What the settled observations say.
        features: The space's columns.
    """

    def __init__(
        self, history: History, last: int | None, seen: Observations, learned: Learned, features: Features
    ) -> None:
        """Condition the process on the observations, or on those that matter most."""
        self.history, self.last, self.seen, self.features, self._learned = history, last, seen, features, learned
        self.scale = learned.scale
        self.points = features.snap(known_points(history))
        self.y = self.scale(seen.loss)

    @functools.cached_property
    def posterior(self) -> Posterior:
        """The process, given the observations."""
        from hpo_plugins.surrogate.gp import Posterior
        from hpo_plugins.surrogate.prior_mean import GuidedPosterior

        layout, theta, _, guess = self._learned
        kept = informative(self.seen, self.y, EXACT)
        x = self.at(self.points[self.seen.trial[kept]], self.seen.epoch[kept])
        if guess is None:
            return Posterior(layout, theta, x, self.y[kept])
        return GuidedPosterior(layout, theta, x, self.y[kept], guess)

    @property
    def is_guided(self) -> bool:
        """Whether earlier studies are believed."""
        return self._learned.guess is not None

    @property
    def best(self) -> float:
        """The smallest standardised loss seen."""
        return float(self.y[np.isfinite(self.seen.loss)].min())

    def at(self, points: FloatArray, epochs: NDArray[np.intp] | int) -> FloatArray:
        """Return the process's inputs for snapped points at epochs."""
        times = None if self.last is None else np.broadcast_to(place(np.asarray(epochs), self.last), (len(points),))
        return self.features.inputs(points, times)

    def leaders(self, most: int) -> NDArray[np.intp]:
        """Return the numbers of the trials with the smallest losses seen."""
        numbers = self.seen.trial[np.argsort(self.y, kind="stable")]
        _, first = np.unique(numbers, return_index=True)
        return numbers[np.sort(first)][:most]

    def can_improve(self) -> NDArray[np.intp]:
        """Return the numbers of the trials that are complete or may be trained further: not those lost for good."""
        lost = (TrialState.STOPPED, TrialState.FAILED)
        return np.array([trial.row.number for trial in self.history if trial.state not in lost], dtype=np.intp)

    def running(self, *, but: int | None = None) -> tuple[int, ...]:
        """Return the numbers of the trials that run now, without one's own."""
        return tuple(
            number
            for number in sorted(self.history.unfinished - {but})
            if self.history[number].state is TrialState.RUNNING
        )

    def before(self) -> Model:
        """Return the surrogate as it was before the trainings that run now."""
        settled = _settled(self.seen)
        return self if settled is self.seen else Model(self.history, self.last, settled, self._learned, self.features)

    def propose(self, running: tuple[int, ...], taken: FloatArray) -> FloatArray:
        """Return new configurations in the order of their expected improvement, shape ``(k, d)``.

        Args:
            running: Trials whose results are on their way: they count as what is expected of them.
            taken: Configurations that are not to come again, shape ``(n, d)``.
        """
        key = (_key(self.history, self.last, self.seen, self.points), running, taken.tobytes())
        return _remember(_proposals, key, lambda: self._propose(running, taken))

    def _propose(self, running: tuple[int, ...], taken: FloatArray) -> FloatArray:
        from hpo_plugins.surrogate.acquisition import Search

        last = self.last or 1
        rivals = np.array(running, dtype=np.intp)
        posterior = self.posterior.with_expected(self.at(self.points[rivals], last))
        if self.last is not None:  # the best seen may have seen few epochs, and more may be expected of it
            rivals = np.append(rivals, np.intersect1d(self.leaders(20), self.can_improve()))
        means, _ = posterior.at(self.at(self.points[rivals], last))
        best = float(np.min([self.best, *means]))
        rng = np.random.default_rng(len(self.seen.loss))
        search = Search(self.features, posterior, best, time=None if self.last is None else 1.0, rng=rng)
        found, _ = search.run(self.points[self.leaders(5)], taken)
        return found


def model_of(history: History, last: int | None) -> Model | None:
    """Return the surrogate of a study given everything known, or None while too little is.

    Args:
        history: The study.
        last: R, where curves are modelled, else None.
    """
    from hpo_plugins.surrogate.encoding import Features

    own = observe_values(history) if last is None else observe_curves(history, last)
    seen = own.beside(observe_identical(history, last))
    features = Features(history.space)
    if np.isfinite(seen.loss).sum() < 2 or not features.columns:
        return None
    settled = _settled(seen)
    points = features.snap(known_points(history))
    key = _key(history, last, settled, points)
    learned = _remember(_lessons, key, lambda: _learn(history, settled, points, last, features))
    return Model(history, last, seen, learned, features)


def _settled(seen: Observations) -> Observations:
    """Return the settled observations, or all while too few are settled."""
    if seen.settled.all() or np.isfinite(seen.loss[seen.settled]).sum() < 2:
        return seen
    return seen.only(seen.settled)


def _learn(history: History, seen: Observations, points: FloatArray, last: int | None, features: Features) -> Learned:
    from hpo_plugins.surrogate.gp import fit

    scale = Standardization.of(seen.loss)
    y = scale(seen.loss)
    kept = informative(seen, y, FITTED)
    layout = features.layout(curves=last is not None)
    times = None if last is None else place(seen.epoch[kept], last)
    x = features.inputs(points[seen.trial[kept]], times)
    guess = learn_guess(history, seen, y, points, features)
    theta = fit(layout, x, y[kept] if guess is None else y[kept] - guess(x), steps=STEPS)
    return Learned(layout, theta, scale, guess)


_lessons: dict[Hashable, Learned] = {}
_proposals: dict[Hashable, FloatArray] = {}


def _key(history: History, last: int | None, seen: Observations, points: FloatArray) -> Hashable:
    """Return what the surrogate depends on, and nothing else."""
    columns = (seen.trial, seen.epoch, seen.loss, points[seen.trial])
    return (repr(history.space), last, history.parents_digest, *(column.tobytes() for column in columns))


def _remember(memory: dict[Hashable, T], key: Hashable, compute: Callable[[], T]) -> T:
    """Return what was computed for this key before, or compute it; a few are kept."""
    if key not in memory:
        while len(memory) >= 8:
            memory.pop(next(iter(memory)))
        memory[key] = compute()
    return memory[key]


def informative(seen: Observations, y: FloatArray, most: int) -> NDArray[np.intp]:
    """Return the indices of at most so many observations, those that say most.

    The newest of every trial come first, then all of the five best trials, then the later ones of the others.
    """
    if len(y) <= most:
        return np.arange(len(y))
    newest = np.append(seen.trial[1:] != seen.trial[:-1], True)
    best = np.isin(seen.trial, seen.trial[np.argsort(y, kind="stable")][:5])
    rank = np.lexsort((y, -seen.epoch, ~best, ~newest))
    return np.sort(rank[:most])


@on_one_core
def propose(history: History, seed: int, last: int | None = None) -> Params:
    """Return a new configuration: where the surrogate expects the largest improvement."""
    known, enough = len(known_points(history)), INITIAL if last is None else INITIAL_CURVES
    model = model_of(history, last) if known >= (INITIAL_CURVES if guides(history) else enough) else None
    if model is None or (known < enough and not model.is_guided):
        return opening(history, seed)
    found = model.propose(model.running(), model.points)
    return history.space.decode(found[0]) if len(found) else unseen_draw(history, seed)


def opening(history: History, seed: int) -> Params:
    """Return a configuration before the model has a say: one that was good for a parent, or a random draw."""
    from hpo_plugins.surrogate.encoding import Features

    point = lead(history, Features(history.space)) if len(history) < INITIAL_CURVES else None
    return unseen_draw(history, seed) if point is None else history.space.decode(point)


def unseen_draw(history: History, seed: int) -> Params:
    """Return the first random draw from the trial's own on that no trial has."""
    taken = {Space.key(trial.row.params) for trial in history}
    size = history.space.size
    number = len(history)
    while True:
        params = draw(history.space, seed, number if size is None else number % size)
        if Space.key(params) not in taken:
            return params
        number += 1
