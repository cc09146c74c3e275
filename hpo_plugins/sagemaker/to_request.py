"""Create a request that the service accepts from a tuner.

A tuner that was created from a request returns it unchanged, except for the sections whose settings have changed
since. The result is parsed before it is returned, so it obeys every rule that ``tuner_from_request`` checks.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Mapping
from typing import Any

from hpo_plugins.errors import InvalidArgument
from hpo_plugins.sagemaker.from_request import REQUEST_NOTE
from hpo_plugins.sagemaker.hyperparameters import write_ranges, write_value
from hpo_plugins.sagemaker.parsing import parse_request, trial_limit_of
from hpo_plugins.space import Continuous, DefinitionSpace, Integer, Ordinal
from hpo_plugins.strategies import Hyperband, MaxUCB, MedianRule, Strategy
from hpo_plugins.study.config import StudyConfig
from hpo_plugins.study.stored import to_json
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
"""For each argument of the tuner, the sections of ``HyperParameterTuningJobConfig`` that hold it."""


def request_from_tuner(
    tuner: Tuner, *, job_name: str, training_job_definition: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the request for boto3's ``create_hyper_parameter_tuning_job`` that runs this study in the service.

    Args:
        tuner: Any tuner. One that was created from a request returns all of its fields.
        job_name: The tuning job's name.
        training_job_definition: How the service trains: image, role, instances and data. The fixed values of the space
            are added to its ``StaticHyperParameters``. None keeps the definition of the original request, if any.

    Returns:
        The request, in plain types.

    Raises:
        InvalidArgument: The service would refuse it; the message starts with the path of the wrong part.
    """
    if not isinstance(tuner, Tuner):
        raise InvalidArgument(f"tuner must be a Tuner, but got tuner={tuner!r}.")
    study = tuner.study
    if study.space.valid is not None:
        raise InvalidArgument(
            f"tuner must not have a constraint, since the service has none between parameters, but has "
            f"valid={study.space.valid!r}."
        )
    if study.goals is not None:
        goals = ", ".join(map(repr, (*study.further_objectives, *study.constraints)))
        raise InvalidArgument(
            "tuner must have one objective and no constraints, since the service knows one objective "
            f"({study.objective.metric!r}) and no limits, but has {goals} too."
        )
    kept = (study.notes or {}).get(REQUEST_NOTE)
    request = _new_request(study, job_name) if kept is None else _updated_request(kept, study, job_name)
    if training_job_definition is not None:
        if "TrainingJobDefinitions" in request:
            raise InvalidArgument(
                "training_job_definition must be None for a tuner with TrainingJobDefinitions: it keeps them."
            )
        request["TrainingJobDefinition"] = _definition(request, training_job_definition)
    if study.space.fixed and kept is None:
        _add_fixed(request, study)
    _limit_trials(request, study, kept)
    parse_request(request)
    if unsupported := list(_unsupported(study)):
        logger.warning("the request leaves out, as the service has no setting for: %s", "; ".join(unsupported))
    return request


def _updated_request(kept: Mapping[str, Any], study: StudyConfig, job_name: str) -> dict[str, Any]:
    """Return the original request, with the sections replaced whose settings differ from the study."""
    parts = {name: part for name, part in kept.items() if name != "HyperParameterTuningJobName"}
    request = copy.deepcopy({"HyperParameterTuningJobName": job_name, **parts})
    config = request["HyperParameterTuningJobConfig"]
    original = parse_request(request).arguments
    for argument, sections in _SECTIONS.items():
        if original[argument] == getattr(study, argument):
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
            raise InvalidArgument("strategy must be the same for all definitions, as a tuning job has only one.")
        return written[0]
    config: dict[str, Any] = {"Strategy": type(strategy).__name__}
    if isinstance(strategy, Hyperband):
        resources = {"MinResource": strategy.min_resource, "MaxResource": strategy.max_resource}
        config["StrategyConfig"] = {"HyperbandStrategyConfig": resources}
    return config


