"""Hyperband as asynchronous successive halving: many configurations start, few get all their epochs.

Notation
    r, R    min_resource and max_resource, in epochs
    eta     reduction_factor
    rung    an epoch at which trials are compared: r * eta^k below R

A training run is judged inside its own loop when it reports a rung's epoch: among the best 1/eta of all results there
so far it continues, otherwise it is stopped. No worker waits for another.

Reference:
    Li, Jamieson, DeSalvo, Rostamizadeh, Talwalkar, "Hyperband: A Novel Bandit-Based Approach to Hyperparameter
    Optimization", JMLR 18, 2018.
    Li, Jamieson, Rostamizadeh, Gonina, Ben-tzur, Hardt, Recht, Talwalkar, "A System for Massively Parallel
    Hyperparameter Tuning", MLSys 2020 (ASHA: algorithm 2 with ``pause=True``, its stopping variant without).

Differs from the papers in:
    1. Hyperband hedges against early ranks that mislead by brackets, of which all but one judge later. Here the data
       decide instead: the first rung judges if that finds more of the best at the second rung per epoch
       (``first_rung_pays``, docs/decisions/0044).
    2. Without ``pause``, the first trial at a rung would continue for being the first, since a stopped one is lost for
       good. If enough trials are to come, none continues from a rung below the last one before it is compared with
       ``eta - 1`` others. (Those of the user, and of a search with earlier studies, do not wait: they are likely to be
       better than most.) See docs/decisions/0006.
    3. With ``pause=True``, a trial among the best at its rung continues immediately, without a pause. When no new trial
       may start, the best at a rung is promoted however few there are, so that a search always ends with a full
       training run.
    4. New configurations come from a surrogate of all curves (as in Klein, Tiao, Lienart, Archambeau, Seeger,
       "Model-based Asynchronous Hyperparameter and Neural Architecture Search", arXiv 2003.10865, 2020) unless
       ``search="random"``: the centre of the space or the mode of its belief, ``eta ** 3`` draws, or a fifth of
       ``max_trials`` if that is fewer (docs/decisions/0011), then in turns the largest expected improvement and
       further draws (``modeling.turns``). Nothing is proposed beside a stopped training run, whose rung would
       stop the neighbour, too (docs/decisions/0029). Where epochs' times differ, the improvement is per second.
    5. A trial that ended by itself before a rung counts there with its last result, and a rung that passes before the
       first validation is judged at the first value after it.
    6. A training run that repeats an earlier one exactly is stopped (``repeats``).
    7. A trial with folds passes its rungs in the first fold; after it, whole folds are the resource (``halving``).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import ClassVar, Literal

from hpo_plugins import modeling
from hpo_plugins._fields import checked, frozen
from hpo_plugins._validation import boolean, choice, whole_number
from hpo_plugins.errors import InvalidArgument
from hpo_plugins.history import History, TrialHistory
from hpo_plugins.history.untried import untried_draw
from hpo_plugins.records import MAX_EPOCH, Decision, TrialState
from hpo_plugins.space import Params, Space
from hpo_plugins.strategies.base import Resume, Start, Strategy
from hpo_plugins.strategies.halving import compare, judge_fold, loss_at, results_at
from hpo_plugins.strategies.repeats import stop_of_repeat

RANDOM_SHARE = 5
"""The first 1/n of the trials are random draws, if there is a limit of trials."""


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
        """Return how many random draws come before the surrogate's choices: most have one epoch, and teach little."""
        most = self.reduction_factor**3
        if max_trials is None:
            return most
        return max(modeling.suggestion.N_INITIAL_CURVES, min(most, max_trials // RANDOM_SHARE))

    def _is_long(self, history: History) -> bool:
        """Return whether the study has so many trials that two are expected to pass all rungs, each the best third."""
        limit = history.max_trials
        return limit is None or limit >= 2 * self.reduction_factor ** len(self.rungs)

    def next_action(self, history: History, seed: int, *, may_start: bool) -> Start | Resume | None:
        """Return the paused trial that is now among the best at its rung, highest rung first, otherwise a new trial."""
        if self.pause:
            paused = [history[number] for number in history.paused]
            for rung in reversed(self.rungs):
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
        return max((rung for rung in self.rungs if trial.curve.reached(rung)), default=None)

    def _promoted(self, results: int, *, at_least: int) -> int:
        """Return the number of these results that continue."""
        return max(at_least, results // self.reduction_factor)

    def on_report(self, history: History, number: int, epoch: int) -> Decision | None:
        """Compare the trial with all others that have reached the rung that it has just passed, if any."""
        if self.max_resource is not None and epoch >= self.max_resource:
            return Decision(TrialState.COMPLETED, f"reached max_resource={self.max_resource}")
        if (repeat := stop_of_repeat(history, number)) is not None:
            return repeat
        rung = history[number].curve.milestone_passed(epoch, self.rungs)
        if rung is None or (rung == self.min_resource and not self._first_rung_judges(history, number)):
            return None
        results = results_at(history, rung)
        can_wait = self.pause or self._can_wait(history, number, rung)
        promoted = self._promoted(len(results), at_least=0 if can_wait else 1)
        otherwise = TrialState.PAUSED if self.pause else TrialState.STOPPED
        return compare(history, results, number, promoted, f"at rung {rung}", otherwise)

    def _can_wait(self, history: History, number: int, rung: int) -> bool:
        """Return whether a trial that comes to a rung among the first need not continue."""
        if rung == self.rungs[-1] or not self._is_long(history):
            return False
        is_guided = self.search == "bayesian" and bool(history.parents)
        return not is_guided and history[number].row.point is None

    def _first_rung_judges(self, history: History, number: int) -> bool:
        """Return whether a trial is judged at the first rung.

        It is if the rung is late (beyond a 27th of a full training run, with ``eta`` 3), or the study is too short to
        find out. Otherwise trials pass the rung until enough of them tell that its judgement pays.
        """
        eta = self.reduction_factor
        if self.min_resource * eta**3 > (self.max_resource or 1) or not self._is_long(history):
            return True
        most = 2 * eta * eta
        pairs = list(islice(_losses_at(history, *self.rungs[:2]), most))
        if len(pairs) < 2 * eta:
            return number >= most  # many workers may start before the first result
        return first_rung_pays(pairs, eta)

    def on_fold_end(self, history: History, number: int, fold: int) -> Decision | None:
        """Compare the trial after a fold with all others that have completed this fold."""
        return judge_fold(history, number, fold, self.reduction_factor)

    @property
    def milestones(self) -> tuple[int, ...]:
        """The rungs."""
        return self.rungs

    @property
    def rungs(self) -> tuple[int, ...]:
        """The epochs below ``max_resource`` at which trials are compared."""
        return _rungs(self.min_resource, self.max_resource or 1, self.reduction_factor)

    def describe(self) -> str:
        """Return the rungs, and which part of the trials is trained beyond each."""
        if self.max_resource is None:
            return "Hyperband: max_resource is not known yet."
        lines = [
            f"Hyperband: the best 1/{self.reduction_factor} of the results at a rung continue, "
            f"up to epoch {self.max_resource}.",
            "rung  continue there",
        ]
        for place, rung in enumerate(self.rungs, 1):
            lines.append(f"{rung:>4}  1/{self.reduction_factor**place} of all trials")
        return "\n".join(lines)


def _losses_at(history: History, first: int, second: int) -> Iterator[tuple[float, float]]:
    """Yield the losses at two epochs of every trial that has reached both."""
    for trial in history:
        if trial.state is not TrialState.FAILED and trial.curve.reached(second):
            losses = [loss_at(history, trial, epoch) for epoch in (first, second)]
            if losses[0] is not None and losses[1] is not None:
                yield losses[0], losses[1]


def first_rung_pays(pairs: Sequence[tuple[float, float]], eta: int) -> bool:
    """Return whether judging at the first rung finds more of the best 1/eta at the second one per epoch.

    To the second rung, eta * r epochs, a trial costs as much without judgement. With it, r epochs and, for one trial of
    eta, (eta - 1) * r more: so it tries ``eta / (1 + (eta - 1) / eta)`` times as many configurations, but keeps only a
    part of the best.

    Args:
        pairs: The losses of trials at both rungs that have not been judged at the first.
        eta: The reduction factor.
    """
    count = len(pairs) // eta
    first, second = (set(sorted(range(len(pairs)), key=lambda n: pairs[n][rung])[:count]) for rung in (0, 1))
    kept = len(first & second) / count
    return kept * eta / (1 + (eta - 1) / eta) >= 1


@functools.cache
def _rungs(min_resource: int, max_resource: int, factor: int) -> tuple[int, ...]:
    """Return ``min_resource * factor^k`` below ``max_resource``; logarithms would round down at exact powers."""
    rungs = []
    epoch = min_resource
    while epoch < max_resource:
        rungs.append(epoch)
        epoch *= factor
    return tuple(rungs)
