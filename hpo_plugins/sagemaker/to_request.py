"""A request from a tuner.

The parts of a tuner that came from a request are returned unchanged, unless the tuner now differs from them. The result
is parsed before it is returned, so that it obeys every rule that requests must obey.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Mapping
from typing import Any

from hpo_plugins.errors import InvalidArgument
from hpo_plugins.sagemaker.from_request import REQUEST_NOTE
from hpo_plugins.sagemaker.hyperparameters import write_ranges, write_value
from hpo_plugins.sagemaker.parsing import parse
from hpo_plugins.space import DefinitionSpace
from hpo_plugins.strategies import Hyperband, MaxUCB, MedianRule, Strategy
from hpo_plugins.study.config import StudyConfig
from hpo_plugins.study.termination import Converged, Criterion, NotImproving, TargetReached
from hpo_plugins.tuner import Tuner

logger = logging.getLogger("hpo_plugins")

_SECTIONS = {
    "strategy": ("Strategy", "StrategyConfig"),
    "early_stopping": ("TrainingJobEarlyStoppingType",),
    "max_trials": ("ResourceLimits",),
    "max_runtime": ("ResourceLimits",),
    "max_parallel": ("ResourceLimits",),
    "stop_when": ("TuningJobCompletionCriteria",),
}
"""Arguments of Tuner to the parts of a HyperParameterTuningJobConfig that express them."""


def request_from_tuner(
    tuner: Tuner, *, job_name: str, training_job_definition: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the arguments of boto3's ``create_hyper_parameter_tuning_job`` that start this search in the service.

    Args:
        tuner: Any tuner; one that came from a request returns all of it.
        job_name: The tuning job's name.
        training_job_definition: How the service trains: image, role, instances, data. Fixed values of the space are
            added to its ``StaticHyperParameters``. None omits it, unless the tuner came from a request that has it.

    Raises:
        InvalidArgument: The service would refuse it; the message names the JSON path.
    """
    study = tuner.study
    kept = (study.notes or {}).get(REQUEST_NOTE)
    request = _new_request(study, job_name) if kept is None else _updated_request(kept, study, job_name)
    if training_job_definition is not None:
        if "TrainingJobDefinitions" in request:
            raise InvalidArgument(
                "training_job_definition must be None for a tuner with TrainingJobDefinitions: they are kept with it."
            )
        request["TrainingJobDefinition"] = _definition(request, training_job_definition)
    if study.space.fixed and kept is None:
        _add_fixed(request, study)
    parse(request)
    if omitted := list(_omitted(study)):
        logger.warning("the request omits what the service has no setting for: %s", "; ".join(omitted))
    return request


def _updated_request(kept: Mapping[str, Any], study: StudyConfig, job_name: str) -> dict[str, Any]:
    """Return a kept request, with those parts rewritten in which the study now differs."""
    parts = {name: part for name, part in kept.items() if name != "HyperParameterTuningJobName"}
    request = copy.deepcopy({"HyperParameterTuningJobName": job_name, **parts})
    config = request["HyperParameterTuningJobConfig"]
    kept_arguments = parse(request).arguments
    for argument, sections in _SECTIONS.items():
        if kept_arguments[argument] == getattr(study, argument):
            continue
        current = _config(study)
        for section in sections:
            config.pop(section, None)
            if section in current:
                config[section] = current[section]
    return request


def _new_request(study: StudyConfig, job_name: str) -> dict[str, Any]:
    request: dict[str, Any] = {
        "HyperParameterTuningJobName": job_name,
        "HyperParameterTuningJobConfig": _config(study),
    }
    if study.parents is not None:
        request["WarmStartConfig"] = {
            "ParentHyperParameterTuningJobs": [
                {"HyperParameterTuningJobName": parent.name} for parent in study.parents.studies
            ],
            "WarmStartType": "IdenticalDataAndAlgorithm" if study.parents.identical else "TransferLearning",
        }
    return request


