"""How a trial ends: by which verdict, what is written of it, and which checkpoints are of no more use."""

from __future__ import annotations

import logging
from typing import Any

from hpo_plugins.coordination.session import Standing
from hpo_plugins.errors import MetricNotFound, NothingReported
from hpo_plugins.records import TrialRow, TrialState
from hpo_plugins.strategies import Verdict

logger = logging.getLogger("hpo_plugins")

SILENT_TRIALS = 5
"""A search whose first trials all end without a report is ended after this many."""


def verdict_at_end(standing: Standing, number: int) -> Verdict:
    """Return how a trial ends whose body is over: as it was judged, else by itself, or without a result."""
    known = standing.history[number]
    if known.row.decision is not None:
        return Verdict(known.row.decision, known.row.stop_reason or "")
    if len(known.curve):
        return Verdict(TrialState.COMPLETED, f"the training ended by itself at epoch {known.curve.epochs[-1]}")
    return Verdict(TrialState.FAILED, _why_silent(standing, number))


def _why_silent(standing: Standing, number: int) -> str:
    metric = standing.metric(number)
    names = {name for metrics in standing.history.record(number).metrics.values() for name in metrics}
    if names:
        return str(MetricNotFound(metric, names))
    return f"the training ended without one report of {metric!r}"


def finish(standing: Standing, row: TrialRow, verdict: Verdict) -> None:
    """Write, and tell in the log, that a trial is over or frozen."""
    if verdict.state is TrialState.PAUSED:
        _freeze(standing, row, verdict)
        return
    failed = verdict.state is TrialState.FAILED
    standing.store.update(
        row.number,
        row.attempts,
        state=verdict.state,
        decision=verdict.state,
        stop_reason=verdict.reason,
        error=verdict.reason if failed else None,
        ended_at=True,
    )
    level = logging.WARNING if failed else logging.INFO
    loss = standing.read().loss(row.number)
    shown = "" if loss is None else f" {standing.metric(row.number)}={standing.study.objective.loss(loss):.6g}"
    logger.log(level, "trial %d %s%s: %s", row.number, verdict.state.value, shown, verdict.reason)
    _tidy(standing, row.number)


def _freeze(standing: Standing, row: TrialRow, verdict: Verdict) -> None:
    fields: dict[str, Any] = {"state": verdict.state, "decision": None, "stop_reason": verdict.reason}
    if row.checkpoint is None:  # a loop that saves nothing can go on without
        fields["start_epoch"] = standing.history[row.number].last_epoch
    standing.store.update(row.number, row.attempts, **fields)
    logger.debug("trial %d paused: %s", row.number, verdict.reason)


def _tidy(standing: Standing, ended: int) -> None:
    """Delete the checkpoints that nobody can use after a trial has ended; the best trial's stays."""
    history, checkpoints = standing.history, standing.checkpoints
    if checkpoints.keeping == "keep":
        return
    best = {history.incumbent(), history.incumbent(final=True)}  # a better one that still runs may yet fail
    for number in sorted(history.with_checkpoint | {ended}):
        state, checkpoint = history[number].state, history[number].row.checkpoint
        if not state.is_final:  # its worker may be writing there
            continue
        if number in best:
            checkpoints.clear(number, but=checkpoint)
        elif checkpoint is None or standing.store.drop_checkpoint(number, checkpoint):
            checkpoints.clear(number)


class Silence:
    """Counts the trials that end without a report, until one has reported: nobody may be reporting at all."""

    def __init__(self) -> None:
        """Start with none."""
        self._trials: int | None = 0

    def broken(self) -> None:
        """Note that somebody reports, or means to: from now on any trial may be silent."""
        self._trials = None

    def goes_on(self) -> None:
        """Note a trial that ended without a report.

        Raises:
            NothingReported: The first ``SILENT_TRIALS`` trials all did.
        """
        if self._trials is None:
            return
        self._trials += 1
        if self._trials == SILENT_TRIALS:
            raise NothingReported(
                f"The first {SILENT_TRIALS} trials ended without reporting anything. Give TrialCallback(trial) to "
                "the training, or call trial.report(epoch, metrics). To leave a configuration out on purpose, call "
                "trial.fail(reason)."
            )
