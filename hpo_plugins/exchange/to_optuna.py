"""Write a study as one of Optuna, which ``optuna.load_study(storage="sqlite:///FILE")`` reads."""

from __future__ import annotations

import datetime as dt
import functools
import os
from pathlib import Path
from typing import Any

from hpo_plugins.errors import InvalidArgument, StorageError
from hpo_plugins.exchange.from_optuna import library
from hpo_plugins.objective import Minimize
from hpo_plugins.records import TrialRecord, TrialState
from hpo_plugins.space import Categorical, DefinitionSpace, Integer, Ordinal, Parameter
from hpo_plugins.space.finalists import FinalistSpace
from hpo_plugins.study.config import StudyConfig
from hpo_plugins.tuner import Tuner

_STATES = {
    TrialState.COMPLETED: "COMPLETE",
    TrialState.STOPPED: "PRUNED",
    TrialState.PAUSED: "PRUNED",
    TrialState.FAILED: "FAIL",
}


def export_optuna(tuner: Tuner, path: str | os.PathLike[str]) -> list[str]:
    """Write a study into a SQLite file of Optuna, and return in words what has no counterpart there.

    Completed trials are COMPLETE, stopped and paused ones PRUNED, failed ones FAIL; running ones are left out. Epochs
    are steps. The reason of a trial's end is its user attribute ``stop_reason``, and its number here is ``number``.

    Args:
        tuner: The study.
        path: The file; studies that it has already stay.

    Raises:
        StorageError: The file has a study of that name.
        InvalidArgument: The study has several training definitions.
    """
    optuna = library()
    if isinstance(tuner.space, DefinitionSpace | FinalistSpace):
        what = (
            "with several training definitions" if isinstance(tuner.space, DefinitionSpace) else "that confirms another"
        )
        raise InvalidArgument(f"a study {what} cannot be exported to Optuna.")
    imported = (tuner.study.notes or {}).get("imported", {})
    is_back = imported.get("from") == "optuna"
    offset, cuts = (1 - imported["first_step"], imported["value_is_last_epoch"]) if is_back else (0, False)
    url = f"sqlite:///{Path(path).absolute()}"
    try:
        study = optuna.create_study(
            storage=url, study_name=tuner.name,
            directions=["minimize" if isinstance(each, Minimize) else "maximize" for each in tuner.objectives],
        )  # fmt: skip
    except optuna.exceptions.DuplicatedStudyError:
        raise StorageError(f"{path} has a study {tuner.name!r} already. Write another file.") from None
    study.set_metric_names([objective.metric for objective in tuner.objectives])
    study.set_user_attr("hpo_plugins", {"strategy": repr(tuner.strategy), "seed": tuner.seed})
    distributions = {name: _distribution(optuna, parameter) for name, parameter in tuner.space.items()}
    distributions |= {
        name: optuna.distributions.CategoricalDistribution([value]) for name, value in tuner.space.fixed.items()
    }
    remarks = [
        f"The reverse_log scale of {name!r} is linear in Optuna."
        for name, parameter in tuner.space.items()
        if getattr(parameter, "scale", "") == "reverse_log"
    ]
    trials = tuner.trials
    has_curves = any(trial.epochs > 1 for trial in trials)
    if has_curves and len(tuner.objectives) > 1:
        remarks.append("Optuna keeps no curves with several objectives: each trial has its values only.")
    is_kept = has_curves and len(tuner.objectives) == 1
    write = functools.partial(_trial, optuna, distributions, offset if is_kept else None, tuner.study, cuts=cuts)
    study.add_trials([write(trial) for trial in trials if trial.state in _STATES])
    if running := [trial.number for trial in trials if trial.state not in _STATES]:
        remarks.append(f"{len(running)} running trials were left out: {', '.join(map(str, running))}.")
    return remarks


def _trial(
    optuna: Any,
    distributions: dict[str, Any],
    offset: int | None,
    study: StudyConfig,
    trial: TrialRecord,
    *,
    cuts: bool,
) -> Any:
    """Return a trial of Optuna.

    Args:
        optuna: The module.
        distributions: Its distributions by name.
        offset: Our first epoch less Optuna's first step; None if no trial of the study has a curve.
        study: The study.
        trial: The trial.
        cuts: Whether a complete trial's last epoch is its value only.
    """
    curve, is_complete = dict(trial.curve), trial.state is TrialState.COMPLETED
    if is_complete and cuts and curve:
        curve.pop(max(curve))  # the value, which was added as a last epoch when the study was imported
    attributes = {"number": trial.number, "stop_reason": trial.stop_reason, "error": trial.error}
    values = [trial.value] if not study.further_objectives else [trial.values.get(o.metric) for o in study.objectives]
    has_values = trial.state is not TrialState.FAILED and None not in values
    has_values &= is_complete or not study.further_objectives
    limits = {
        f"constraints:{limit.metric}{' at least' if limit.sign < 0 else ''}":
        limit.sign * (trial.values[limit.metric] - limit.value)
        for limit in study.constraints
        if limit.metric in trial.values
    }  # fmt: skip
    return optuna.trial.FrozenTrial(
        number=-1,
        trial_id=-1,
        state=optuna.trial.TrialState[_STATES[trial.state]],
        value=None,
        values=values if has_values else None,
        datetime_start=_time(trial.started_at),
        datetime_complete=_time(trial.ended_at or trial.started_at),
        params=trial.params,
        distributions={name: distributions[name] for name in trial.params},
        user_attrs={name: value for name, value in attributes.items() if value is not None},
        system_attrs=limits,
        intermediate_values={} if offset is None else {epoch - offset: value for epoch, value in curve.items()},
    )


def _time(seconds: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(seconds)  # noqa: DTZ006 - Optuna stores local times without a zone


def _distribution(optuna: Any, parameter: Parameter) -> Any:
    kinds = optuna.distributions
    if isinstance(parameter, Categorical | Ordinal):
        return kinds.CategoricalDistribution(list(parameter.values))
    is_log = parameter.resolved_scale == "log"
    # Optuna's logarithmic ranges have no steps, and its ranges end at a step.
    if isinstance(parameter, Integer):
        step = None if is_log else parameter.step
        highest = parameter.high if step is None else parameter.value_at(parameter.position(parameter.high))
        return kinds.IntDistribution(parameter.low, highest, log=is_log, step=step or 1)
    if is_log or parameter.step is None:
        return kinds.FloatDistribution(parameter.low, parameter.high, log=is_log)
    high = parameter.value_at(parameter.position(parameter.high))
    return kinds.FloatDistribution(parameter.low, high, step=parameter.step)
