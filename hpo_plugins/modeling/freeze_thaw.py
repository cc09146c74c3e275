"""Allocate the next epochs to a new configuration, to a paused training run, or to the running one.

Notation
    option    train one configuration from its current epoch to a later epoch of the grid
    value     expected decrease of the best loss: by information (knowledge gradient at the last epoch), or directly, if
              the training run reaches its end (expected improvement)
    cost      the number of epochs, see ``epoch_cost``

The option with the largest value per epoch is taken: a cost-aware acquisition function.

References:
    Swersky, Snoek, Adams, "Freeze-Thaw Bayesian Optimization", arXiv 1406.3896, 2014.
    Frazier, Powell, Dayanik, "The Knowledge-Gradient Policy for Correlated Normal Beliefs", INFORMS Journal on
    Computing 21, 2009.

Differs from freeze-thaw in:
    1. One Gaussian process over configurations and epochs replaces a prior over curves.
    2. An option is valued by the loss that it gains per epoch, instead of by the entropy of the optimum's location.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from hpo_plugins.modeling import epoch_cost
from hpo_plugins.modeling.epoch_cost import Cost
from hpo_plugins.modeling.feasibility import feasibility, probably_feasible
from hpo_plugins.modeling.model import Model
from hpo_plugins.modeling.observations import epoch_grid
from hpo_plugins.modeling.proposals import N_CAUTIOUS_TRIALS, propose
from hpo_plugins.modeling.turns import draws_before
from hpo_plugins.space import FloatArray
from hpo_plugins.surrogate.acquisition import (
    knowledge_gradient,
    log_expected_improvement,
    probability_of_improvement,
)

N_REPRESENTATIVES = 30
"""Number of configurations among which the best at the last epoch is sought, without stopped ones."""
MAX_REACHABLE = 200
"""Number of trials that they are chosen from, by smallest loss; it bounds decision time (docs/decisions/0016)."""
MAX_RESUMABLE = 100
"""Maximum number of paused runs considered, by predicted final value; it bounds decision time (docs/decisions/0019)."""
N_CANDIDATES = 12
"""Number of new configurations considered."""
MIN_WIN_PROBABILITY = 0.01
"""If nothing new may start, a training run with a smaller probability to become the best is not trained further."""


class Training(NamedTuple):
    """A candidate for training: a trial by its number, or a new configuration (``number`` None)."""

    number: int | None
    point: FloatArray
    trained: int


class Choice(NamedTuple):
    """The training run that receives the next epochs, and its probability to become the best."""

    training: Training
    win_probability: float


def trainings(model: Model, own: int | None, *, may_start: bool, may_resume: bool) -> list[Training]:
    """Return the options of a free worker, or of the worker that trains trial ``own``.

    Args:
        model: The surrogate.
        own: The trial that the worker trains; None for a free worker.
        may_start: Whether a new trial may be started.
        may_resume: Whether paused trials may be resumed.
    """
    numbers = [] if own is None else [own]
    if may_resume:
        numbers += _resumable(model)
    found = []
    for number in sorted(numbers):
        curve = model.history[number].curve
        found.append(Training(number, model.points[number], curve.epochs[-1] if len(curve) else 0))
    if may_start:
        found += [Training(None, point, 0) for point in _candidates(model, own)]
    return found


def _resumable(model: Model) -> list[int]:
    """Return the numbers of the considered paused training runs, ascending."""
    paused = model.history.paused
    if len(paused) > MAX_RESUMABLE:
        expected = model.posterior.predict_mean(model.inputs(model.points[paused], model.last or 1))
        paused = sorted(paused[index] for index in np.argsort(expected, kind="stable")[:MAX_RESUMABLE])
    return paused


def _candidates(model: Model, own: int | None) -> FloatArray:
    """Return new configurations to consider, shape ``(k, d)``: the best ones, and a spread of others.

    On a turn of the draws, they are the best of a few draws: one that the surrogate, which will judge it, holds for bad
    would be stopped after its first epochs (docs/decisions/0047).

    While a training run is judged, they are the candidates from before it ran, so that no epoch costs a new search.
    """
    is_new = own is not None and model.history[own].row.progress.start_epoch == 0
    turn = draws_before(model.history, model.last or 1, N_CAUTIOUS_TRIALS, own if is_new else None)
    cautious = turn is not None
    if own is None:
        found = propose(model, model.running(), model.points, cautious=cautious).points
    else:
        excluded = np.delete(model.points, own, axis=0) if is_new else model.points
        found = propose(model.without_running(), model.running(but=own), excluded, cautious=cautious).points
        own_key = model.encoder.keys(model.points[[own]])
        found = found[np.array([[key] != own_key for key in model.encoder.keys(found)], dtype=bool)]
    half = N_CANDIDATES // 2
    return np.vstack([found[:half], found[half :: max(1, len(found) // half)]])


def choose(
    model: Model, options: list[Training], own: int | None, *, cost: Cost, switching_factor: float = 1.0
) -> Choice | None:
    """Return the training run whose next epochs have the largest value each, None if there is none.

    Trials that run elsewhere count with their predicted losses at the last epoch.

    Args:
        model: The surrogate, which must model curves.
        options: The candidates.
        own: The trial that the worker trains, which needs no start-up; None for a free worker.
        cost: What an epoch costs.
        switching_factor: How many times more than the own training another one must be worth to be chosen.
    """
    if not options:
        return None
    last = model.last or 1
    grid = epoch_grid(last)
    pairs = [(index, epoch) for index, training in enumerate(options) for epoch in grid if epoch > training.trained]
    index, target = (np.array(column) for column in zip(*pairs, strict=True))
    points = np.array([training.point for training in options])
    costs = _costs(model, options, own, cost)
    others = np.array(model.running(but=own), dtype=np.intp)
    posterior = model.posterior.condition_on_mean(model.inputs(model.points[others], last))
    reachable = np.vstack([model.points[model.best_improvable(MAX_REACHABLE)], points])
    reachable = reachable[probably_feasible(model, reachable)]
    means = posterior.predict_mean(model.inputs(reachable, last))
    representatives = reachable[np.argsort(means, kind="stable")[:N_REPRESENTATIVES]]
    joint = posterior.predict_joint(model.inputs(points[index], target), model.inputs(representatives, last))
    noise = posterior.hyperparameters.noise
    value = knowledge_gradient(joint.other_mean, joint.covariance, joint.deviation, noise)
    improvement = np.exp(log_expected_improvement(joint.mean, joint.deviation, model.best))
    value = np.where(target == last, np.maximum(value, improvement), value)
    if (known := feasibility(model)) is not None:
        value = value * np.exp(known.log_probability(points))[index]
    trained = np.array([training.trained for training in options])
    value_per_epoch = value / (costs.startup[index] + costs.epoch[index] * (target - trained[index]))
    value_per_epoch[[options[i].number is not None and options[i].number == own for i in index]] *= switching_factor
    best = index[int(np.argmax(value_per_epoch))]
    probability = probability_of_improvement(joint.mean, joint.deviation, model.best)
    return Choice(options[best], float(probability[index == best].max()))


class _Costs(NamedTuple):
    """The cost of each option in mean epochs, shape ``(n_options,)``: start-up, and one epoch."""

    startup: FloatArray
    epoch: FloatArray


def _costs(model: Model, options: list[Training], own: int | None, cost: Cost) -> _Costs:
    seconds = epoch_cost.seconds_per_epoch(model.history)
    startup = np.full(len(options), float(epoch_cost.startup_epochs(model.history, seconds)))
    startup[[training.number is not None and training.number == own for training in options]] = 0
    if not epoch_cost.counts_seconds(cost, seconds):
        return _Costs(startup, np.ones(len(options)))
    points, numbers = np.array([training.point for training in options]), [training.number for training in options]
    return _Costs(startup, model.relative_epoch_cost(seconds, points, numbers))