def _config(study: StudyConfig) -> dict[str, Any]:
    config = _strategy(study.strategy)
    if not isinstance(study.space, DefinitionSpace):
        config["HyperParameterTuningJobObjective"] = {
            "Type": type(study.objective).__name__,
            "MetricName": study.objective.metric,
        }
        config["ParameterRanges"] = write_ranges(study.space)
    limits = {
        "MaxNumberOfTrainingJobs": study.max_trials,
        "MaxParallelTrainingJobs": study.max_parallel or 1,
        "MaxRuntimeInSeconds": _whole_seconds(study.max_runtime),
    }
    config["ResourceLimits"] = {name: limit for name, limit in limits.items() if limit is not None}
    config["TrainingJobEarlyStoppingType"] = "Off" if study.early_stopping is None else "Auto"
    if study.stop_when:
        config["TuningJobCompletionCriteria"] = _criteria(study)
    config["RandomSeed"] = study.seed
    return config


def _strategy(strategy: Strategy) -> dict[str, Any]:
    if isinstance(strategy, MaxUCB):
        written = [_strategy(one) for one in strategy.strategies.values()]
        if any(one != written[0] for one in written):
            raise InvalidArgument("strategy must be the same for all definitions, as the service has but one.")
        return written[0]
    config: dict[str, Any] = {"Strategy": type(strategy).__name__}
    if isinstance(strategy, Hyperband):
        resources = {"MinResource": strategy.min_resource, "MaxResource": strategy.max_resource}
        config["StrategyConfig"] = {"HyperbandStrategyConfig": resources}
    return config


def _criteria(study: StudyConfig) -> dict[str, Any]:
    """Return the completion criteria; of two of the same kind, the one that is met first."""
    written: dict[str, Any] = {}
    targets = [criterion.value for criterion in study.stop_when if isinstance(criterion, TargetReached)]
    patience = [criterion.trials for criterion in study.stop_when if isinstance(criterion, NotImproving)]
    if targets:
        written["TargetObjectiveMetricValue"] = max(targets, key=study.objective.loss)
    if patience:
        written["BestObjectiveNotImproving"] = {"MaxNumberOfTrainingJobsNotImproving": min(patience)}
    if any(isinstance(criterion, Converged) for criterion in study.stop_when):
        written["ConvergenceDetected"] = {"CompleteOnConvergence": "Enabled"}
    return written


def _whole_seconds(seconds: float | None) -> int | float | None:
    return int(seconds) if seconds is not None and float(seconds).is_integer() else seconds


def _definition(request: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a given definition, completed by what the kept one says about the search."""
    definition = copy.deepcopy(dict(given))
    before = request.get("TrainingJobDefinition", {})
    for name in ("DefinitionName", "TuningObjective", "HyperParameterRanges", "StaticHyperParameters"):
        if name in before and definition.setdefault(name, before[name]) != before[name]:
            raise InvalidArgument(f"training_job_definition must not contain another {name} than the tuner's own.")
    return definition


def _add_fixed(request: dict[str, Any], study: StudyConfig) -> None:
    static = request.setdefault("TrainingJobDefinition", {}).setdefault("StaticHyperParameters", {})
    for name, value in study.space.fixed.items():
        if static.setdefault(name, write_value(value)) != write_value(value):
            raise InvalidArgument(
                f"training_job_definition.StaticHyperParameters.{name} must be {write_value(value)!r}, the value that "
                f"the tuner has fixed, but got {static[name]!r}."
            )


def _omitted(study: StudyConfig) -> Iterator[str]:
    """Yield the settings that a request cannot express."""
    if study.objective.at != "last":
        yield f"at={study.objective.at!r} of the objective (the service takes a training's last value)"
    for strategy in study.strategy.strategies.values() if isinstance(study.strategy, MaxUCB) else [study.strategy]:
        said = {"name", "min_resource", "max_resource"} if isinstance(strategy, Hyperband) else {"name"}
        plain = {"Hyperband": {"reduction_factor": 3, "search": "random", "pause": False}}
        usual = plain.get(type(strategy).__name__) or type(strategy)().to_json()
        for name, value in strategy.to_json().items():
            if name not in said and value != usual.get(name, value):
                yield f"{name}={value!r} of {type(strategy).__name__}"
    if study.early_stopping not in (None, MedianRule()):
        yield f"the arguments of {study.early_stopping!r}"
    for criterion in study.stop_when:
        if criterion != _service_default(criterion):
            yield f"the arguments of {criterion!r}"


def _service_default(criterion: Criterion) -> Criterion:
    """Return the criterion with the service's own settings."""
    if isinstance(criterion, NotImproving):
        return NotImproving(criterion.trials)
    return Converged() if isinstance(criterion, Converged) else criterion
