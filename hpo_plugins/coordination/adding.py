"""Add trials that were trained elsewhere; they are finished when they appear."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hpo_plugins._validation import refusal, whole_number
from hpo_plugins.coordination.session import StudySession
from hpo_plugins.errors import InvalidArgument
from hpo_plugins.records import MAX_EPOCH, Assignment, ReportRow, TrialState
from hpo_plugins.space import Params
from hpo_plugins.study.config import StudyConfig
from hpo_plugins.study.initial_configurations import checked_configuration


@dataclass(frozen=True)
class FinishedTrial:
    """A trial that was trained elsewhere.

    Attributes:
        params: Its configuration.
        curve: Epoch to the objective's value.
        state: COMPLETED, STOPPED or FAILED.
        rule: Why it has ended, in a few words.
        error: The error that made it fail.
        metrics: Epoch to further metrics; epoch 0 has those of the trial as a whole.
        seconds: Seconds of training in all, None if they are unknown.
    """

    params: Params
    curve: Mapping[int, float]
    state: TrialState = TrialState.COMPLETED
    rule: str = "added"
    error: str | None = None
    metrics: Mapping[int, Mapping[str, float]] = field(default_factory=dict)
    seconds: float | None = None

    @property
    def epochs(self) -> list[int]:
        """The epochs with a value or a metric."""
        return sorted({*self.curve, *self.metrics})


def finished_trial(config: StudyConfig, params: object, curve: object) -> FinishedTrial:
    """Return a trial as a user gives it; see ``Tuner.add``.

    Raises:
        InvalidArgument: The space has no such configuration, or the curve is none.
    """
    given = checked_configuration(config.space, params, "params")
    active = [name for name in config.space if config.space.conditions.is_active(name, given)]
    if missing := [name for name in active if name not in given]:
        raise InvalidArgument(f"params must be complete, but {missing[0]!r} is missing from {given}.")
    values = _curve(curve, config.strategy.max_resource or 1)
    worst = next((epoch for epoch, value in values.items() if not math.isfinite(value)), None)
    complete = given | config.space.fixed
    if worst is None:
        return FinishedTrial(complete, values)
    error = f"{config.objective.metric} was {values[worst]} at epoch {worst}"
    return FinishedTrial(complete, values, TrialState.FAILED, error, error)


def _curve(curve: Any, last: int) -> dict[int, float]:
    """Return a curve as epochs and values."""
    if isinstance(curve, Mapping):
        items = list(curve.items())
    elif isinstance(curve, str | bytes) or not hasattr(curve, "__iter__"):
        items = [(last, curve)]
    else:
        items = list(enumerate(curve, 1))
    if not items:
        raise refusal("curve", curve, "at least one value")
    found: dict[int, float] = {}
    for epoch, value in items:
        number = whole_number("epoch", epoch, at_least=1, at_most=MAX_EPOCH)
        try:
            if isinstance(value, str | bytes | bool):
                raise TypeError  # noqa: TRY301 - as below
            found[number] = float(value)
        except (TypeError, ValueError, OverflowError):
            raise refusal(f"curve[{number}]", value, "a number") from None
    return dict(sorted(found.items()))


def add(session: StudySession, trial: FinishedTrial) -> int:
    """Write a finished trial, and return its number. Other processes see it as a whole.

    Args:
        session: The study.
        trial: The trial; its configuration is one of the study's space.
    """
    with session.lock:
        while (number := session.exclusively(lambda: _write(session, trial))) is None:
            pass  # another process was faster
        session.refresh()
        return number


def _write(session: StudySession, trial: FinishedTrial) -> int | None:
    history, store = session.refresh(), session.store
    number = len(history)
    assignment = Assignment(number, trial.params, 1, 0, session.worker, session.lease_seconds())
    if store.acquire(assignment, history.acquisitions) is None:
        return None
    last = max([1, *trial.epochs])
    for epoch in trial.epochs:
        value = trial.curve.get(epoch)
        own = {} if value is None else {session.config.objective.metric: value}
        seconds = (trial.seconds or 0.0) * epoch / last
        finite = value if value is not None and math.isfinite(value) else None
        metrics = {**trial.metrics.get(epoch, {}), **own}
        store.report(ReportRow(number, 1, epoch, finite, metrics, seconds), is_patient=True)
    store.update(
        number, 1, state=trial.state, decision=trial.state, rule=trial.rule, detail="", error=trial.error, ended_at=True
    )
    return number
