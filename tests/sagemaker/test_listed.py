"""Steps and orders in requests: the service knows neither, so their values become categories."""

import pytest

import hpo_plugins as hpo
from hpo_plugins.sagemaker import request_from_tuner, tuner_from_request

DEFINITION = {
    "AlgorithmSpecification": {"TrainingImage": "image", "TrainingInputMode": "File"},
    "RoleArn": "arn:aws:iam::123456789012:role/r",
    "OutputDataConfig": {"S3OutputPath": "s3://b/o"},
    "StoppingCondition": {"MaxRuntimeInSeconds": 60},
}


def request_of(space, **arguments):
    tuner = hpo.Tuner(space, hpo.Minimize("loss", at="last"), seed=0, **arguments)
    return request_from_tuner(tuner, job_name="job", training_job_definition=DEFINITION)


def test_steps_and_orders_become_categories(caplog):
    space = {
        "width": hpo.Ordinal([16, 32]),
        "drop": hpo.Continuous(0, 0.2, step=0.1),
        "batch": hpo.Integer(16, 48, step=16),
        "n": hpo.Integer(1, 9),
    }
    ranges = request_of(space, max_trials=3)["HyperParameterTuningJobConfig"]["ParameterRanges"]
    assert [(r["Name"], r["Values"]) for r in ranges["CategoricalParameterRanges"]] == [
        ("width", ["16", "32"]),
        ("drop", ["0.0", "0.1", "0.2"]),
        ("batch", ["16", "32", "48"]),
    ]
    assert [r["Name"] for r in ranges["IntegerParameterRanges"]] == ["n"]
    assert "the order of the values of 'width'; the order of the values of 'drop'" in caplog.text


def test_more_values_than_the_service_takes_are_refused_by_name():
    with pytest.raises(hpo.InvalidArgument, match=r"'batch' must have at most 30 values.* has 32. Use a larger step"):
        request_of({"batch": hpo.Integer(16, 512, step=16)}, max_trials=3)


def test_grid_of_ordered_values_is_a_grid_of_categories():
    request = request_of({"width": hpo.Ordinal([16, 32]), "n": hpo.Integer(1, 3, step=1)}, strategy=hpo.Grid())
    again = tuner_from_request(request)
    assert again.strategy == hpo.Grid()
    assert again.space.size == 6


def test_beliefs_are_left_out_and_said_once(caplog):
    space = {"lr": hpo.Continuous(1e-4, 0.1, scale="log", prior=1e-3), "kind": hpo.Categorical(["a", "b"], prior="a")}
    plain = {name: parameter.without_belief() for name, parameter in space.items()}
    ranges = []
    for each, strategy in ((space, hpo.Random()), (plain, hpo.Random()), (space, hpo.Random(use_priors=False))):
        tuner = hpo.Tuner(each, hpo.Minimize("loss", at="last"), strategy=strategy, max_trials=3, seed=0)
        request = hpo.sagemaker.request_from_tuner(tuner, job_name="job")
        ranges.append(request["HyperParameterTuningJobConfig"]["ParameterRanges"])
    assert ranges[0] == ranges[1] == ranges[2]
    assert [message for message in caplog.messages if "no setting" in message] == [
        "the request leaves out, as the service has no setting for: the beliefs (prior=) about 'lr', 'kind'"
    ]
