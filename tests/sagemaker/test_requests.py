"""Requests in and out: what comes in goes out again, and the service's own tools accept it."""

import logging

import pytest

import hpo_plugins as hpo
from hpo_plugins.sagemaker import request_from_tuner, tuner_from_request

from .examples import REQUESTS, in_full, job_name, load, make

every_request = pytest.mark.parametrize("name", [path.stem for path in REQUESTS])


def test_examples_are_more_than_ten():
    assert len(REQUESTS) > 10


@every_request
def test_request_round_trips_unchanged(name, validate):
    request = load(name)
    back = request_from_tuner(make(request), job_name=job_name(request))
    assert back == in_full(request)
    validate(back)


@every_request
def test_request_round_trips_through_a_stored_study(name, tmp_path):
    request = load(name)
    tuner = make(request, storage=tmp_path / "a.db")
    loaded = hpo.Tuner.load(tmp_path / "a.db", tuner.name)
    assert loaded.study == tuner.study
    assert request_from_tuner(loaded, job_name=job_name(request)) == in_full(request)


@every_request
def test_request_gives_a_tuner_that_runs(name):
    """With the usual loop, to the end of a few trials."""
    tuner = make(load(name), max_trials=None, seed=1) if name.startswith("grid") else make(load(name), seed=1)
    for trial in tuner:
        for epoch in range(1, 4):
            if trial.report(epoch, {trial.objective.metric: 1.0 / epoch + len(str(trial.params))}):
                break
        if trial.number == 4:
            break
    assert [t.number for t in tuner.trials] == list(range(5))
    assert tuner.best_trial.value is not None


def test_request_round_trips_through_boto3(monkeypatch):
    boto3, moto = pytest.importorskip("boto3"), pytest.importorskip("moto")
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(variable, "testing")
    request = request_from_tuner(make(load("xgboost_bayesian")), job_name="sent")
    with moto.mock_aws():
        client = boto3.client("sagemaker", region_name="us-east-1")
        client.create_hyper_parameter_tuning_job(**request)
        stored = client.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName="sent")
    assert {name: stored[name] for name in request} == request
    again = tuner_from_request({name: stored[name] for name in request})
    assert request_from_tuner(again, job_name="sent") == request


def test_trial_params_include_static_hyperparameters():
    tuner = make(load("xgboost_bayesian"))
    trial = tuner.ask()
    assert set(trial.params) == {"eta", "max_depth", "grow_policy", "eval_metric", "num_round", "objective"}
    assert trial["num_round"] == "100"
    trial.report(1, {"validation:auc": 0.5})
    trial.end()
    assert tuner.trials[0].params == trial.params
    assert set(tuner.space) == {"eta", "max_depth", "grow_policy"}


def test_hyperband_infers_max_resource_from_epochs():
    assert make(load("hyperband_epochs")).strategy == hpo.Hyperband(min_resource=3, max_resource=27, search="random")
    assert make(load("hyperband")).strategy.max_resource == 81


def test_request_sets_every_tuner_argument():
    study = make(load("everything")).study
    assert study.objective == hpo.Minimize("validation:logloss", at="last")
    assert (study.max_trials, study.max_parallel, study.max_runtime, study.seed) == (500, 10, 15_768_000, 0)
    assert study.max_trial_seconds == 3600
    assert study.early_stopping == hpo.MedianRule()
    assert study.stop_when == (hpo.TargetReached(0.0625), hpo.NotImproving(3), hpo.Converged())
    assert study.space["eta"] == hpo.Continuous(0.001, 0.5, scale="log")
    assert study.space["max_depth"] == hpo.Integer(2, 12, scale="linear")
    assert study.space["grow_policy"] == hpo.Categorical(["depthwise", "lossguide"])
    assert study.space["subsample"] == hpo.Continuous(0.08, 1.0, scale="log")


def test_unused_fields_are_logged_once(caplog):
    make(load("everything"))
    (message,) = [m for m in caplog.messages if "without effect here" in m]
    for field in (
        "RoleArn",
        "VpcConfig",
        "StoppingCondition.MaxWaitTimeInSeconds",
        "HyperParameterTuningResourceConfig",
        "Environment",
    ):
        assert f"TrainingJobDefinition.{field}" in message
    assert message.endswith("Tags")
    assert "StaticHyperParameters" not in message


def test_tuner_arguments_override_the_request():
    tuner = make(load("hyperband"), strategy=hpo.Random(), seed=3, max_trials=5, max_parallel=None, name="mine")
    back = request_from_tuner(tuner, job_name="mine")["HyperParameterTuningJobConfig"]
    assert (tuner.name, tuner.seed, back["RandomSeed"]) == ("mine", 3, 3)
    assert back["Strategy"] == "Random"
    assert "StrategyConfig" not in back
    assert back["ResourceLimits"] == {"MaxNumberOfTrainingJobs": 5, "MaxParallelTrainingJobs": 1}
    assert back["ParameterRanges"] == load("hyperband")["HyperParameterTuningJobConfig"]["ParameterRanges"]


