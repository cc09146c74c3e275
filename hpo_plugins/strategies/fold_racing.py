"""Successive halving over folds: which trials are worth training on another one.

The folds of a trial are a resource like its epochs. So a trial is compared after 1, ``factor``, ``factor^2``, ... folds
with all trials of which these folds have ended, by the mean over them, and the best ``1 / factor`` continue. The
comparison is paired: every mean is over the same folds.

Reference:
    Jamieson, Talwalkar, "Non-stochastic Best Arm Identification and Hyperparameter Optimization", AISTATS 2016
    (successive halving for any resource).
"""

from __future__ import annotations

from hpo_plugins.history import History
from hpo_plugins.records import TrialState
from hpo_plugins.strategies.base import Decision


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
        ("fold", fold), lambda trial: history.loss(trial) if history[trial].row.fold > fold else None
    )
    own = results.of(number)
    if own is None:
        return None
    rank, total = results.rank(own), len(results)
    promoted = max(1, total // factor)
    if rank <= promoted:
        return None
    value_of, best = history.objective.loss, results.smallest(but=number)
    continues = "the best one continues" if promoted == 1 else f"the best {promoted} continue"
    return Decision(
        TrialState.STOPPED,
        f"not among the best after fold {fold}: the mean {value_of(own):.6g} is rank {rank} of {total}, and "
        f"{continues} (best {value_of(own if best is None else best):.6g})",
    )
