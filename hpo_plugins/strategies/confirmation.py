"""Train the finalists of a search again until it is clear which one is the best.

The repeats of finalist ``i`` have the losses ``y_ij = mu_i + sigma e_ij`` with one ``sigma`` for all, and flat priors
on ``mu_i`` and ``log sigma``. With ``n_i`` repeats of mean ``m_i``, and the pooled variance ``s2`` of ``v`` degrees of
freedom, ``sigma^2`` is ``v s2 / chi2_v`` and ``mu_i`` is normal around ``m_i`` with variance ``sigma^2 / n_i``. The
probability that a finalist is the best is integrated over both.

The value that a finalist had in the search does not count: it is among the finalists because that value was good, so it
is too good on average.

=======  ============================  =====
symbol   meaning                       shape
=======  ============================  =====
losses   losses of each finalist       k lists
n, m     their number and mean         (k,)
p        probability to be the best    (k,)
=======  ============================  =====
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hpo_plugins._fields import checked, frozen
from hpo_plugins._validation import whole_number
from hpo_plugins.errors import InvalidArgument
from hpo_plugins.history import History
from hpo_plugins.records import Decision, TrialState
from hpo_plugins.space import FloatArray, Params
from hpo_plugins.space.finalists import FINALIST, REPEAT, FinalistSpace
from hpo_plugins.strategies.base import Strategy

MIN_REPEATS = 2
"""Repeats of each finalist before one may be called the best: the noise is unknown with fewer."""
_SIGMAS, _POINTS = 24, 65
"""Numbers of quantiles of sigma, and of points of each mean, in the integral."""


@frozen()
class Confirmation(Strategy):
    """Choose which finalist is trained again; ``Tuner.confirm`` makes it.

    Args:
        max_resource: Epochs of a full training run, None if the search did not know them.
    """

    max_resource: int | None = checked(whole_number, at_least=1, default=None)

    def suggest(self, history: History, seed: int) -> Params:  # noqa: ARG002
        """Return the next repeat: of each finalist in turn, then of the two between which it is least clear."""
        space, begun = _space(history), repeats_begun(history)
        left = [number for number in space.finalists if begun[number] < space.repeats]
        fewest = min(left, key=lambda number: begun[number])
        if begun[fewest] >= MIN_REPEATS:
            losses = losses_of(history)
            p = dict(zip(losses, probabilities(list(losses.values())), strict=True))
            best = max(p, key=lambda number: p[number])
            rivals = [number for number in left if number != best] or left
            rival = max(rivals, key=lambda number: p[number])
            fewest = min([n for n in (best, rival) if n in left], key=lambda number: begun[number])
        return {FINALIST: fewest, REPEAT: begun[fewest] + 1}

    def on_report(self, history: History, number: int, epoch: int) -> Decision | None:  # noqa: ARG002
        """End a training run where those of the search ended."""
        if self.max_resource is None or epoch < self.max_resource:
            return None
        return Decision(TrialState.COMPLETED, f"reached max_resource={self.max_resource}")

    def describe(self) -> str:
        """Describe the strategy's plan."""
        return f"Confirmation: each finalist {MIN_REPEATS} times, then the best one and its nearest rival."


def _space(history: History) -> FinalistSpace:
    if not isinstance(history.space, FinalistSpace):
        raise InvalidArgument(f"{Confirmation.__name__} must search finalists: use Tuner.confirm, which makes both.")
    return history.space


def repeats_begun(history: History) -> dict[int, int]:
    """Return how many repeats of each finalist have begun."""
    begun = dict.fromkeys(_space(history).finalists, 0)
    for trial in history:
        begun[trial.row.params[FINALIST]] += 1  # type: ignore[index]  # a finalist's number
    return begun


def losses_of(history: History) -> dict[int, list[float]]:
    """Return the losses of each finalist's completed repeats."""
    found: dict[int, list[float]] = {number: [] for number in _space(history).finalists}
    for trial in history:
        loss = history.loss(trial.row.number)
        if trial.state is TrialState.COMPLETED and loss is not None:
            found[trial.row.params[FINALIST]].append(loss)  # type: ignore[index]  # as above
    return found


def probabilities(losses: Sequence[Sequence[float]]) -> FloatArray:
    """Return the probability of each finalist to be the best, shape ``(k,)``.

    Finalists without a loss have none. While the noise is unknown, or zero, the best mean has it all.

    Args:
        losses: The losses of each finalist.
    """
    p = np.zeros(len(losses))
    known = [place for place, own in enumerate(losses) if len(own)]
    if not known:
        return np.full(len(losses), 1 / len(losses))
    n = np.array([len(losses[place]) for place in known], float)
    m = np.array([np.mean(losses[place]) for place in known])
    v = int(n.sum()) - len(known)
    squares = sum(float(np.sum((np.asarray(losses[place]) - np.mean(losses[place])) ** 2)) for place in known)
    if v > 0 and squares > 0:
        p[known] = _integral(n, m, v, squares)
    elif v > 0:
        p[np.array(known)[m == m.min()]] = 1 / np.sum(m == m.min())
    else:
        p[known] = 1 / len(known)
    return p


def _integral(n: FloatArray, m: FloatArray, v: int, squares: float) -> FloatArray:
    """Return P(mu_i < mu_j for all j != i), shape ``(k,)``, over sigma and mu_i."""
    from scipy.special import chdtri, ndtr, ndtri

    share = (np.arange(_SIGMAS) + 0.5) / _SIGMAS
    z = ndtri((np.arange(_POINTS) + 0.5) / _POINTS)
    sigma = np.sqrt(squares / chdtri(v, share))  # (s,)
    deviation = sigma[:, None] / np.sqrt(n)  # (s, k)
    p = np.empty(len(n))
    for i in range(len(n)):
        mu = m[i] + deviation[:, i, None] * z  # (s, z)
        others = np.delete(np.arange(len(n)), i)
        above = ndtr((m[others] - mu[..., None]) / deviation[:, None, others])  # (s, z, k - 1)
        p[i] = above.prod(axis=2).mean()
    return np.asarray(p / p.sum())