def test_changed_limits_of_a_stored_study_are_written(tmp_path):
    make(load("criteria"), storage=tmp_path / "a.db")
    tuner = make(load("criteria"), storage=tmp_path / "a.db", stop_when=[hpo.NotImproving(5)])
    criteria = request_from_tuner(tuner, job_name="x")["HyperParameterTuningJobConfig"]["TuningJobCompletionCriteria"]
    assert criteria == {"BestObjectiveNotImproving": {"MaxNumberOfTrainingJobsNotImproving": 5}}


@pytest.mark.parametrize("argument", ["space", "objective", "notes", "trails"])
def test_invalid_tuner_arguments_are_named(argument):
    with pytest.raises(hpo.InvalidArgument, match=f"{argument} must be one of strategy, .*, but {argument} "):
        tuner_from_request(load("smallest"), **{argument: 1})


# Tuners that were written in Python.


@pytest.fixture
def definition():
    return {
        "AlgorithmSpecification": {"TrainingImage": "image", "TrainingInputMode": "File"},
        "RoleArn": "arn:aws:iam::123456789012:role/x",
        "OutputDataConfig": {"S3OutputPath": "s3://bucket/out"},
        "StoppingCondition": {"MaxRuntimeInSeconds": 60},
    }


@pytest.mark.parametrize(
    "arguments",
    [
        {"strategy": hpo.Random()},
        {"strategy": hpo.Bayesian()},
        {"strategy": hpo.Random(), "max_trials": 9, "early_stopping": hpo.MedianRule(), "max_parallel": 4},
        {"strategy": hpo.Hyperband(2, 54, search="random"), "max_runtime": 3600.0, "seed": 0},
        {"strategy": hpo.Random(), "stop_when": [hpo.TargetReached(0.1), hpo.NotImproving(10), hpo.Converged()]},
    ],
)
def test_python_tuner_round_trips_through_a_request(arguments, definition, validate, space):
    plain = {**space, "kind": hpo.Categorical(["a", "b"]), "u": hpo.Continuous(0, 0.9, scale="reverse_log")}
    tuner = hpo.Tuner(plain, hpo.Maximize("auc", at="last"), **arguments)
    request = request_from_tuner(tuner, job_name="job", training_job_definition=definition)
    validate(request)
    again = tuner_from_request(request)
    assert dict(again.space) == {**tuner.space}
    assert again.objective == tuner.objective
    for part in ("strategy", "early_stopping", "seed", "max_trials", "max_runtime", "stop_when"):
        assert getattr(again.study, part) == getattr(tuner.study, part)
    assert request["TrainingJobDefinition"] == definition


def test_limit_of_a_trial_goes_both_ways(definition):
    def tuner(**arguments):
        return hpo.Tuner({"x": hpo.Continuous(0, 1)}, hpo.Minimize("loss", at="last"), max_trials=3, **arguments)

    def written(tuner, **changes):
        given = definition | changes
        return request_from_tuner(tuner, job_name="job", training_job_definition=given)["TrainingJobDefinition"]

    assert written(tuner())["StoppingCondition"] == {"MaxRuntimeInSeconds": 60}
    limited = written(tuner(max_trial_seconds=600), StoppingCondition={"MaxPendingTimeInSeconds": 7200})
    assert limited["StoppingCondition"] == {"MaxPendingTimeInSeconds": 7200, "MaxRuntimeInSeconds": 600}
    with pytest.raises(hpo.InvalidArgument, match=r"MaxRuntimeInSeconds must be 600, the tuner's .* but got 60"):
        written(tuner(max_trial_seconds=600))
    request = request_from_tuner(tuner(), job_name="job", training_job_definition=definition)
    again = tuner_from_request(request)
    assert again.study.max_trial_seconds == 60
    assert request_from_tuner(again, job_name="job") == request
    changed = tuner_from_request(request, max_trial_seconds=90)
    back = request_from_tuner(changed, job_name="job")["TrainingJobDefinition"]
    assert back["StoppingCondition"] == {"MaxRuntimeInSeconds": 90}


def test_longest_limit_of_several_definitions_counts(caplog):
    request = load("several_definitions")
    limits = [d.setdefault("StoppingCondition", {}) for d in request["TrainingJobDefinitions"]]
    for index, stopping in enumerate(limits):
        stopping["MaxRuntimeInSeconds"] = 100 + index
    tuner = make(request)
    assert tuner.study.max_trial_seconds == 100 + len(limits) - 1
    assert "TrainingJobDefinitions[0].StoppingCondition.MaxRuntimeInSeconds" in caplog.text
    assert request_from_tuner(tuner, job_name=request["HyperParameterTuningJobName"]) == request
    del limits[0]["MaxRuntimeInSeconds"]
    assert make(request, name="other").study.max_trial_seconds is None


