"""Read the runs of an experiment of MLflow, with the history of the objective."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hpo_plugins.coordination.adding import FinishedTrial
from hpo_plugins.errors import InvalidArgument, MissingDependency
from hpo_plugins.exchange.foreign import ForeignStudy
from hpo_plugins.exchange.from_table import _typed
from hpo_plugins.exchange.spaces import guessed, with_conditions
from hpo_plugins.objective import Objective
from hpo_plugins.records import TrialState

_STATES = {"FINISHED": TrialState.COMPLETED, "FAILED": TrialState.FAILED, "KILLED": TrialState.STOPPED}


def mlflow_studies(
    source: str, experiment: str | None, objective: Objective, params: tuple[str, ...]
) -> list[ForeignStudy]:
    """Return the experiments of an MLflow tracking store, each as a study.

    Args:
        source: A tracking URI, a folder or a SQLite file.
        experiment: The name of the only one to read; None for all that have runs.
        objective: The objective.
        params: The parameters that were tuned; by default all that have more than one value.
    """
    try:
        import mlflow
    except ModuleNotFoundError as error:
        raise MissingDependency.of(error, "mlflow", "mlflow") from error
    client = mlflow.MlflowClient(tracking_uri=_uri(source))
    experiments = client.search_experiments()
    names = [each.name for each in experiments]
    if experiment is not None and experiment not in names:
        raise InvalidArgument(f"study must be one of {', '.join(map(repr, names))}, but got study={experiment!r}.")
    found = []
    for each in experiments:
        if experiment in (None, each.name):
            runs = _runs(client, each.experiment_id)
            if runs:
                found.append(_study(client, each.name, runs, objective, params))
    return found


def _uri(source: str) -> str:
    if "://" in source:
        return source
    path = Path(source).absolute()
    return f"sqlite:///{path}" if path.is_file() else path.as_uri()


def _runs(client: Any, experiment: str) -> list[Any]:
    runs: list[Any] = []
    token: str | None = None
    while True:
        page = client.search_runs([experiment], order_by=["attributes.start_time ASC"], page_token=token)
        runs += page
        token = page.token
        if not token:
            return runs


def _study(client: Any, name: str, runs: list[Any], objective: Objective, params: tuple[str, ...]) -> ForeignStudy:
    remarks: list[str] = []
    unfinished = [run for run in runs if run.info.status not in _STATES]
    if unfinished:
        remarks.append(f"{len(unfinished)} runs were not finished and were left out.")
    runs = [run for run in runs if run.info.status in _STATES]
    names = list(dict.fromkeys(key for run in runs for key in run.data.params))
    columns = {key: _typed(run.data.params.get(key) for run in runs) for key in params or names}
    tuned = {
        key: [value for value in values if value is not None]
        for key, values in columns.items()
        if params or len(set(values)) > 1
    }
    trials = []
    for place, run in enumerate(runs):
        configuration = {key: columns[key][place] for key in tuned if columns[key][place] is not None}
        trials.append(_trial(client, run, configuration, objective.metric))
    space = {key: guessed(values) for key, values in tuned.items() if values}
    whole = [trial.params for trial in trials if trial.state is not TrialState.FAILED]
    notes = {"from": "mlflow", "experiment": name}
    return ForeignStudy(name, with_conditions(space, whole), objective, trials, notes=notes, remarks=remarks)


def _trial(client: Any, run: Any, params: dict[str, Any], metric: str) -> FinishedTrial:
    history = sorted(client.get_metric_history(run.info.run_id, metric), key=lambda each: (each.step, each.timestamp))
    first = min((each.step for each in history), default=1)
    curve = {each.step + max(1 - first, 0): float(each.value) for each in history}
    state = _STATES[run.info.status] if curve else TrialState.FAILED
    error = f"its run {run.info.run_id} is {run.info.status}" if state is TrialState.FAILED else None
    ended = run.info.end_time
    seconds = (ended - run.info.start_time) / 1000 if ended else None
    return FinishedTrial(params, curve, state, f"{state.value} in MLflow", error, seconds=seconds)
