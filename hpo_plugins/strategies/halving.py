"""Successive halving: continue the best of the trials that have reached the same epoch or fold.

The folds of a trial are a resource like its epochs. Therefore, a trial is compared after 1, ``factor``, ``factor^2``,
... folds with all trials that have completed these folds, by the mean over them. The comparison is paired: every mean
is over the same folds.

Reference:
    Jamieson, Talwalkar, "Non-stochastic Best Arm Identification and Hyperparameter Optimization", AISTATS 2016
    (successive halving for any resource).
"""

from __future__ import annotations

from hpo_plugins.history import History, ParentTrial, Ranking, TrialHistory
from hpo_plugins.records import Decision, TrialState


def results_at(history: History, epoch: int) -> Ranking:
    """Return the losses at an epoch of all trials that have reached it, or completed before it.

    The loss is that of the last validation up to the epoch, or of the first validation if that came later. The trials
    of identical parents (``warm_start``) are results like any other.
    """
    return history.ranking(
        ("epoch", epoch),
        lambda number: _result(history, history[number], epoch),
        lambda: [loss for trial in history.identical_trials if (loss := _result(history, trial, epoch)) is not None],
    )


def _result(history: History, trial: TrialHistory | ParentTrial, epoch: int) -> float | None:
    """Return the loss of a trial at an epoch, None if it has none."""
    counts = trial.curve.reached(epoch) or trial.state is TrialState.COMPLETED
    if trial.state is TrialState.FAILED or not counts or not len(trial.curve):
        return None
    return loss_at(history, trial, epoch)


def loss_at(history: History, trial: TrialHistory | ParentTrial, epoch: int) -> float | None:
    """Return the loss of the last validation up to an epoch, or of the first validation if that came later."""
    return trial.curve.loss(max(epoch, trial.curve.epochs[0]), at=history.objective.at)


def compare(
    history: History,
    results: Ranking,
    number: int,
    promoted: int,
    where: str,
    otherwise: TrialState = TrialState.STOPPED,
) -> Decision | None:
    """Return the decision to end a trial that is not among the best, None if it continues or has no result yet.

    Args:
        history: The study.
        results: The losses to compare.
        number: The trial.
        promoted: Number of results that continue; 0 if more results are needed first.
        where: Where they are compared, such as "at rung 3".
        otherwise: The state that the other trials take.
    """
    own = results.of(number)
    if own is None:
        return None
    rank, count = results.rank(own), len(results)
    if rank <= promoted:
        return None
    value_of = history.objective.loss
    smallest = results.smallest(but=number)
    best = "" if smallest is None else f" (best {value_of(smallest):.6g})"
    outcomes = {0: "more results are needed before any continues", 1: "the best one continues"}
    outcome = outcomes.get(promoted, f"the best {promoted} continue")
    return Decision(
        otherwise,
        f"not among the best {where}",
        f"{value_of(own):.6g} is rank {rank} of {count}, and {outcome}{best}",
    )


def judge_fold(history: History, number: int, fold: int, factor: int) -> Decision | None:
    """Return the decision to stop a trial after a fold, None if the next one is worth training.

    Args:
        history: The study up to this fold.
        number: The trial.
        fold: The fold that has ended, from 0.
        factor: The best ``1 / factor`` continue, and at least the best one.
    """
    count = fold + 1
    while count % factor == 0:
        count //= factor
    if count != 1:
        return None
    results = history.ranking(
        ("fold", fold), lambda trial: history.loss(trial) if history[trial].row.progress.fold > fold else None
    )
    return compare(history, results, number, max(1, len(results) // factor), f"after fold {fold}, by the mean")
