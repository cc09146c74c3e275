"""Choose the next trial of a free worker: an abandoned, enqueued, new or paused one.

A worker decides on one view of the study; the storage refuses the assignment if that view is outdated.
"""

from __future__ import annotations

import logging
from dataclasses import replace

from hpo_plugins.coordination.completion import finish
from hpo_plugins.coordination.enqueued import next_enqueued
from hpo_plugins.coordination.session import StudySession
from hpo_plugins.errors import InvalidArgument
from hpo_plugins.history import History
from hpo_plugins.history.weighted import seen_by
from hpo_plugins.records import Assignment, Progress, TrialRow, TrialState
from hpo_plugins.space import Params
from hpo_plugins.strategies import Decision, Resume, Start

logger = logging.getLogger("hpo_plugins")


class StaleView(Exception):
    """A decision was based on an outdated view of the study and must be made again."""


def next_assignment(session: StudySession) -> Assignment | None:
    """Return the next assignment of a free worker, or None if there is nothing to train now.

    It also ends trials that need no more training.

    Raises:
        StaleView: Another process was faster; refresh the session and ask again.
        CheckpointError: The storage names a checkpoint outside of the study's folder; nothing was changed.
    """
    if session.is_stopping:
        return None
    return _abandoned(session) or _suggested(session)


def is_acquired(session: StudySession, assignment: Assignment) -> bool:
    """Return whether an assignment was refused only because it was already written before a lost connection."""
    history = session.refresh()
    if assignment.number >= len(history) or session.holds(assignment.number):
        return False
    row = history[assignment.number].row
    return (row.worker, row.attempts, row.state) == (assignment.worker, assignment.attempt, TrialState.RUNNING)


def _abandoned(session: StudySession) -> Assignment | None:
    """Return the first abandoned trial, after ending those that need no more training."""
    history, retries = session.history, session.terms.retries
    for number in history.running:
        row = history[number].row
        if not session.is_abandoned(row):
            continue
        is_lost = row.lease_until is not None and row.worker != session.worker
        failed_attempts = row.failed_attempts + is_lost
        is_saved = row.progress.start_epoch == history[number].last_epoch
        if row.decision is not None and (row.decision is not TrialState.PAUSED or is_saved):
            finish(session, row, Decision(row.decision, row.rule or "", row.detail or ""))
        elif (reason := session.termination_reason()) is not None:
            finish(session, row, Decision(TrialState.STOPPED, reason))
        elif failed_attempts > retries:
            reason = f"its worker died {failed_attempts} times without a new checkpoint, and retries={retries}"
            finish(session, row, Decision(TrialState.FAILED, reason))
        else:
            return _another_attempt(session, row, failed_attempts)
    return None


def _suggested(session: StudySession) -> Assignment | None:
    """Return an enqueued configuration, or the strategy's suggestion: a new trial or a paused one."""
    config, history = session.config, session.history
    if session.termination_reason() is None:
        may_start = session.limit_reason() is None
        if may_start and (enqueued := next_enqueued(session)) is not None:
            return _new_trial(session, enqueued.params, enqueued.number)
        match config.strategy.next_action(_as_seen(session), config.seed, may_start=may_start):
            case Start(params):
                if not config.space.accepts(params):
                    raise InvalidArgument(
                        f"{type(config.strategy).__name__} must suggest valid configurations, but suggested {params}, "
                        f"which does not meet valid={config.space.valid!r}."
                    )
                return _new_trial(session, params)
            case Resume(number):
                row = history[number].row
                return _another_attempt(session, row, row.failed_attempts)
    _end_paused(session)
    return None


def _new_trial(session: StudySession, params: Params, point: int | None = None) -> Assignment:
    return Assignment(
        len(session.history),
        params,
        1,
        0,
        worker=session.worker,
        lease_seconds=session.lease_seconds(),
        point=point,
    )


def _end_paused(session: StudySession) -> None:
    """End the paused trials if no running trial is left whose results could make the strategy resume one."""
    history = session.history
    paused = history.paused
    if len(paused) == len(history.unfinished):
        for number in paused:
            decision = session.config.strategy.final_decision(_as_seen(session, number), number)
            finish(session, history[number].row, decision)


def _as_seen(session: StudySession, number: int | None = None) -> History:
    """Return the study as the strategy sees it for a trial, by default the next new one."""
    history = session.history
    return seen_by(history.up_to_fold(0), session.config.seed, len(history) if number is None else number)


def _another_attempt(session: StudySession, row: TrialRow, failed_attempts: int) -> Assignment:
    """Return the assignment to resume or retry a trial from a checkpoint that exists."""
    row = _with_checkpoint(session, row)
    return Assignment(
        row.number,
        row.params,
        row.attempts + 1,
        failed_attempts,
        worker=session.worker,
        lease_seconds=session.lease_seconds(),
    )


def _with_checkpoint(session: StudySession, row: TrialRow) -> TrialRow:
    """Return a trial's row, set back to a checkpoint that exists if its own is missing.

    Raises:
        StaleView: Another process has saved the trial again, and deleted this checkpoint.
        CheckpointError: The stored path lies outside of the study's folder.
    """
    number, progress, checkpoints = row.number, row.progress, session.checkpoints
    if progress.checkpoint is None or checkpoints.find(number, progress.checkpoint) is not None:
        return row
    if session.refresh()[number].row != row:
        raise StaleView
    earlier = checkpoints.newest(number, row.attempts, progress.start_epoch)
    if earlier is None:
        progress, where = Progress(fold=progress.fold), "is trained from its first epoch again"
    else:
        progress = replace(progress.without_checkpoints(), checkpoint=earlier[0], start_epoch=earlier[1])
        where = f"resumes from an earlier one, of epoch {earlier[1]}"
    logger.warning(
        "The checkpoint of trial %d at epoch %d is missing, and the trial %s: there is no %s. If the study was moved, "
        "move the folder %s with it; if several machines train, give all of them the same checkpoint_dir=.",
        number,
        row.progress.start_epoch,
        where,
        checkpoints.root / str(row.progress.checkpoint),
        checkpoints.root,
    )
    if not session.apply(session.store.update(number, row.attempts, progress=progress)):
        raise StaleView
    return session.history[number].row
