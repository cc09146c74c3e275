"""Where the next epochs go: to a new configuration, to a frozen training, or to the one that runs.

Notation
    option    train one configuration from the epoch it stands at to a later epoch of the grid
    worth     how far the best loss is expected to fall for it: by what is learned (knowledge gradient at the last
              epoch), or at once, when the training comes to its end (expected improvement)
    cost      the epochs it takes, see ``pace``
    rate      worth divided by cost; the option of the highest rate is taken

References:
    Swersky, Snoek, Adams, "Freeze-Thaw Bayesian Optimization", arXiv 1406.3896, 2014 (trainings go on where the
    model expects most).
    Frazier, Powell, Dayanik, INFORMS Journal on Computing 21, 2009 (knowledge gradient).

Differs from freeze-thaw in: one Gaussian process over configurations and epochs instead of a prior of curves; the
worth of an option in loss an epoch instead of the entropy of the optimum's place.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from hpo_plugins.modeling import epoch_cost as pace
from hpo_plugins.modeling.model import Model
from hpo_plugins.modeling.observations import grid
from hpo_plugins.records import TrialState
from hpo_plugins.space import FloatArray

REPRESENTATIVES = 30
"""Configurations among which the best at the last epoch is looked for; those stopped for good are not among them."""
CANDIDATES = 12
"""New configurations that are looked at."""
HOPELESS = 0.01
"""When nothing new may start, a training with a smaller chance to win is not trained further."""


class Training(NamedTuple):
    """Something that can be trained further: a trial by its number, or a new configuration (``number`` None)."""

    number: int | None
    point: FloatArray
    trained: int


class Choice(NamedTuple):
    """What the next epochs are best spent on."""

    training: Training
    chance: float
    """The probability that it beats the best loss seen at some epoch of the grid."""


def trainings(model: Model, own: int | None, *, may_start: bool, may_thaw: bool) -> list[Training]:
    """Return what a free worker, or the one that trains trial ``own``, could go on with."""
    result = []
    for number in sorted(model.history.unfinished):
        trial = model.history[number]
        if number == own or (may_thaw and trial.state is TrialState.PAUSED):
            result.append(Training(number, model.points[number], trial.curve.epochs[-1] if len(trial.curve) else 0))
    if may_start:
        result += [Training(None, point, 0) for point in _candidates(model, own)]
    return result


def _candidates(model: Model, own: int | None) -> FloatArray:
    """Return new configurations that are worth a look: the best ones, and others for the sake of variety.

    While a training is judged they are those from before it ran, so that an epoch costs no new search.
    """
    if own is None:
        found = model.propose(model.running(), model.points)
    else:
        is_new = model.history[own].row.start_epoch == 0
        taken = np.delete(model.points, own, axis=0) if is_new else model.points
        found = model.before().propose(model.running(but=own), taken)
        mine = model.features.keys(model.points[[own]])
        found = found[np.array([[key] != mine for key in model.features.keys(found)], dtype=bool)]
    return np.vstack([found[: CANDIDATES // 2], found[CANDIDATES // 2 :: max(1, len(found) // (CANDIDATES // 2))]])


def choose(
    model: Model, choices: list[Training], own: int | None, *, timed: bool, favour: float = 1.0
) -> Choice | None:
    """Return the training whose next epochs are expected to bring most each; None when there is none.

    Trials that run elsewhere count as what is expected of them at their end.

    Args:
        model: The surrogate, where curves are modelled.
        choices: What there is.
        own: The trial that is trained here, which needs no start; None at a hand-out.
        timed: Whether an epoch costs the time it takes, instead of 1.
        favour: How many times as much as the own training another one must be worth to be preferred.
    """
    from hpo_plugins.surrogate.acquisition import chance_of_improvement, log_expected_improvement
    from hpo_plugins.surrogate.worth import knowledge_gradient

    if not choices:
        return None
    last = model.last or 1
    epochs = grid(last)
    options = [(index, epoch) for index, it in enumerate(choices) for epoch in epochs if epoch > it.trained]
    index, target = (np.array(column) for column in zip(*options, strict=True))
    points = np.array([it.point for it in choices])
    cost = _costs(model, choices, own, timed=timed)
    others = np.array(model.running(but=own), dtype=np.intp)
    posterior = model.posterior.with_expected(model.at(model.points[others], last))
    reachable = np.vstack([model.points[model.can_improve()], points])
    means, _ = posterior.at(model.at(reachable, last))
    representatives = reachable[np.argsort(means, kind="stable")[:REPRESENTATIVES]]
    mean, deviation, mean_r, between = posterior.jointly(
        model.at(points[index], target), model.at(representatives, last)
    )
    worth = knowledge_gradient(mean_r, between, deviation, posterior.h.noise)
    improvement = np.exp(log_expected_improvement(mean, deviation, model.best))
    worth = np.where(target == last, np.maximum(worth, improvement), worth)
    trained = np.array([it.trained for it in choices])
    rate = worth / (cost.start[index] + cost.epoch[index] * (target - trained[index]))
    rate[[choices[i].number is not None and choices[i].number == own for i in index]] *= favour
    best = int(np.argmax(rate))
    chances = chance_of_improvement(mean, deviation, model.best)
    return Choice(choices[index[best]], float(chances[index == index[best]].max()))


class _Costs(NamedTuple):
    """What each choice costs, in mean epochs, shape ``(n_choices,)`` each: to start it, and an epoch of it."""

    start: FloatArray
    epoch: FloatArray


def _costs(model: Model, choices: list[Training], own: int | None, *, timed: bool) -> _Costs:
    paces = pace.measured(model.history)
    starting = np.full(len(choices), float(pace.startup(model.history, paces)))
    starting[[it.number is not None and it.number == own for it in choices]] = 0
    if not timed:
        return _Costs(starting, np.ones(len(choices)))
    known = model.features.inputs(model.points[list(paces)])
    inputs = model.features.inputs(np.array([it.point for it in choices]))
    return _Costs(starting, pace.relative(paces, known, inputs, [it.number for it in choices]))
