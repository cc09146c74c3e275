"""Judge a training run after an epoch, and a trial after a fold."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

from hpo_plugins.coordination.session import StudySession
from hpo_plugins.history import History
from hpo_plugins.records import ReportRow, TrialState
from hpo_plugins.strategies import Decision, StoppingRule

logger = logging.getLogger("hpo_plugins")


def judge_epoch(session: StudySession, report: ReportRow, value: float) -> Decision | None:
    """Return the decision after an epoch, None if the training run continues.

    In a trial with folds, COMPLETED means that the fold is complete.

    Args:
        session: The study, which includes the report.
        report: The report.
        value: The objective, which may be infinite or NaN.
    """
    number, epoch = report.number, report.epoch
    if not math.isfinite(value):
        metric = session.objective_of(number).metric
        return Decision(TrialState.FAILED, f"{metric} was {value} at epoch {epoch}")
    for rule in session.config.judges:
        if report.fold and not rule.judges_every_fold:
            continue
        decision = _ask(rule, rule.on_report, session.history.up_to_fold(report.fold), number, epoch)
        if decision is not None:
            return decision
    resource = session.config.strategy.max_resource
    if report.fold and resource is not None and epoch >= resource:
        return Decision(TrialState.COMPLETED, f"reached max_resource={resource}")
    if (reason := session.timeout_reason()) is not None:
        return Decision(TrialState.STOPPED, reason)
    return None


def judge_fold(session: StudySession, number: int, fold: int) -> Decision | None:
    """Return the decision after a fold has ended, None if the next fold should be trained."""
    history = session.history.up_to_fold(fold)
    for rule in session.config.stopping_rules:
        decision = _ask(rule, rule.on_fold_end, history, number, fold)
        if decision is not None:
            return decision
    return None


def _ask(
    rule: StoppingRule, question: Callable[[History, int, int], Decision | None], history: History, number: int, at: int
) -> Decision | None:
    """Return a rule's decision; an exception in the rule must not end hours of training."""
    try:
        return question(history, number, at)
    except Exception:
        name, what = type(rule).__name__, "epoch" if question.__name__ == "on_report" else "fold"
        logger.exception("trial %d continues: %s failed to judge %s %d; please report this", number, name, what, at)
        return None
