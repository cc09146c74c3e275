"""The way of a metric in the core: a report is written, the history follows, and the trial is judged."""

from __future__ import annotations

import logging
import math
import time

from hpo_plugins.coordination.held import Held
from hpo_plugins.coordination.session import Standing
from hpo_plugins.errors import StorageError
from hpo_plugins.records import ReportRow, TrialState, decode_metrics
from hpo_plugins.strategies import Judge, Verdict

logger = logging.getLogger("hpo_plugins")


def record(standing: Standing, number: int, held: Held, values: dict[str, float], value: float | None) -> None:
    """Add a report of the epoch that a trial has reached, write what waits, and judge.

    Args:
        standing: How the study stands.
        number: The trial.
        held: What is held of it.
        values: All metrics.
        value: The objective's metric, None where the epoch lacks it.
    """
    stored = value if value is not None and math.isfinite(value) else None
    now = time.perf_counter()
    held.unsaved.append(ReportRow(number, held.attempt, held.epoch, stored, values, now - held.since))
    try:
        flush(standing, held)
    except StorageError as error:  # must not end somebody's training of hours: it waits for the next report
        logger.warning("trial %d: epoch %d waits to be recorded: %s", number, held.epoch, error)
    held.since += time.perf_counter() - now  # writing and judging are not training


def flush(standing: Standing, held: Held) -> None:
    """Write the reports that wait, bring the history in step, and judge each epoch, also those that came late."""
    while held.unsaved:
        row = held.unsaved[0]
        revision = standing.store.report(row)
        if revision is None:
            take_away(row.number, held)
            return
        del held.unsaved[0]
        if revision == standing.history.revision + 1:  # nobody else wrote: no need to read
            standing.history.put_report(row)
            standing.history.revision = revision
        else:
            standing.read()
        value = decode_metrics(row.metrics).get(standing.metric(row.number))
        if value is not None and not held.stopping:
            _judge(standing, held, row, value)


def take_away(number: int, held: Held) -> None:
    """Let a training stop whose trial another worker has by now."""
    logger.warning("trial %d was taken over by another worker and stops here", number)
    held.unsaved.clear()
    held.stopping = True


def _judge(standing: Standing, held: Held, report: ReportRow, value: float) -> None:
    number, epoch = report.number, report.epoch
    verdict: Verdict | None = None
    if not math.isfinite(value):
        verdict = Verdict(TrialState.FAILED, f"{standing.metric(number)} was {value} at epoch {epoch}")
    for judge in standing.study.judges:
        verdict = verdict or _ask(standing, judge, number, epoch)
    if verdict is None and (over := standing.out_of_time()) is not None:
        verdict = Verdict(TrialState.STOPPED, over)
    if verdict is not None:
        held.stopping, held.verdict = True, verdict.state
        standing.store.update(number, held.attempt, decision=verdict.state, stop_reason=verdict.reason)


def _ask(standing: Standing, judge: Judge, number: int, epoch: int) -> Verdict | None:
    """Return a judge's verdict; a defect of the judge's own must not end somebody's training of hours."""
    try:
        return judge.judge(standing.history, number, epoch)
    except Exception:
        logger.exception(
            "trial %d goes on: %s could not judge epoch %d; please report this", number, type(judge).__name__, epoch
        )
        return None
