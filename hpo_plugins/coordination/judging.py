"""Judge a training run after an epoch, and a trial after a fold."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

from hpo_plugins.coordination.limits import limit_decision
from hpo_plugins.coordination.session import StudySession
from hpo_plugins.history import History
from hpo_plugins.history.weighted import seen_by
from hpo_plugins.records import ReportRow, TrialState, decode_metrics
from hpo_plugins.strategies import Decision, StoppingRule
from hpo_plugins.study.config import TRIAL_LIMIT_RULE

logger = logging.getLogger("hpo_plugins")


def judge_epoch(session: StudySession, report: ReportRow, value: float) -> Decision | None:
    """Return the decision after an epoch, None if the training run continues.

    In a trial with folds, COMPLETED means that the fold is complete.

    Args:
        session: The study, which includes the report.
        report: The report.
        value: The objective, which may be infinite or NaN.
    """
    decision = _judged_by_rules(session, report, value)
    if decision is None or decision.state is TrialState.PAUSED:  # a trial without time left must not wait for more
        return trial_limit_decision(session, report.number) or decision or _timeout_decision(session)
    return decision


def trial_limit_decision(session: StudySession, number: int) -> Decision | None:
    """Return the decision on a trial that has trained for as long as it may, None for others."""
    limit = session.config.max_trial_seconds
    if limit is None or (spent := session.history[number].spent_seconds) < limit:
        return None
    return Decision(
        TrialState.STOPPED, TRIAL_LIMIT_RULE, f"{limit:g} seconds have passed; it has trained for {spent:.4g}"
    )


def _timeout_decision(session: StudySession) -> Decision | None:
    reason = session.timeout_reason()
    return None if reason is None else Decision(TrialState.STOPPED, reason)


def _judged_by_rules(session: StudySession, report: ReportRow, value: float) -> Decision | None:
    number, epoch = report.number, report.epoch
    if (decision := _not_finite(session, report, value)) is not None:
        return decision
    if (decision := limit_decision(session, number, report.fold, epoch)) is not None:
        return decision
    for rule in session.config.judges:
        if report.fold and not rule.judges_every_fold:
            continue
        history = seen_by(session.history.up_to_fold(report.fold), session.config.seed, number)
        decision = _ask(rule, rule.on_report, history, number, epoch)
        if decision is not None:
            return decision
    resource = session.config.strategy.max_resource
    if report.fold and resource is not None and epoch >= resource:
        return Decision(TrialState.COMPLETED, f"reached max_resource={resource}")
    return None


def _not_finite(session: StudySession, report: ReportRow, value: float) -> Decision | None:
    """Return the decision to fail a trial one of whose objectives is not finite."""
    if session.config.further_objectives:
        known = decode_metrics(report.metrics)
        values = {each.metric: known[each.metric] for each in session.config.objectives if each.metric in known}
    elif math.isfinite(value):
        return None
    else:
        values = {session.objective_of(report.number).metric: value}
    for metric, own in values.items():
        if not math.isfinite(own):
            return Decision(TrialState.FAILED, f"{metric} was {own} at epoch {report.epoch}")
    return None


def judge_fold(session: StudySession, number: int, fold: int) -> Decision | None:
    """Return the decision after a fold has ended, None if the next fold should be trained."""
    history = seen_by(session.history.up_to_fold(fold), session.config.seed, number)
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
