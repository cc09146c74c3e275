"""Record what every search chooses for given seeds, and compare two records: a refactoring must change nothing.

python -m benchmarks trajectories record before.json
python -m benchmarks trajectories compare before.json
"""

import argparse
import json
import logging
import math
import sys
from pathlib import Path

import hpo_plugins as hpo

SPACE = {
    "eta": hpo.Continuous(1e-4, 1.0, scale="log"),
    "depth": hpo.Integer(1, 8),
    "width": hpo.Integer(8, 2048, scale="log"),
    "kind": hpo.Categorical(["a", True, 1, 1.0, None]),
    "decay": hpo.Continuous(0.9, 0.9999, scale="reverse_log"),
}
FINITE = {"a": hpo.Categorical(["x", "y", "z"]), "b": hpo.Categorical([True, 1, 1.0, None]), "c": hpo.Integer(1, 2)}
EPOCHS = 27
# Costs in epochs: on a busy machine measured seconds would decide, and no two records would agree.
STRATEGIES = {
    "random": hpo.Random,
    "bayesian": hpo.Bayesian,
    "bayesian, stop": lambda: hpo.Bayesian(max_resource=EPOCHS, cost="epochs"),
    "bayesian, pause": lambda: hpo.Bayesian(max_resource=EPOCHS, cost="epochs", pause=True),
    "hyperband": lambda: hpo.Hyperband(max_resource=EPOCHS, cost="epochs"),
    "hyperband, pause": lambda: hpo.Hyperband(max_resource=EPOCHS, cost="epochs", pause=True),
    "hyperband, random": lambda: hpo.Hyperband(max_resource=EPOCHS, cost="epochs", search="random"),
    "hyperband, eta 2, from 2": lambda: hpo.Hyperband(
        min_resource=2, max_resource=EPOCHS, cost="epochs", reduction_factor=2
    ),
}


def loss(params, epoch):
    """A made-up curve with noise that depends on the configuration alone; some configurations diverge."""
    text = json.dumps(params, sort_keys=True)
    noise = (sum(ord(c) * (i + 1) for i, c in enumerate(text)) * 2654435761 % 2**32) / 2**32
    floor = abs(math.log10(params.get("eta", 0.01)) + 2) + 0.05 * params.get("depth", 1) + 0.2 * noise
    floor += 0.1 * (params.get("kind") is None) + 0.02 * abs(math.log(params.get("width", 64) / 300))
    if noise > 0.95:
        return math.nan if epoch > 5 else floor + epoch
    return floor + (1 + noise) / epoch


def train(trial):
    """Train a trial until it ends or must stop."""
    for epoch in range(trial.start_epoch + 1, EPOCHS + 1):
        if trial.report(epoch, {"loss": loss(trial.params, epoch)}):
            break


def sequential(tuner):
    """Run a search in one loop, and return its trials."""
    for trial in tuner:
        train(trial)
    return rows(tuner)


def parallel(tuner, workers=4):
    """Workers that take turns, an epoch each."""
    held = []
    while True:
        while len(held) < workers and (trial := tuner.ask()) is not None:
            held.append([trial, trial.start_epoch])
        if not held:
            if tuner.done:
                return rows(tuner)
            raise AssertionError("nothing to do, and not done")
        for one in list(held):
            trial, epoch = one
            one[1] += 1
            if epoch == EPOCHS or trial.report(one[1], {"loss": loss(trial.params, one[1])}):
                trial.end()
                held.remove(one)


def rows(tuner):
    """Return what is compared of each trial."""
    return [[repr(t.params), t.state.value, t.epochs, repr(t.value), t.attempts] for t in tuner.trials]


def request(strategy, definitions):
    """Return a SageMaker request with several training definitions."""
    ranges = {
        "ContinuousParameterRanges": [{"Name": "eta", "MinValue": "0.0001", "MaxValue": "1"}],
        "IntegerParameterRanges": [{"Name": "depth", "MinValue": "1", "MaxValue": "8"}],
    }
    config = {"Strategy": strategy, "ResourceLimits": {"MaxNumberOfTrainingJobs": 24, "MaxParallelTrainingJobs": 4}}
    if strategy == "Hyperband":
        config["StrategyConfig"] = {"HyperbandStrategyConfig": {"MinResource": 1, "MaxResource": EPOCHS}}
    objective = {"Type": "Minimize", "MetricName": "loss"}
    base = {
        "AlgorithmSpecification": {"TrainingInputMode": "File", "TrainingImage": "image"},
        "RoleArn": "arn:aws:iam::123456789012:role/tuning",
        "OutputDataConfig": {"S3OutputPath": "s3://bucket/out"},
        "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
    }
    many = [
        base | {"DefinitionName": name, "TuningObjective": objective, "HyperParameterRanges": ranges}
        for name in definitions
    ]
    return {
        "HyperParameterTuningJobName": "job",
        "HyperParameterTuningJobConfig": config | {"RandomSeed": 3},
        "TrainingJobDefinitions": many,
    }


def everything():
    """Run all searches, and return their trials by name."""
    found = {}
    objective = hpo.Minimize("loss")
    for name, make in STRATEGIES.items():
        for at in ("best", "last"):
            found[f"{name}, {at}"] = sequential(
                hpo.Tuner(SPACE, hpo.Minimize("loss", at=at), strategy=make(), seed=1, max_trials=24)
            )
        found[f"{name}, finite"] = sequential(hpo.Tuner(FINITE, objective, strategy=make(), seed=2))
        found[f"{name}, parallel"] = parallel(hpo.Tuner(SPACE, objective, strategy=make(), seed=3, max_trials=24))
    grid = {k: v for k, v in FINITE.items() if k != "c"}
    found["grid"] = sequential(hpo.Tuner(grid, objective, strategy=hpo.Grid(), seed=0))
    parent = hpo.Tuner(SPACE, objective, strategy=hpo.Random(), seed=9, max_trials=16)
    sequential(parent)
    for identical in (False, True):
        for name in ("bayesian", "bayesian, pause", "hyperband"):
            tuner = hpo.Tuner(
                SPACE,
                objective,
                strategy=STRATEGIES[name](),
                seed=4,
                max_trials=16,
                warm_start=hpo.WarmStart([parent], identical=identical),
            )
            found[f"{name}, warm start, identical={identical}"] = sequential(tuner)
    for strategy in ("Random", "Bayesian", "Hyperband"):
        found[f"definitions, {strategy}"] = sequential(
            hpo.sagemaker.tuner_from_request(request(strategy, ["forest", "boosting"]))
        )
    found["median rule"] = sequential(
        hpo.Tuner(SPACE, objective, strategy=hpo.Random(), early_stopping=hpo.MedianRule(), seed=5, max_trials=30)
    )
    return found


def main():
    """Record all searches, or compare them with a record."""
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["record", "compare"])
    parser.add_argument("path", type=Path)
    arguments = parser.parse_args()
    command, path = arguments.command, arguments.path
    logging.getLogger("hpo_plugins").setLevel(logging.ERROR)
    found = json.loads(json.dumps(everything()))
    if command == "record":
        path.write_text(json.dumps(found, indent=1))
        print(f"{len(found)} searches of {sum(map(len, found.values()))} trials recorded")
        return
    before = json.loads(path.read_text())
    other = [name for name in before if before[name] != found.get(name)]
    for name in other:
        first = next(
            (i for i, (a, b) in enumerate(zip(before[name], found.get(name, []), strict=False)) if a != b), "length"
        )
        print(f"differs: {name} at trial {first}")
    print(f"{len(before) - len(other)} of {len(before)} searches are the same")
    sys.exit(bool(other))
