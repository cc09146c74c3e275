"""Read a project folder of KerasTuner: its search space and its trials are JSON files."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hpo_plugins._fields import evolve
from hpo_plugins.coordination.adding import FinishedTrial
from hpo_plugins.errors import InvalidArgument, nearest_name
from hpo_plugins.exchange.foreign import ForeignStudy
from hpo_plugins.exchange.spaces import stepped
from hpo_plugins.objective import Maximize, Minimize, Objective
from hpo_plugins.records import TrialState
from hpo_plugins.space import Categorical, Continuous, Integer, Parameter

_OWN = "tuner/"
"""What the names of KerasTuner's own entries in a configuration begin with."""


def keras_tuner_study(folder: Path, objective: Objective | None, metric: str | None, name: str) -> ForeignStudy:
    """Return the study in a project folder.

    Args:
        folder: The folder with ``trial_*/trial.json``.
        objective: The objective; None to read it from the trials.
        metric: The name of the objective, if the trials do not tell.
        name: The name of the study.

    Raises:
        InvalidArgument: There are no trials, or the objective is unknown.
    """
    found = sorted(folder.glob("trial_*/trial.json"))
    trials = []
    for path in found:
        try:
            trials.append(json.loads(path.read_text(encoding="utf-8")))
        except ValueError as error:
            raise InvalidArgument(f"{path} is no JSON: {error}.") from error
    if not trials:
        raise InvalidArgument(f"{folder} has no trial_*/trial.json, so it is no project folder of KerasTuner.")
    remarks: list[str] = []
    objective = objective or _objective(trials, metric)
    unfinished = [trial for trial in trials if trial["status"] not in _STATES]
    if unfinished:
        remarks.append(f"{len(unfinished)} trials were not finished and were left out.")
    space = _space(trials, remarks)
    done = [_trial(trial, objective, space) for trial in trials if trial["status"] in _STATES]
    return ForeignStudy(name, space, objective, done, notes={"from": "keras-tuner"}, remarks=remarks)


_STATES = {"COMPLETED": TrialState.COMPLETED, "FAILED": TrialState.FAILED, "INVALID": TrialState.FAILED,
           "STOPPED": TrialState.STOPPED}  # fmt: skip


def _metrics(trial: Mapping[str, Any]) -> dict[str, Any]:
    return dict(trial["metrics"]["metrics"])


def _objective(trials: Iterable[Mapping[str, Any]], metric: str | None) -> Objective:
    """Return the objective: the metric whose value at the best step is each trial's score."""
    scored = [trial for trial in trials if trial.get("score") is not None]
    names = list(dict.fromkeys(name for trial in scored for name in _metrics(trial)))
    if metric is not None and metric not in names:
        nearest = nearest_name(metric, names)
        raise InvalidArgument(
            f"metric must be one of {', '.join(map(repr, names))}, but got metric={metric!r}."
            + (f" Did you mean {nearest!r}?" if nearest else "")
        )
    fitting = [metric] if metric else [name for name in names if all(_is_score(trial, name) for trial in scored)]
    if len(fitting) != 1:
        raise InvalidArgument(
            f"the objective of this project is unknown: it may be {', '.join(map(repr, fitting or names)) or 'any'}. "
            "Name it with metric= or --metric."
        )
    kind = Minimize if _metrics(scored[0])[fitting[0]]["direction"] == "min" else Maximize
    return kind(fitting[0])


def _is_score(trial: Mapping[str, Any], name: str) -> bool:
    observations = _metrics(trial).get(name, {}).get("observations", [])
    return any(_mean(each["value"]) == trial["score"] for each in observations)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def _trial(trial: Mapping[str, Any], objective: Objective, space: Mapping[str, Parameter]) -> FinishedTrial:
    metrics: dict[int, dict[str, float]] = {}
    for name, history in _metrics(trial).items():
        for each in history["observations"]:
            metrics.setdefault(int(each["step"]) + 1, {})[name] = _mean(each["value"])
    curve = {epoch: found[objective.metric] for epoch, found in sorted(metrics.items()) if objective.metric in found}
    values = trial["hyperparameters"]["values"]
    params = {name: values[name] for name in space if name in values}
    state = _STATES[trial["status"]] if curve else TrialState.FAILED
    error = str(trial.get("message") or "it failed in KerasTuner") if state is TrialState.FAILED else None
    return FinishedTrial(params, curve, state, f"{state.value} in KerasTuner", error, metrics)


def _space(trials: Iterable[Mapping[str, Any]], remarks: list[str]) -> dict[str, Parameter]:
    """Return the union of the trials' spaces; KerasTuner finds parameters while it builds models."""
    found: dict[str, Parameter] = {}
    for trial in trials:
        for entry in trial["hyperparameters"]["space"]:
            name = entry["config"]["name"]
            if name not in found and not name.startswith(_OWN):
                found[name] = _parameter(entry["class_name"], entry["config"], remarks)
    return found


def _parameter(kind: str, config: Mapping[str, Any], remarks: list[str]) -> Parameter:
    conditions = config.get("conditions") or []
    when = {each["config"]["name"]: list(each["config"]["values"]) for each in conditions} or None
    if kind == "Fixed":
        return Categorical([config["value"]], when=when)
    if kind == "Boolean":
        return Categorical([True, False], when=when)
    if kind == "Choice":
        return Categorical(list(config["values"]), when=when)
    low, high, sampling = config["min_value"], config["max_value"], config.get("sampling") or "linear"
    if sampling == "reverse_log":
        remarks.append(f"The reverse_log sampling of {config['name']!r} is linear here.")
    if sampling == "log":
        return Integer(low, high, "log", when=when) if kind == "Int" else Continuous(low, high, "log", when=when)
    plain = stepped(low, high, config.get("step"), is_whole=kind == "Int")
    return evolve(plain, when=when)
