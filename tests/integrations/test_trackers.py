"""The output of TensorBoard, MLflow and Weights & Biases, read back with their own libraries."""

import json
import struct

import pytest

import hpo_plugins as hpo
from hpo_plugins.testing import TrackerContract

pytestmark = pytest.mark.filterwarnings("default")  # their own use of other libraries

SPACE = {
    "eta": hpo.Continuous(1e-3, 1, scale="log"),
    "depth": hpo.Integer(2, 9),
    "kind": hpo.Categorical(["a", None, 3]),
    "flag": hpo.Categorical([True, False]),
}
METRIC = "validation-ndcg@10"


def search(callback, **arguments):
    """Four trials of three epochs: the third fails, the fourth reports a NaN beside its objective."""
    tuner = hpo.Tuner(
        SPACE, hpo.Maximize(METRIC), max_trials=4, seed=0, name="study é/字", callbacks=[callback], **arguments
    )
    for trial in tuner:
        for epoch in range(1, 4):
            if trial.number == 2 and epoch == 2:
                trial.fail("out of memory")
                break
            extra = {"extra": float("nan")} if trial.number == 3 and epoch == 1 else {"extra": 1.0 * epoch}
            trial.report(epoch, {METRIC: trial.number + 1 / epoch, **extra})
    return tuner


def test_tracked_twice_is_tracked_once(tmp_path):
    from hpo_plugins.integrations.tensorboard import TensorBoardCallback

    callback = TensorBoardCallback(tmp_path / "runs")
    callback.replay(search(callback))
    assert len(list((tmp_path / "runs").rglob("events.out.tfevents.*"))) == 4


# TensorBoard.


class TestTensorBoard(TrackerContract):
    def make(self, folder):
        from hpo_plugins.integrations.tensorboard import TensorBoardCallback

        return TensorBoardCallback(folder)

    def numbers(self, folder):
        return [int(path.parent.name.rpartition("-")[2]) for path in folder.rglob("events.out.tfevents.*")]


@pytest.fixture(scope="module")
def board_folder(tmp_path_factory):
    from hpo_plugins.integrations.tensorboard import TensorBoardCallback

    folder = tmp_path_factory.mktemp("tensorboard")
    search(TensorBoardCallback(folder))
    return folder


@pytest.fixture(scope="module")
def board(board_folder):
    from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer

    board = EventMultiplexer().AddRunsFromDirectory(str(board_folder))
    board.Reload()
    return board


def test_tensorboard_each_trial_is_a_run_with_its_curves(board):
    names = sorted(board.Runs())
    assert [name.rpartition("/")[2] for name in names] == [f"trial-000{n}" for n in range(4)]
    curve = [(event.step, event.value) for event in board.Scalars(names[1], METRIC)]
    assert curve == [(1, 2.0), (2, 1.5), (3, pytest.approx(1 + 1 / 3))]
    times = [event.wall_time for event in board.Scalars(names[1], METRIC)]
    assert times == sorted(times)
    assert [event.step for event in board.Scalars(names[3], "extra")] == [2, 3]


def test_tensorboard_value_is_what_trials_are_compared_by(board):
    names = sorted(board.Runs())
    assert [event.value for event in board.Scalars(names[3], f"trial/best {METRIC}")] == [4.0]
    assert "trial/epochs" in board.Runs()[names[2]]["scalars"]


def test_tensorboard_hparams_tab_shows_configurations_and_domains(board_folder):
    from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
    from tensorboard.context import RequestContext
    from tensorboard.plugins.base_plugin import TBContext
    from tensorboard.plugins.hparams import api_pb2, backend_context, get_experiment, list_session_groups

    multiplexer = plugin_event_multiplexer.EventMultiplexer().AddRunsFromDirectory(str(board_folder))
    multiplexer.Reload()
    provider = data_provider.MultiplexerDataProvider(multiplexer, str(board_folder))
    context = backend_context.Context(TBContext(data_provider=provider))
    experiment = get_experiment.Handler(RequestContext(), context, "x", api_pb2.GetExperimentRequest()).run()
    infos = {info.name: info for info in experiment.hparam_infos}
    assert set(infos) == set(SPACE)
    assert (infos["eta"].domain_interval.min_value, infos["eta"].domain_interval.max_value) == (1e-3, 1)
    assert [value.string_value for value in infos["kind"].domain_discrete.values] == ["a", "None", "3"]
    assert infos["flag"].type == api_pb2.DATA_TYPE_BOOL
    assert [info.name.tag for info in experiment.metric_infos] == [f"trial/best {METRIC}", "trial/epochs"]
    statuses = [api_pb2.STATUS_SUCCESS, api_pb2.STATUS_FAILURE]
    request = api_pb2.ListSessionGroupsRequest(allowed_statuses=statuses, slice_size=10, include_metrics=True)
    listed = list_session_groups.Handler(RequestContext(), context, "x", request).run()
    by_name = {group.name: group for group in listed.session_groups}
    assert set(by_name) == {"0", "1", "2", "3"}
    assert set(by_name["0"].hparams) == set(SPACE)
    assert by_name["2"].sessions[0].status == api_pb2.STATUS_FAILURE


# MLflow.


@pytest.fixture(scope="module")
def tracked(tmp_path_factory):
    from hpo_plugins.integrations.mlflow import MLflowCallback
    from mlflow import MlflowClient

    uri = f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"
    callback = MLflowCallback("search", tracking_uri=uri)
    tuner = search(callback)
    callback.replay(tuner)  # replaces what is there
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("search")
    return client, client.search_runs([experiment.experiment_id]), tuner


