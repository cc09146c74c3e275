"""Which trial is handed out next: one that nobody trains any more, a new one, or a paused one that goes on.

Nothing is handed out here: an offer is decided on a view of the study, and the storage refuses it when that is old.
"""

from __future__ import annotations

from pathlib import Path

from hpo_plugins.coordination.completion import finish
from hpo_plugins.coordination.session import Standing
from hpo_plugins.errors import CheckpointError
from hpo_plugins.records import Assignment, TrialRow, TrialState
from hpo_plugins.strategies import Resume, Start, Verdict


class OldView(Exception):
    """A decision was begun on a view of the study that is no longer true: decide again."""


def next_offer(standing: Standing, retries: int) -> Assignment | None:
    """Return what to hand out: a trial whose worker is gone, else what the strategy wants; None for nothing now.

    Trials that need no more training are ended on the way.

    Args:
        standing: How the study stands.
        retries: How often a trial is handed out again whose worker vanished.

    Raises:
        OldView: Another process was faster; read the history and ask again.
        CheckpointError: The trial whose turn it is cannot go on from its checkpoint; nothing was changed.
    """
    return _abandoned(standing, retries) or _suggested(standing)


def was_handed_out(standing: Standing, offer: Assignment) -> bool:
    """Return whether a hand-out that was refused is there: written before a lost connection, and tried again."""
    history = standing.read()
    if offer.number >= len(history) or offer.number in standing.held:
        return False
    row = history[offer.number].row
    return (row.worker, row.attempts, row.state) == (offer.worker, offer.attempt, TrialState.RUNNING)


def checkpoint_of(standing: Standing, row: TrialRow) -> Path | None:
    """Return where the checkpoint is that a trial goes on from, None when it has none.

    Raises:
        OldView: Another process has saved the trial anew, and deleted this checkpoint.
        CheckpointError: It is lost.
    """
    if row.checkpoint is None:
        return None
    try:
        return standing.checkpoints.find(row.number, row.checkpoint)
    except CheckpointError:
        if standing.read()[row.number].row == row:
            raise
    raise OldView


def _abandoned(standing: Standing, retries: int) -> Assignment | None:
    """Return the first trial that nobody trains any more, after ending those that need no more training."""
    if standing.stopped:
        return None
    for number in sorted(standing.history.unfinished - standing.held.keys()):
        row = standing.history[number].row
        if row.state is not TrialState.RUNNING or not standing.is_let_go(row):
            continue
        lost = row.failed_attempts if row.lease_until == 0 else row.failed_attempts + 1
        frozen = row.start_epoch == standing.history[number].last_epoch
        if row.decision is not None and (row.decision is not TrialState.PAUSED or frozen):
            finish(standing, row, Verdict(row.decision, row.stop_reason or ""))
        elif (enough := standing.enough()) is not None:
            finish(standing, row, Verdict(TrialState.STOPPED, enough))
        elif lost > retries:
            reason = f"its worker was lost {lost} times, and retries={retries}"
            finish(standing, row, Verdict(TrialState.FAILED, reason))
        else:
            return _again(standing, row, lost)
    return None


def _suggested(standing: Standing) -> Assignment | None:
    """Return what the strategy would do next: a new trial, or a paused one that goes on."""
    if standing.stopped:
        return None
    study, history = standing.study, standing.history
    may_start = standing.end_of_search() is None
    decision = study.strategy.next(history, study.seed, may_start=may_start) if standing.enough() is None else None
    match decision:
        case Start(params):
            return Assignment(len(history), params, 1, 0, standing.worker, standing.lease())
        case Resume(number):
            row = history[number].row
            return _again(standing, row, row.failed_attempts)
    _leave_paused(standing)
    return None


def _leave_paused(standing: Standing) -> None:
    """End the paused trials when nobody is left whose results could wake one of them."""
    history = standing.history
    paused = [number for number in history.unfinished if history[number].state is TrialState.PAUSED]
    if len(paused) == len(history.unfinished):
        for number in sorted(paused):
            reason = standing.study.strategy.reason_to_leave(history, number)
            finish(standing, history[number].row, Verdict(TrialState.STOPPED, reason))


def _again(standing: Standing, row: TrialRow, lost: int) -> Assignment:
    """Return the offer to go on with a trial that was handed out before, if it can."""
    checkpoint_of(standing, row)
    return Assignment(row.number, row.params, row.attempts + 1, lost, standing.worker, standing.lease())
