"""Show a search in TensorBoard: ``Tuner(callbacks=[TensorBoardCallback("runs")])``, then ``tensorboard --logdir runs``.

Each trial that has ended is a run with all its curves, and a row of the HParams tab with its configuration, value and
epochs. Parameters are declared with their ranges, so the tab's filters know them.
"""

from __future__ import annotations

import os
from pathlib import Path

from hpo_plugins.integrations._tracking import (
    as_text,
    end_time,
    epoch_time,
    final_values,
    finite,
    study_title,
    value_name,
)

from hpo_plugins.errors import MissingDependency
from hpo_plugins.records import TrialRecord, TrialState
from hpo_plugins.space import Listed, Parameter, Value
from hpo_plugins.storage.checkpoints import folder_name
from hpo_plugins.tuner import StudyResults, TunerCallback

try:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import api_pb2, metadata
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo, SessionStartInfo
    from tensorboard.summary.writer.event_file_writer import EventFileWriter
except ModuleNotFoundError as error:
    raise MissingDependency.of(error, "tensorboard", "tensorboard") from error

__all__ = ["TensorBoardCallback"]

_EVENT_FILES = "events.out.tfevents.*"


class TensorBoardCallback(TunerCallback):
    """Write each trial as a run: its curves, and its configuration for the HParams tab.

    Args:
        log_dir: The folder that TensorBoard shows. Each study has a folder in it, and each trial one in that.
    """

    def __init__(self, log_dir: str | os.PathLike[str]) -> None:
        """Write nothing yet."""
        self.log_dir = Path(log_dir)

    @property
    def destination(self) -> str:
        """The folder."""
        return f"tensorboard {self.log_dir.absolute()}"

    def on_trial_end(self, tuner: StudyResults, trial: TrialRecord) -> None:
        """Write a trial, and delete its earlier output.

        Args:
            tuner: The search.
            trial: The trial.
        """
        folder = self.log_dir / folder_name(study_title(tuner).replace(" ", "_")) / f"trial-{trial.number:04d}"
        for earlier in folder.glob(_EVENT_FILES):
            earlier.unlink()
        writer = EventFileWriter(str(folder))
        try:
            for event in _events(tuner, trial):
                writer.add_event(event)
        finally:
            writer.close()


def _events(tuner: StudyResults, trial: TrialRecord) -> list[Event]:
    """Return all records of a trial, in order of time."""
    begin, end = trial.started_at, end_time(trial)
    events = [_of_plugin(begin, tag, content) for tag, content in _session_start(tuner, trial).items()]
    for epoch, metrics in trial.metrics.items():
        when = epoch_time(trial, epoch)
        events += [_scalar(when, epoch, name, value) for name, value in finite(metrics).items()]
    events += [_scalar(end, trial.epochs, f"trial/{name}", value) for name, value in final_values(tuner, trial).items()]
    status = api_pb2.STATUS_FAILURE if trial.state is TrialState.FAILED else api_pb2.STATUS_SUCCESS
    finished = SessionEndInfo(status=status, end_time_secs=end)
    events.append(_of_plugin(end, metadata.SESSION_END_INFO_TAG, HParamsPluginData(session_end_info=finished)))
    return events


def _scalar(when: float, epoch: int, name: str, value: float) -> Event:
    return Event(wall_time=when, step=epoch, summary=Summary(value=[Summary.Value(tag=name, simple_value=value)]))


def _of_plugin(when: float, tag: str, content: HParamsPluginData) -> Event:
    described = metadata.create_summary_metadata(content)
    value = Summary.Value(tag=tag, tensor=metadata.NULL_TENSOR, metadata=described)
    return Event(wall_time=when, summary=Summary(value=[value]))


def _session_start(tuner: StudyResults, trial: TrialRecord) -> dict[str, HParamsPluginData]:
    """Return the search's parameters and metrics, and the trial's configuration."""
    kinds = {name: _kind(_domain(tuner.space.get(name), value)) for name, value in trial.params.items()}
    session = SessionStartInfo(group_name=str(trial.number), start_time_secs=trial.started_at)
    for name, value in trial.params.items():
        if kinds[name] == api_pb2.DATA_TYPE_BOOL:
            session.hparams[name].bool_value = value
        elif kinds[name] == api_pb2.DATA_TYPE_FLOAT64:
            session.hparams[name].number_value = value
        else:
            session.hparams[name].string_value = as_text(value)
    started = {metadata.SESSION_START_INFO_TAG: HParamsPluginData(session_start_info=session)}
    if trial.definition is not None:  # other definitions have other parameters: TensorBoard collects them itself
        return started
    experiment = api_pb2.Experiment(
        name=tuner.name,
        hparam_infos=[_describe(name, tuner.space.get(name), kind) for name, kind in kinds.items()],
        metric_infos=[
            api_pb2.MetricInfo(name=api_pb2.MetricName(tag=f"trial/{name}"), display_name=name)
            for name in (value_name(tuner.objective), "epochs")
        ],
    )
    return {metadata.EXPERIMENT_TAG: HParamsPluginData(experiment=experiment), **started}


def _domain(parameter: Parameter | None, value: Value) -> tuple[Value, ...]:
    """Return values that a parameter may have: all of a listed one, the bounds of another, otherwise this one."""
    if isinstance(parameter, Listed):
        return tuple(parameter.values)
    return (value,) if parameter is None else (parameter.low, parameter.high)


def _kind(values: tuple[Value, ...]) -> int:
    """Return the type of TensorBoard that can hold all the values."""
    if all(isinstance(value, bool) for value in values):
        return int(api_pb2.DATA_TYPE_BOOL)
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return int(api_pb2.DATA_TYPE_FLOAT64)
    return int(api_pb2.DATA_TYPE_STRING)


def _describe(name: str, parameter: Parameter | None, kind: int) -> api_pb2.HParamInfo:
    info = api_pb2.HParamInfo(name=name, type=kind)
    if isinstance(parameter, Listed):
        values = parameter.values
        info.domain_discrete.extend(values if kind != api_pb2.DATA_TYPE_STRING else [as_text(v) for v in values])
    elif parameter is not None:
        info.domain_interval.min_value, info.domain_interval.max_value = parameter.low, parameter.high
    return info
