"""Show a search in MLflow: ``Tuner(callbacks=[MLflowCallback("digits")])``.

The study is a run, and each trial that has ended is a run nested in it, with its configuration and all its curves. Runs
that your own script has active are not touched.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
import time
from typing import Any

from hpo_plugins.integrations._tracking import (
    as_text,
    end_time,
    epoch_time,
    final_values,
    finite,
    notes,
    study_title,
    trial_id,
)

from hpo_plugins.errors import MissingDependency
from hpo_plugins.records import TrialRecord, TrialState
from hpo_plugins.tuner import StudyResults, TunerCallback

try:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param, RunTag
    from mlflow.exceptions import MlflowException
except ModuleNotFoundError as error:
    raise MissingDependency.of(error, "mlflow", "mlflow") from error

__all__ = ["MLflowCallback"]

_KEY = "hpo_plugins.key"
"""The tag by which the run of a study or of a trial is found again."""
_AT_ONCE = 500
"""Metrics that are sent at a time: MLflow accepts 1,000 entries of all kinds."""
_MAX_VALUE = 500
"""Characters of a parameter's value, the limit of older servers."""


class MLflowCallback(TunerCallback):
    """Write each trial as a run, nested in a run of the study.

    Args:
        experiment: The experiment's name; it is created if it does not exist.
        tracking_uri: The server or the database; None for MLflow's own configuration.
    """

    def __init__(self, experiment: str, *, tracking_uri: str | None = None) -> None:
        """Write nothing yet."""
        self.experiment = experiment
        self.tracking_uri = tracking_uri
        self._client: Any = None
        self._experiment_id = ""

    @property
    def destination(self) -> str:
        """The experiment."""
        return f"mlflow {self.tracking_uri} {self.experiment}"

    def on_trial_end(self, tuner: StudyResults, trial: TrialRecord) -> None:
        """Write a trial; a run that was written for it before is deleted.

        Args:
            tuner: The search.
            trial: The trial.
        """
        parent = self._study_run(tuner)
        key = trial_id(tuner, trial)
        for earlier in self._find(key):
            self._client.delete_run(earlier.info.run_id)
        tags = {_KEY: key, "mlflow.parentRunId": parent, **{f"hpo_plugins.{k}": v for k, v in notes(trial).items()}}
        end = _milliseconds(end_time(trial))
        run_id = self._create(f"trial {trial.number}", trial.started_at, tags)
        params = [Param(_allowed(name), as_text(value)[:_MAX_VALUE]) for name, value in trial.params.items()]
        metrics = [
            Metric(_allowed(name), value, _milliseconds(epoch_time(trial, epoch)), epoch)
            for epoch, reported in trial.metrics.items()
            for name, value in finite(reported).items()
        ]
        final = final_values(tuner, trial)
        metrics += [Metric(_allowed(name), value, end, trial.epochs) for name, value in final.items()]
        for first in range(0, len(params), 100):
            self._client.log_batch(run_id, params=params[first : first + 100])
        for first in range(0, len(metrics), _AT_ONCE):
            self._client.log_batch(run_id, metrics=metrics[first : first + _AT_ONCE])
        status = "FAILED" if trial.state is TrialState.FAILED else "FINISHED"
        self._client.set_terminated(run_id, status, end)

    def on_search_end(self, tuner: StudyResults) -> None:
        """Write the best trial to the study's run, and end it.

        Args:
            tuner: The search.
        """
        trials = tuner.trials
        if not trials:
            return
        run_id = self._study_run(tuner)
        if any(trial.value is not None for trial in trials):
            best = tuner.best_trial
            end = _milliseconds(max(map(end_time, trials)))
            metrics = [Metric(_allowed(name), v, end, len(trials)) for name, v in final_values(tuner, best).items()]
            tags = {"hpo_plugins.best_trial": str(best.number)}
            tags |= {f"hpo_plugins.best.{_allowed(name)}": as_text(value) for name, value in best.params.items()}
            self._client.log_batch(run_id, metrics=metrics, tags=[RunTag(*tag) for tag in tags.items()][:100])
        self._client.set_terminated(run_id, "FINISHED" if tuner.done else "KILLED")

    def _connect(self) -> None:
        if self._client is not None:
            return
        client = MlflowClient(self.tracking_uri)
        known = client.get_experiment_by_name(self.experiment)
        if known is None:
            try:
                self._experiment_id = client.create_experiment(self.experiment)
            except MlflowException:  # another process was faster
                known = client.get_experiment_by_name(self.experiment)
                if known is None:
                    raise
        if known is not None:
            self._experiment_id = known.experiment_id
        self._client = client

    def _study_run(self, tuner: StudyResults) -> str:
        """Return the run of the study, created if it does not exist.

        If two processes create one at the same time, both use the one that was created first.
        """
        self._connect()
        first = tuner.history.record(0)
        key = f"study {trial_id(tuner, first)}"
        found = self._find(key)
        if found:
            return str(found[0].info.run_id)
        ours = self._create(study_title(tuner), time.time(), {_KEY: key})
        kept = str(self._find(key)[0].info.run_id)
        if ours != kept:
            self._client.delete_run(ours)
        return kept

    def _find(self, key: str) -> list[Any]:
        runs = self._client.search_runs([self._experiment_id], f"tags.`{_KEY}` = '{key}'")
        return sorted(runs, key=lambda run: (run.info.start_time, run.info.run_id))

    def _create(self, name: str, begin: float, tags: dict[str, str]) -> str:
        run = self._client.create_run(self._experiment_id, _milliseconds(begin), tags, name)
        return str(run.info.run_id)


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def _allowed(name: str) -> str:
    """Return a name that MLflow allows, different for different names."""
    safe = re.sub(r"[^\w\-. /]", "_", name.replace("@", "_at_"))[:200]  # as MLflow's own XGBoost logging: ndcg_at_10
    if safe != posixpath.normpath(safe) or safe.startswith(("/", "..")):
        safe = f"_{safe.replace('/', '_')}"
    return (
        safe if safe in (name, name.replace("@", "_at_")) else f"{safe}-{hashlib.sha256(name.encode()).hexdigest()[:4]}"
    )