def test_mlflow_trials_are_nested_in_the_study(tracked):
    _, runs, _ = tracked
    (study,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    trials = {run.info.run_name: run for run in runs if run is not study}
    assert set(trials) == {f"trial {n}" for n in range(4)}
    assert {run.data.tags["mlflow.parentRunId"] for run in trials.values()} == {study.info.run_id}
    assert study.info.run_name.startswith("study é/字 ")
    assert study.data.tags["hpo_plugins.best_trial"] == "3"
    assert study.data.metrics["best validation-ndcg_at_10"] == 4.0
    assert study.info.status == "FINISHED"


def test_mlflow_trial_has_its_configuration_curve_and_reason(tracked):
    client, runs, tuner = tracked
    trials = {run.info.run_name: run for run in runs}
    run, record = trials["trial 1"], tuner.trials[1]
    assert run.data.params == {name: v if isinstance(v, str) else repr(v) for name, v in record.params.items()}
    history = client.get_metric_history(run.info.run_id, "validation-ndcg_at_10")
    assert [(metric.step, metric.value) for metric in history] == list(record.curve.items())
    assert trials["trial 2"].info.status == "FAILED"
    assert "out of memory" in trials["trial 2"].data.tags["hpo_plugins.error"]
    assert run.info.end_time == round(record.ended_at * 1000)


@pytest.mark.parametrize("names", [["a@b", "a_b"], ["../x", "x", "/x"], ["a//b", "a/b"], ["n" * 300, "n" * 299]])
def test_mlflow_names_that_it_refuses_are_replaced_by_different_ones(names):
    from hpo_plugins.integrations.mlflow import _allowed
    from mlflow.utils.validation import _validate_metric_name

    allowed = [_allowed(name) for name in names]
    for name in allowed:
        _validate_metric_name(name)
    assert len(set(allowed)) == len(names)


# Weights & Biases.


def records_of(path):
    """The records of an offline run: a log of LevelDB's format after seven bytes, in blocks of 32 KiB."""
    from wandb.proto import wandb_internal_pb2

    data, place, part = path.read_bytes(), 7, b""
    while place + 7 <= len(data):
        if 32768 - place % 32768 < 7:  # what is left of a block is too small for a header
            place += 32768 - place % 32768
            continue
        length, kind = struct.unpack_from("<HB", data, place + 4)
        part += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            record = wandb_internal_pb2.Record()
            record.ParseFromString(part)
            part = b""
            yield record


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """What was written for each trial: its records by kind."""
    import wandb
    from hpo_plugins.integrations.wandb import WandbCallback

    folder = tmp_path_factory.mktemp("wandb")
    own = wandb.init(project="own", mode="offline", dir=folder, settings=wandb.Settings(silent=True, console="off"))
    search(WandbCallback("digits", mode="offline", dir=folder))
    assert wandb.run is own
    own.finish()
    wandb.teardown()  # its service process writes the files, and a run that is finished may not be on the disk yet
    found = {}
    for path in folder.rglob("*.wandb"):
        records = list(records_of(path))
        run = next(record.run for record in records if record.WhichOneof("record_type") == "run")
        if run.project == "digits":
            found[run.display_name] = run, records
    return found


def test_wandb_each_trial_is_a_run_of_the_studys_group(runs):
    assert set(runs) == {f"study é/字 trial {n}" for n in range(4)}
    assert len({run.run_group for run, _ in runs.values()}) == 1
    run, _ = runs["study é/字 trial 1"]
    config = {update.key: json.loads(update.value_json) for update in run.config.update}
    assert set(SPACE) <= set(config)


def test_wandb_run_has_the_curve_and_the_value(runs):
    _, records = runs["study é/字 trial 1"]
    steps = []
    summary = {}
    for record in records:
        if record.WhichOneof("record_type") == "history":
            items = {item.key or item.nested_key[0]: json.loads(item.value_json) for item in record.history.item}
            steps.append((items["_step"], items[METRIC]))
        elif record.WhichOneof("record_type") == "summary":
            summary |= {item.key or item.nested_key[0]: json.loads(item.value_json) for item in record.summary.update}
    assert steps == [(1, 2.0), (2, 1.5), (3, pytest.approx(1 + 1 / 3))]
    assert summary[f"best {METRIC}"] == 2.0
    assert summary["state"] == "completed"


def test_wandb_failed_trial_is_a_failed_run(runs):
    _, records = runs["study é/字 trial 2"]
    (code,) = [record.exit.exit_code for record in records if record.WhichOneof("record_type") == "exit"]
    assert code == 1


@pytest.mark.parametrize("tracker", ["tensorboard", "mlflow", "wandb"])
def test_study_without_trials_writes_nothing(tracker, tmp_path):
    from importlib import import_module

    module = import_module(f"hpo_plugins.integrations.{tracker}")
    callback = {
        "tensorboard": lambda: module.TensorBoardCallback(tmp_path),
        "mlflow": lambda: module.MLflowCallback("empty", tracking_uri=f"sqlite:///{tmp_path / 'a.db'}"),
        "wandb": lambda: module.WandbCallback("empty", mode="offline", dir=tmp_path),
    }[tracker]()
    callback.replay(hpo.Tuner(SPACE, hpo.Maximize(METRIC), max_trials=1, progress="off"))
    assert list(tmp_path.iterdir()) == []
