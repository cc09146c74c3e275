"""The example requests, and what is done with them."""

import copy
import json
from pathlib import Path

import hpo_plugins as hpo
from hpo_plugins.sagemaker.parsing import parse_request

REQUESTS = sorted((Path(__file__).parent / "requests").glob("*.json"))


def load(name):
    return json.loads((Path(__file__).parent / "requests" / f"{name}.json").read_text(encoding="utf-8"))


def job_name(request):
    return request.get("HyperParameterTuningJobName", "given-later")


def in_full(request):
    """The request as boto3 takes it, when it is a configuration alone."""
    if "HyperParameterTuningJobConfig" in request:
        return request
    return {"HyperParameterTuningJobName": job_name(request), "HyperParameterTuningJobConfig": request}


def make(request, **arguments):
    """The tuner of a request, with empty parents where it names some."""
    parsed = parse_request(request)
    if parsed.parents and "warm_start" not in arguments:
        arguments["warm_start"] = [
            hpo.Tuner(parsed.space, parsed.objective, max_trials=1, name=node.value) for node in parsed.parents
        ]
    return hpo.sagemaker.tuner_from_request(request, **arguments)


def at(request, path):
    """The container and the key at the end of a path of keys."""
    for key in path[:-1]:
        request = request[key]
    return request, path[-1]


def changed(request, path, value):
    request = copy.deepcopy(request)
    container, key = at(request, path)
    container[key] = value
    return request
