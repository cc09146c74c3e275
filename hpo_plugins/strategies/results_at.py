"""What trials are compared by at an epoch."""

from __future__ import annotations

from hpo_plugins.history import History, ParentTrial, Ranking, TrialHistory
from hpo_plugins.records import TrialState


def results_at(history: History, epoch: int) -> Ranking:
    """Return the losses at an epoch of all trials that have reached it, or completed before it.

    The loss is that of the last validation up to the epoch, or of the first one, if that came after it.

    The trials of identical parents (``warm_start``) are results like any other.
    """
    return history.ranking(
        ("epoch", epoch),
        lambda number: _result(history, history[number], epoch),
        lambda: [
            loss
            for parent in history.parents
            for trial in parent.trials
            if parent.identical and (loss := _result(history, trial, epoch)) is not None
        ],
    )


def _result(history: History, trial: TrialHistory | ParentTrial, epoch: int) -> float | None:
    """Return the loss of a trial at an epoch, None if it is no result there."""
    counts = trial.curve.reached(epoch) or trial.state is TrialState.COMPLETED
    if trial.state is TrialState.FAILED or not counts or not len(trial.curve):
        return None
    return loss_at(history, trial, epoch)


def loss_at(history: History, trial: TrialHistory | ParentTrial, epoch: int) -> float | None:
    """Return the loss of the last validation up to an epoch, or of the first one, if that came after it."""
    return trial.curve.loss(max(epoch, trial.curve.epochs[0]), at=history.objective.at)