def _criteria(study: StudyConfig) -> dict[str, Any]:
    """Return the completion criteria; of several of the same kind, the one that is met first."""
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
    """Return the given definition, with the search settings of the original one added."""
    definition = copy.deepcopy(dict(given))
    before = request.get("TrainingJobDefinition", {})
    for name in ("DefinitionName", "TuningObjective", "HyperParameterRanges", "StaticHyperParameters"):
        if name in before and definition.setdefault(name, before[name]) != before[name]:
            raise InvalidArgument(f"training_job_definition must leave {name} to the tuner, which already has it.")
    return definition


def _add_fixed(request: dict[str, Any], study: StudyConfig) -> None:
    static = request.setdefault("TrainingJobDefinition", {}).setdefault("StaticHyperParameters", {})
    for name, value in study.space.fixed.items():
        if static.setdefault(name, write_value(value)) != write_value(value):
            raise InvalidArgument(
                f"training_job_definition.StaticHyperParameters.{name} must be {write_value(value)!r}, the value "
                f"fixed in the tuner's space, but got {static[name]!r}."
            )


def _limit_trials(request: dict[str, Any], study: StudyConfig, kept: Mapping[str, Any] | None) -> None:
    """Give each training definition the limit of a trial, unless that is the one that the request had."""
    limit = _whole_seconds(study.max_trial_seconds)
    if limit == (None if kept is None else trial_limit_of(kept)):  # each definition keeps its own
        return
    one = [("TrainingJobDefinition", request[name]) for name in ("TrainingJobDefinition",) if name in request]
    many = [(f"TrainingJobDefinitions[{n}]", each) for n, each in enumerate(request.get("TrainingJobDefinitions", ()))]
    if not one + many:
        logger.warning("the request leaves out max_trial_seconds=%s, which a training job definition holds", limit)
    for path, definition in one + many:
        stopping = definition.setdefault("StoppingCondition", {})
        given = stopping.pop("MaxRuntimeInSeconds", None)
        if kept is None and given not in (None, limit):
            raise InvalidArgument(
                f"{path}.StoppingCondition.MaxRuntimeInSeconds must be {limit}, the tuner's max_trial_seconds, but got "
                f"{given!r}. Leave it out."
            )
        if limit is not None:
            stopping["MaxRuntimeInSeconds"] = limit


def _unsupported(study: StudyConfig) -> Iterator[str]:
    """Yield the settings that a request cannot express."""
    if study.objective.at != "last":
        yield f"at={study.objective.at!r} of the objective (the service takes the last value of a training job)"
    for strategy in study.strategy.strategies.values() if isinstance(study.strategy, MaxUCB) else [study.strategy]:
        supported = {"name", "min_resource", "max_resource"} if isinstance(strategy, Hyperband) else {"name"}
        service_defaults = {"Hyperband": {"reduction_factor": 3, "search": "random", "pause": False}}
        defaults = service_defaults.get(type(strategy).__name__) or to_json(type(strategy)())
        for name, value in to_json(strategy).items():
            if name not in supported | {"use_priors"} and value != defaults.get(name, value):
                yield f"{name}={value!r} of {type(strategy).__name__}"
    for name, parameter in study.space.items():
        if isinstance(parameter, Ordinal) or (isinstance(parameter, Continuous | Integer) and parameter.step):
            yield f"the order of the values of {name!r}"
    believed = [name for name, parameter in study.space.items() if parameter.prior is not None]
    if believed and getattr(study.strategy, "use_priors", True):
        yield f"the beliefs (prior=) about {', '.join(map(repr, believed))}"
    if study.early_stopping not in (None, MedianRule()):
        yield f"the arguments of {study.early_stopping!r}"
    if study.points_to_evaluate:
        yield f"the {len(study.points_to_evaluate)} points_to_evaluate"
    for criterion in study.stop_when:
        if criterion != _service_version(criterion):
            yield f"the arguments of {criterion!r}"


def _service_version(criterion: Criterion) -> Criterion:
    """Return the criterion with the arguments that the service uses."""
    if isinstance(criterion, NotImproving):
        return NotImproving(criterion.trials)
    return Converged() if isinstance(criterion, Converged) else criterion
