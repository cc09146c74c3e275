"""Hyperband with asynchronous successive halving: many configurations start, few get all their epochs.

Notation
    r, R    min_resource and max_resource, in epochs
    eta     reduction_factor
    rung    an epoch at which a trial is compared: r * eta^k below R
    bracket a sequence of rungs; bracket s omits the first s, so it judges later

Reference:
    Li, Jamieson, DeSalvo, Rostamizadeh, Talwalkar, "Hyperband: A Novel Bandit-Based Approach to Hyperparameter
    Optimization", JMLR 18, 2018 (algorithm 1: brackets and their sizes).
    Li, Jamieson, Rostamizadeh, Gonina, Ben-tzur, Hardt, Recht, Talwalkar, "A System for Massively Parallel
    Hyperparameter Tuning", MLSys 2020 (ASHA).

Differs from the papers in:
    1. A training run is judged inside its own loop when it reports a rung's epoch, against all results there so far,
       and is stopped or continues immediately (ASHA's stopping variant): no worker waits, for any number of workers.
    2. Trials are assigned to the brackets in the order of the paper, the one that judges first coming first, and with
       fewer trials than a round has (``max_trials``), in the proportions of the bracket sizes. Dealt in turn, the other
       brackets' long training runs delay everything (docs/decisions/0005).
    3. A bracket determines where judging starts, not who is compared: every trial that has reached a rung's epoch
       counts there, whatever its bracket. Separate brackets have to learn separately what is good, and find less
       (docs/decisions/0005).
    4. A trial that ended by itself before a rung counts there with its last result.
    5. New configurations come from a surrogate of all curves (as in Klein, Tiao, Lienart, Archambeau, Seeger,
       "Model-based Asynchronous Hyperparameter and Neural Architecture Search", arXiv 2003.10865, 2020) unless
       ``search="random"``. The first configuration is the centre of the space, judged as any other
       (docs/decisions/0037). With it, the first ``eta ** 3`` configurations are random draws, or the first fifth of
       the trials if there are fewer than a round: most have one epoch, of which the surrogate learns little
       (docs/decisions/0011).
       Nothing is proposed beside a stopped training run: its rung would stop the neighbour, too (docs/decisions/0029).
       The search for the largest expected improvement and the best of a few random draws take turns, by the new bests
       that each brings (``modeling.turns``).
    6. A rung that passes before the first validation is judged at the first value after it.
    7. A trial with folds passes its rungs in the first fold; after it, whole folds are the resource (``halving``).
    8. With ``pause=True`` (ASHA's promotion variant, algorithm 2 of Li et al. 2020) a trial among the best at its rung
       continues immediately, without a pause. When no new trial may start, the best at a rung is promoted however few
       there are, so that a search always ends with a full training run.
    9. Without ``pause``, the first trial at a rung continues, as a stopped one is lost for good. But if a whole round
       of trials is to come, none continues from the first three rungs before it is compared with
       ``reduction_factor - 1`` others: else the first configurations, which are as good as any, are trained in full.
       (Those of the user, and of a search with earlier studies, do not wait.) See docs/decisions/0006.
    10. If the first rung is below a 27th of ``max_resource`` (for ``reduction_factor=3``) and the study has a whole
       round of trials, rung 1 judges trials only if its ranks predict those of rung 2. The first six trials pass it.
       See docs/decisions/0006.
    11. Where epochs' times differ, the surrogate's choice has the largest expected improvement per second (``cost``;
       Snoek, Larochelle, Adams, NeurIPS 2012, section 3.2). See docs/decisions/0010.
    12. If the space comes with a belief (``prior=``), the first configuration is its mode, judged as any other; draws
       follow it, and the surrogate has it as its prior mean, as far as results agree (``modeling.guides``). See
       docs/decisions/0033.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from itertools import accumulate, islice
from typing import ClassVar, Literal

import numpy as np

from hpo_plugins import modeling
from hpo_plugins._fields import checked, frozen
from hpo_plugins._validation import boolean, choice, whole_number
from hpo_plugins.errors import InvalidArgument
from hpo_plugins.history import History, TrialHistory
from hpo_plugins.history.untried import untried_draw
from hpo_plugins.records import MAX_EPOCH, Decision, TrialState
from hpo_plugins.space import FloatArray, Params, Space
from hpo_plugins.strategies.base import Resume, Start, Strategy
from hpo_plugins.strategies.halving import compare, judge_fold, loss_at, results_at

N_PAIRS = 6
"""Number of unjudged trials used to correlate rungs 1 and 2 (at most three times as many are used)."""
MIN_CORRELATION = 0.85
"""Minimum rank correlation of losses at rungs 1 and 2 for rung 1 to judge trials."""
N_WAITING = 3
"""Rungs at which the first configurations, which are as good as any, are compared with others before one continues."""
RANDOM_SHARE = 5
"""In short searches the first 1/n of the trials are random draws."""


@frozen()
class Hyperband(Strategy):
    """Stop the training runs that rank low at increasing numbers of epochs, and give the best ones more epochs.

    Args:
        min_resource: No training is judged before this epoch.
        max_resource: Epochs of a full training run; a training run that reaches it is complete.
        reduction_factor: At each rung, the best ``1 / reduction_factor`` of the results so far continue.
        search: Where new configurations come from: ``"bayesian"``, where a surrogate of all curves expects the best
            value at ``max_resource``; or ``"random"``, the draws of ``Random``, which depend on no result.
        pause: What happens to a training run that is not among the best at its rung: False stops it for good; True
            pauses it with a checkpoint, from which it is resumed if later results put it among the best.
        cost: What an epoch costs: ``"seconds"``, the time that it takes, by whose prediction the surrogate's choice
            divides the expected improvement; ``"epochs"``, always 1; or ``"auto"``, seconds if they differ between
            trials by half and more, otherwise 1. Measured times are never the same twice: if a seed must fix the
            search, use ``"epochs"``, or ``search="random"``.

    Raises:
        InvalidArgument: An argument is not a whole number in its range, ``min_resource > max_resource``, or ``search``
            or ``cost`` is unknown.
    """

    min_resource: int = checked(whole_number, at_least=1, default=1)
    max_resource: int | None = checked(whole_number, at_least=1, at_most=MAX_EPOCH, default=None)
    reduction_factor: int = checked(whole_number, at_least=2, default=3)
    search: Literal["bayesian", "random"] = checked(choice, allowed=("bayesian", "random"), default="bayesian")
    pause: bool = checked(boolean, default=False)
    cost: Literal["auto", "epochs", "seconds"] = checked(choice, allowed=("auto", "epochs", "seconds"), default="auto")
    stops_trainings: ClassVar[bool] = True

    def __attrs_post_init__(self) -> None:
        if self.max_resource is not None and self.min_resource > self.max_resource:
            raise InvalidArgument(
                f"min_resource must be at most max_resource, but got min_resource={self.min_resource} and "
                f"max_resource={self.max_resource}."
            )

    def check(self, space: Space, max_trials: int | None) -> None:  # noqa: ARG002
        """Raise InvalidArgument if the length of a full training run is not known."""
        if self.max_resource is None:
            raise InvalidArgument(
                "Hyperband must know max_resource, the epochs of a full training, but got max_resource=None. "
                "Use the number that you pass as epochs=, max_epochs= or num_boost_round=."
            )

    def suggest(self, history: History, seed: int) -> Params:
        """Return the surrogate's choice, or the random search's draw."""
        if self.search == "random":
            return untried_draw(history, seed)
        n_initial = self._n_initial(history.max_trials)
        return modeling.suggestion.suggest(
            history, seed, self.max_resource, n_initial=n_initial, cost=self.cost, avoid_stopped=True
        )

    def _n_initial(self, max_trials: int | None) -> int:
        """Return how many random draws come before the surrogate's choices."""
        most = self.reduction_factor**3
        if max_trials is None or self._is_whole_round(max_trials):
            return most
        return max(modeling.suggestion.N_INITIAL_CURVES, min(most, max_trials // RANDOM_SHARE))

    def _is_whole_round(self, max_trials: int | None) -> bool:
        """Return whether the study has at least one whole round of trials."""
        return max_trials is None or max_trials >= sum(self._sizes())

    def next_action(self, history: History, seed: int, *, may_start: bool) -> Start | Resume | None:
        """Return the paused trial that is now among the best at its rung, highest rung first, otherwise a new trial."""
        if self.pause:
            paused = [history[number] for number in history.paused]
            for rung in reversed(self.rungs(0)):
                waiting = [trial for trial in paused if self._rung_of(trial) == rung]
                if not waiting:
                    continue
                results = results_at(history, rung)
                losses = [(results.of(trial.row.number), trial.row.number) for trial in waiting]
                loss, number = min((math.inf if loss is None else loss, number) for loss, number in losses)
                if results.rank(loss) <= self._promoted(len(results), at_least=0 if may_start else 1):
                    return Resume(number)
        return super().next_action(history, seed, may_start=may_start)

    def _rung_of(self, trial: TrialHistory) -> int | None:
        """Return the rung at which a paused trial waits."""
        return max((rung for rung in self.rungs(0) if trial.curve.reached(rung)), default=None)

    def _promoted(self, results: int, *, at_least: int) -> int:
        """Return the number of these results that continue."""
        return max(at_least, results // self.reduction_factor)

    def on_report(self, history: History, number: int, epoch: int) -> Decision | None:
        """Compare the trial with all others that have reached the rung that it has just passed, if any."""
        if self.max_resource is not None and epoch >= self.max_resource:
            return Decision(TrialState.COMPLETED, f"reached max_resource={self.max_resource}")
        bracket = self.bracket(number, history.max_trials)
        rung = history[number].curve.milestone_passed(epoch, self.rungs(bracket))
        if rung is None or (rung == self.min_resource and not self._can_judge_first(history, number)):
            return None
        results = results_at(history, rung)
        can_wait = self.pause or self._can_wait(history, number, rung)
        promoted = self._promoted(len(results), at_least=0 if can_wait else 1)
        otherwise = TrialState.PAUSED if self.pause else TrialState.STOPPED
        return compare(history, results, number, promoted, f"at rung {rung}", otherwise)

    def _can_wait(self, history: History, number: int, rung: int) -> bool:
        """Return whether a trial that comes to a rung first need not continue.

        With many trials to come, the first one is an average configuration. But the user's own configurations, and
        those of earlier studies, are likely to be better than most.
        """
        if rung not in self.rungs(0)[:N_WAITING] or not self._is_whole_round(history.max_trials):
            return False
        is_guided = self.search == "bayesian" and bool(history.parents)
        return not is_guided and history[number].row.point is None

    def _can_judge_first(self, history: History, number: int) -> bool:
        """Return whether losses at the first rung say enough about those at the next one to judge a trial there."""
        rungs = self.rungs(0)
        early = self.min_resource * self.reduction_factor**3 <= (self.max_resource or 1)
        if not early or not self._is_whole_round(history.max_trials):
            return True
        pairs = list(islice(_losses_at(history, *rungs[:2]), self.reduction_factor * N_PAIRS))
        if len(pairs) < N_PAIRS:
            return number >= self.reduction_factor * N_PAIRS  # many workers may start before the first result
        return _rank_correlation(*np.array(pairs).T) >= MIN_CORRELATION

    def on_fold_end(self, history: History, number: int, fold: int) -> Decision | None:
        """Compare the trial after a fold with all others that have completed this fold."""
        return judge_fold(history, number, fold, self.reduction_factor)

    @property
    def milestones(self) -> tuple[int, ...]:
        """The rungs of the bracket that judges first."""
        return self.rungs(0)

    def rungs(self, bracket: int) -> tuple[int, ...]:
        """Return the epochs below ``max_resource`` at which trials of a bracket are compared."""
        return _rungs(self.min_resource, self.max_resource or 1, self.reduction_factor)[bracket:]

    def bracket(self, number: int, max_trials: int | None = None) -> int:
        """Return the bracket of a trial.

        Args:
            number: The trial.
            max_trials: The maximum number of trials of the study, None for no limit.
        """
        sizes = _scaled(self._sizes(), max_trials)
        place = number % sum(sizes)
        return next(bracket for bracket, end in enumerate(accumulate(sizes)) if place < end)

    def _sizes(self) -> tuple[int, ...]:
        return _bracket_sizes(len(self.rungs(0)), self.reduction_factor)

    def describe(self) -> str:
        """Return the table of brackets and rungs, one line per bracket."""
        if self.max_resource is None:
            return "Hyperband: max_resource is not known yet."
        sizes = self._sizes()
        lines = [
            f"Hyperband: the best 1/{self.reduction_factor} of the results at a rung continue, "
            f"up to epoch {self.max_resource}.",
            "bracket  share of trials  compared at epochs",
        ]
        for bracket, size in enumerate(sizes):
            rungs = ", ".join(map(str, self.rungs(bracket))) or "never: every training is full"
            lines.append(f"{bracket:>7}  {size / sum(sizes):>15.1%}  {rungs}")
        return "\n".join(lines)


def _losses_at(history: History, first: int, second: int) -> Iterator[tuple[float, float]]:
    """Yield the losses at two epochs of every trial that has reached both."""
    for trial in history:
        if trial.state is not TrialState.FAILED and trial.curve.reached(second):
            losses = [loss_at(history, trial, epoch) for epoch in (first, second)]
            if losses[0] is not None and losses[1] is not None:
                yield losses[0], losses[1]


def _rank_correlation(first: FloatArray, second: FloatArray) -> float:
    """Return Spearman's correlation, 0 if all values of one are equal."""
    ranks = [np.unique(values, return_inverse=True)[1].astype(float) for values in (first, second)]
    centred = [rank - rank.mean() for rank in ranks]
    size = math.sqrt(float(centred[0] @ centred[0]) * float(centred[1] @ centred[1]))
    return float(centred[0] @ centred[1]) / size if size else 0.0


@functools.cache
def _rungs(min_resource: int, max_resource: int, factor: int) -> tuple[int, ...]:
    """Return ``min_resource * factor^k`` below ``max_resource``; logarithms would round down at exact powers."""
    rungs = []
    epoch = min_resource
    while epoch < max_resource:
        rungs.append(epoch)
        epoch *= factor
    return tuple(rungs)


@functools.cache
def _bracket_sizes(rungs: int, factor: int) -> tuple[int, ...]:
    """Return how many trials of a round start in each bracket (Hyperband, algorithm 1, line 3)."""
    return tuple(-(-(rungs + 1) * factor**s // (s + 1)) for s in range(rungs, -1, -1))


@functools.cache
def _scaled(sizes: tuple[int, ...], limit: int | None) -> tuple[int, ...]:
    """Return the sizes of a round of ``limit`` trials, if that is fewer; the largest remainders are rounded up."""
    total = sum(sizes)
    if limit is None or limit >= total:
        return sizes
    shares = [size * limit / total for size in sizes]
    whole = [int(share) for share in shares]
    by_remainder = sorted(range(len(sizes)), key=lambda bracket: (whole[bracket] - shares[bracket], bracket))
    for bracket in by_remainder[: limit - sum(whole)]:
        whole[bracket] += 1
    return tuple(whole)
