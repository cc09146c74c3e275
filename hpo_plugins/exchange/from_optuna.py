"""Read studies of Optuna: a SQLite file, a database's URL or a journal file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from hpo_plugins.coordination.adding import FinishedTrial
from hpo_plugins.errors import InvalidArgument, MissingDependency
from hpo_plugins.exchange.foreign import ForeignStudy
from hpo_plugins.exchange.spaces import Values, stepped, with_conditions
from hpo_plugins.objective import AtMost, Maximize, Minimize
from hpo_plugins.records import WHOLE_TRIAL, TrialState
from hpo_plugins.space import Categorical, Continuous, Integer, Parameter


def optuna_studies(source: str, study: str | None, metric: str | None) -> list[ForeignStudy]:
    """Return the studies of an Optuna storage.

    Args:
        source: Path of a SQLite or journal file, or a URL.
        study: The name of the only one to read; None for all.
        metric: The name of the objective; ``"value"`` if the study has named none.
    """
    optuna = library()
    storage = _storage(optuna, source)
    names = optuna.get_all_study_names(storage)
    if study is not None and study not in names:
        raise InvalidArgument(f"study must be one of {', '.join(map(repr, names))}, but got study={study!r}.")
    chosen = names if study is None else [study]
    return [_read(optuna, optuna.load_study(study_name=name, storage=storage), metric) for name in chosen]


def library() -> Any:
    """Return the module ``optuna``, with fewer messages."""
    try:
        import optuna
    except ModuleNotFoundError as error:
        raise MissingDependency.of(error, "optuna", "optuna") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _storage(optuna: Any, source: str) -> Any:
    if "://" in source:
        return source
    if not Path(source).is_file():
        raise InvalidArgument(f"source must be a file or a URL, but there is no file {source!r}.")
    with Path(source).open("rb") as file:
        is_sqlite = file.read(6) == b"SQLite"
    if is_sqlite:
        return f"sqlite:///{source}"
    return optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(source))


def _read(optuna: Any, study: Any, metric: str | None) -> ForeignStudy:
    trials = study.get_trials(deepcopy=False)
    count = len(study.directions)
    names = study.metric_names or (["value"] if count == 1 else [f"value_{index}" for index in range(count)])
    names = [metric or names[0], *names[1:]]
    remarks: list[str] = []
    offset = 1 - min((step for trial in trials for step in trial.intermediate_values), default=1)
    finished = [trial for trial in trials if trial.state.name != "WAITING"]
    complete = [trial for trial in finished if trial.state.name == "COMPLETE"]
    kinds = [Minimize if direction.name == "MINIMIZE" else Maximize for direction in study.directions]
    at, ends = _objective_at(complete if count == 1 else [], is_minimized=kinds[0] is Minimize)
    limits = sorted({name for trial in finished for name in _constraints(trial)})
    space = _space(optuna, [trial for trial in finished if trial.distributions], remarks)
    if offset not in (0, 1):
        raise InvalidArgument(f"the steps of {study.study_name!r} begin at {1 - offset}, which are no epochs.")
    if running := sum(trial.state.name == "RUNNING" for trial in trials):
        remarks.append(f"{running} trials were running; they are failed trials here.")
    judged = [trial.params for trial in finished if trial.state.name in ("COMPLETE", "PRUNED")]
    return ForeignStudy(
        study.study_name,
        _conditioned(space, judged, [trial.params for trial in complete or finished]),
        kinds[0](names[0], at=at),
        [_trial(trial, offset, names, adds_end=not ends) for trial in finished],
        [trial.system_attrs["fixed_params"] for trial in trials if trial.system_attrs.get("fixed_params")
         and trial.state.name == "WAITING"],
        {"from": "optuna", "version": optuna.__version__, "first_step": 1 - offset, "value_is_last_epoch": not ends},
        remarks,
        [kind(name, at=at) for kind, name in zip(kinds[1:], names[1:], strict=True)],
        [AtMost(name, 0) for name in limits],
    )  # fmt: skip


def _conditioned(space: Mapping[str, Parameter], judged: Values, whole: Values) -> dict[str, Parameter]:
    """Return the parameters that trials have, with their conditions.

    Args:
        space: All parameters.
        judged: The configurations of all trials with a result: one that was pruned may have been so before it had
            chosen all its parameters.
        whole: Those that had chosen all of them, which alone count if no condition explains the others.
    """

    def of(trials: Values) -> dict[str, Parameter]:
        present = {name: each for name, each in space.items() if any(name in params for params in trials)}
        return with_conditions(present, trials)

    try:
        return of(judged or whole)
    except InvalidArgument:
        return of(whole)


def _constraints(trial: Any) -> dict[str, float]:
    """Return the values of a trial's constraints by name; those of ``constraints_func`` have none."""
    listed = trial.system_attrs.get("constraints") or ()
    named = {
        key.partition(":")[2]: value for key, value in trial.system_attrs.items() if key.startswith("constraints:")
    }
    return {f"constraint_{index}": float(value) for index, value in enumerate(listed)} | named


