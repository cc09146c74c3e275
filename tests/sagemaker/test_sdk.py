"""Requests of SageMaker's Python SDK v3 are read unchanged; ``nox -s sagemaker`` installs it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import hpo_plugins as hpo
from hpo_plugins.sagemaker import request_from_tuner, tuner_from_request

STRATEGIES = {
    "bayesian": hpo.Bayesian,
    "random": hpo.Random,
    "early-stopping": hpo.Bayesian,
    "hyperband": hpo.Hyperband,
}


@pytest.fixture(scope="module")
def requests(tmp_path_factory):
    pytest.importorskip("moto")
    script = Path(__file__).with_name("sdk_requests.py")
    ended = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path_factory.mktemp("sdk"), capture_output=True, text=True, check=False
    )
    if ended.stderr.startswith("skip:"):
        pytest.skip(ended.stderr.strip())
    assert ended.returncode == 0, ended.stderr[-3000:]
    return json.loads(ended.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", STRATEGIES)
def test_request_of_the_sdk_is_read_and_written_unchanged(name, requests, validate):
    request = requests[name]
    validate(request)
    tuner = tuner_from_request(request)
    assert isinstance(tuner.strategy, STRATEGIES[name])
    assert tuner.objective.metric == "validation:logloss"
    assert tuner.space["eta"] == hpo.Continuous(0.001, 0.5, scale="log")
    assert tuner.space["max_depth"] == hpo.Integer(2, 12)
    assert set(tuner.space["grow_policy"].values) == {"depthwise", "lossguide"}
    assert (tuner.study.max_trials, tuner.study.max_parallel) == (12, 2)
    assert tuner.ask().params["num_round"] == "81"
    assert request_from_tuner(tuner, job_name=name) == request