def test_categories_must_differ_as_strings():
    tuner = hpo.Tuner({"kind": hpo.Categorical([1, "1"])}, hpo.Minimize("loss"))
    with pytest.raises(hpo.InvalidArgument, match=r"'kind' must have values that differ as strings, .* got \[1, '1'\]"):
        request_from_tuner(tuner, job_name="job")


def test_written_requests_obey_the_service_limits():
    plain = {"x": hpo.Continuous(0, 1)}

    def write(job_name="job", **arguments):
        return request_from_tuner(hpo.Tuner(plain, hpo.Minimize("loss"), **arguments), job_name=job_name)

    path = "HyperParameterTuningJobConfig"
    with pytest.raises(hpo.InvalidArgument, match=f"{path}.ResourceLimits.MaxRuntimeInSeconds must be .* at least 120"):
        write(max_runtime=60)
    with pytest.raises(
        hpo.InvalidArgument, match="MaxNumberOfTrainingJobsNotImproving must be .* at least 3, but got 2"
    ):
        write(stop_when=[hpo.NotImproving(2)])
    with pytest.raises(hpo.InvalidArgument, match="HyperParameterTuningJobName must be a string that matches"):
        write("no_underscores")
    with pytest.raises(hpo.InvalidArgument, match="MaxNumberOfTrainingJobs must be at most 10000 with Strategy Random"):
        write(max_trials=10_001)


def test_unsupported_settings_are_logged(caplog):
    caplog.set_level(logging.WARNING, "hpo_plugins")
    strategy = hpo.Hyperband(max_resource=9, reduction_factor=4, pause=True, search="random")
    stop_when = [hpo.NotImproving(9, min_delta=0.1)]
    tuner = hpo.Tuner({"x": hpo.Integer(1, 9)}, hpo.Minimize("loss"), strategy=strategy, stop_when=stop_when)
    request_from_tuner(tuner, job_name="job")
    (message,) = [m for m in caplog.messages if "no setting" in m]
    for words in ("at='best'", "reduction_factor=4", "pause=True", "NotImproving(trials=9, min_delta=0.1)"):
        assert words in message


def test_later_definition_keeps_static_hyperparameters(definition):
    request = load("hyperband_epochs")
    back = request_from_tuner(make(request), job_name="job", training_job_definition=definition)
    static = {"StaticHyperParameters": {"n-epochs": "27", "lr": "0.1"}}
    assert back["TrainingJobDefinition"] == definition | static
    with pytest.raises(hpo.InvalidArgument, match="must leave StaticHyperParameters to the tuner"):
        request_from_tuner(
            make(request), job_name="job", training_job_definition=definition | {"StaticHyperParameters": {"lr": "1"}}
        )
    with pytest.raises(hpo.InvalidArgument, match="training_job_definition must be None"):
        request_from_tuner(make(load("several_definitions")), job_name="job", training_job_definition=definition)


def test_answer_of_describe_is_read_as_its_request():
    """Everything that the service answers beside the request is left out, by the service's own model."""
    from botocore.session import get_session

    from hpo_plugins.sagemaker.parsing import ANSWER_FIELDS

    model = get_session().get_service_model("sagemaker")
    answered = set(model.shape_for("DescribeHyperParameterTuningJobResponse").members)
    requested = set(model.shape_for("CreateHyperParameterTuningJobRequest").members)
    assert answered - requested == ANSWER_FIELDS - {"ResponseMetadata"}
    request = {
        "HyperParameterTuningJobName": "churn",
        "HyperParameterTuningJobConfig": {
            "Strategy": "Random",
            "HyperParameterTuningJobObjective": {"Type": "Minimize", "MetricName": "validation:logloss"},
            "ResourceLimits": {"MaxNumberOfTrainingJobs": 20, "MaxParallelTrainingJobs": 2},
            "ParameterRanges": {"ContinuousParameterRanges": [{"Name": "eta", "MinValue": "0.001", "MaxValue": "0.5"}]},
        },
    }
    answer = request | {
        "HyperParameterTuningJobArn": "arn:aws:sagemaker:eu-central-1:123456789012:hyper-parameter-tuning-job/churn",
        "HyperParameterTuningJobStatus": "Completed",
        "TrainingJobStatusCounters": {"Completed": 20},
        "ResponseMetadata": {"HTTPStatusCode": 200},
    }
    tuner = hpo.sagemaker.tuner_from_request(answer)
    assert hpo.sagemaker.request_from_tuner(tuner, job_name="churn") == request