def _objective_at(trials: list[Any], *, is_minimized: bool) -> tuple[Literal["best", "last"], bool]:
    """Return which epoch counts, and whether each curve contains its trial's value there."""
    curves = [(trial.value, trial.intermediate_values) for trial in trials if trial.intermediate_values]
    best = min if is_minimized else max
    if all(value == best(curve.values()) for value, curve in curves):
        return "best", True
    return "last", all(value == curve[max(curve)] for value, curve in curves)


def _trial(trial: Any, offset: int, names: list[str], *, adds_end: bool) -> FinishedTrial:
    metrics = {WHOLE_TRIAL: known} if (known := _constraints(trial)) else {}
    if len(names) > 1:
        return _several(trial, names, metrics)
    return replace(_single(trial, offset, adds_end=adds_end), metrics=metrics)


def _several(trial: Any, names: list[str], metrics: dict[int, dict[str, float]]) -> FinishedTrial:
    """Return a trial with several objectives, which has no curve: its values are those of epoch 1."""
    seconds = trial.duration.total_seconds() if trial.duration else None
    if trial.state.name != "COMPLETE" or not all(map(math.isfinite, trial.values)):
        reason = f"its values were {trial.values}" if trial.state.name == "COMPLETE" else f"it was {trial.state.name}"
        return FinishedTrial(trial.params, {}, TrialState.FAILED, "failed in Optuna", reason, metrics, seconds)
    values = dict(zip(names, trial.values, strict=True))
    curve = {1: trial.values[0]}
    return FinishedTrial(
        trial.params, curve, rule="completed in Optuna", metrics=metrics | {1: values}, seconds=seconds
    )


def _single(trial: Any, offset: int, *, adds_end: bool) -> FinishedTrial:
    curve = {step + offset: value for step, value in sorted(trial.intermediate_values.items())}
    state = trial.state.name
    if state == "COMPLETE" and (adds_end or not curve):
        curve[max(curve, default=0) + 1] = trial.value
    seconds = trial.duration.total_seconds() if trial.duration else None
    values = [value for value in curve.values() if math.isfinite(value)]
    if state == "COMPLETE" and values and math.isfinite(trial.value):
        return FinishedTrial(trial.params, curve, TrialState.COMPLETED, "completed in Optuna", seconds=seconds)
    if state == "PRUNED":
        return FinishedTrial(trial.params, curve, TrialState.STOPPED, "pruned in Optuna", seconds=seconds)
    reason = trial.system_attrs.get("fail_reason") or f"it was {state} in Optuna"
    if state == "COMPLETE":
        reason = f"its value was {trial.value}"
    return FinishedTrial(trial.params, curve, TrialState.FAILED, "failed in Optuna", str(reason), seconds=seconds)


def _space(optuna: Any, trials: list[Any], remarks: list[str]) -> dict[str, Parameter]:
    """Return the union of the trials' distributions; the ranges of a parameter may differ between trials."""
    found: dict[str, list[Any]] = {}
    for trial in trials:
        for name, distribution in trial.distributions.items():
            if distribution not in (known := found.setdefault(name, [])):
                known.append(distribution)
    return {name: _parameter(optuna, name, distributions, remarks) for name, distributions in found.items()}


def _parameter(optuna: Any, name: str, distributions: list[Any], remarks: list[str]) -> Parameter:
    kinds = {type(distribution) for distribution in distributions}
    if optuna.distributions.CategoricalDistribution in kinds:
        values = dict.fromkeys(choice for distribution in distributions for choice in distribution.choices)
        return Categorical(list(values))
    low, high = min(each.low for each in distributions), max(each.high for each in distributions)
    is_whole = kinds == {optuna.distributions.IntDistribution}
    if all(each.log for each in distributions):
        return Integer(low, high, scale="log") if is_whole else Continuous(float(low), float(high), scale="log")
    grids = {(each.low, each.step) for each in distributions}
    if len(grids) > 1 and any(step not in (None, 1) for _, step in grids):
        remarks.append(
            f"The steps of {name!r} differ between trials and were left out: new configurations may lie between."
        )
    return stepped(low, high, grids.pop()[1] if len(grids) == 1 else None, is_whole=is_whole)
