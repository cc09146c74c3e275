"""Stop a training run that cannot meet a limit, whatever the strategy."""

from __future__ import annotations

import logging

import numpy as np

from hpo_plugins import modeling
from hpo_plugins.coordination.session import StudySession
from hpo_plugins.history.outcomes import UNMET
from hpo_plugins.history.weighted import seen_by
from hpo_plugins.history.weighted_history import WeightedHistory
from hpo_plugins.modeling.observations import epoch_grid
from hpo_plugins.objective import Limit
from hpo_plugins.records import TrialState
from hpo_plugins.strategies import Decision

logger = logging.getLogger("hpo_plugins")

MIN_CHANCE = 0.02
"""A training run is stopped if the probability that a later epoch meets each limit is below this."""


def recorded_decision(session: StudySession, number: int) -> Decision | None:
    """Return the decision to stop a training run whose metrics as a whole do not meet a limit, None otherwise.

    Args:
        session: The study, which includes these metrics.
        number: The trial.
    """
    trial = session.history[number]
    for limit in session.config.constraints:
        value = trial.recorded.get(limit.metric)
        if value is None or len(trial.values(limit.metric)) or not limit.violation(np.array(value)):
            continue
        return Decision(TrialState.STOPPED, f"{UNMET}{limit}", f"{limit.metric} is {value:.6g}")
    return None


def limit_decision(session: StudySession, number: int, fold: int, epoch: int) -> Decision | None:
    """Return the decision to stop a training run none of whose later epochs can meet a limit, None otherwise.

    Args:
        session: The study, which includes the last report.
        number: The trial.
        fold: The fold that is trained, 0 without folds.
        epoch: The epoch of the last report.
    """
    if not session.config.constraints:
        return None
    if (decision := recorded_decision(session, number)) is not None:
        return decision
    history = seen_by(session.history.up_to_fold(fold), session.config.seed, number)
    if not isinstance(history, WeightedHistory):  # it is one wherever there are limits
        return None
    outcome = history.whole.outcome(number)
    if not len(outcome.epochs):
        return None
    for index in np.flatnonzero(np.nan_to_num(outcome.violation[-1]) > 0):
        limit, value = history.limits[int(index)], float(outcome.limited[-1, index])
        try:
            chance = _chance(session, history, int(index), number, epoch)
        except Exception:  # an error in the surrogate must not end hours of training
            logger.exception("trial %d continues: %s could not be judged; please report this", number, limit)
            continue
        if chance is not None and chance < MIN_CHANCE:
            return Decision(TrialState.STOPPED, f"{UNMET}{limit}", _reason(limit, value, chance, epoch))
    return None


def _chance(session: StudySession, history: WeightedHistory, index: int, number: int, epoch: int) -> float | None:
    """Return the probability to meet a limit later, None if it is not known or not asked at this epoch."""
    last = session.config.strategy.max_resource or _longest(history)
    values = history.whole[number].values(history.limits[index].metric)
    is_asked = len(values) < 2 or last is None or values.milestone_passed(epoch, epoch_grid(last)) is not None
    return modeling.feasibility.chance_to_meet(history, index, number, epoch, last) if is_asked else None


def _longest(history: WeightedHistory) -> int | None:
    """Return the epochs of the longest complete training run, None without one."""
    return max((trial.epochs for trial in history if trial.state is TrialState.COMPLETED), default=None)


def _reason(limit: Limit, value: float, chance: float, epoch: int) -> str:
    known = "it does not change" if chance == 0 else f"a later epoch meets it with probability {chance:.2%}"
    return f"{limit.metric} is {value:.6g} at epoch {epoch}, and {known}"
