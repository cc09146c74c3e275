"""Parse a request into the arguments of a Tuner.

The shape is checked first (``schema.py``), then the rules between fields. Any mistake raises an InvalidArgument
whose message starts with the JSON path, as the user wrote it: a request is either everything that
``create_hyper_parameter_tuning_job`` takes, or only its ``HyperParameterTuningJobConfig``. The answer of
``describe_hyper_parameter_tuning_job`` contains the request, and is read as that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hpo_plugins.errors import InvalidArgument
from hpo_plugins.objective import Maximize, Minimize, Objective
from hpo_plugins.sagemaker.hyperparameters import read_space, require_categories
from hpo_plugins.sagemaker.node import Node, join
from hpo_plugins.sagemaker.schema import CONFIG, REQUEST, check, load_shapes
from hpo_plugins.space import DefinitionSpace, Space, TrainingDefinition
from hpo_plugins.strategies import Bayesian, Grid, Hyperband, MaxUCB, MedianRule, Random, Strategy
from hpo_plugins.study.termination import Converged, Criterion, NotImproving, TargetReached

EPOCH_NAMES = ("epochs", "numepochs", "n-epochs", "n_epochs", "num_epochs")
"""Static hyperparameters from which Hyperband's MaxResource is inferred."""
MAX_EPOCHS = 20_000
MAX_PARALLEL = 100
MAX_JOBS = {"Bayesian": 750, "Hyperband": 750, "Grid": 750, "Random": 10_000}
"""Maximum number of training jobs of a tuning job, including the jobs of its parents."""

ANSWER_FIELDS = frozenset(
    {
        "HyperParameterTuningJobArn", "HyperParameterTuningJobStatus", "CreationTime", "HyperParameterTuningEndTime",
        "LastModifiedTime", "TrainingJobStatusCounters", "ObjectiveStatusCounters", "BestTrainingJob",
        "OverallBestTrainingJob", "FailureReason", "TuningJobCompletionDetails", "ConsumedResources",
        "ResponseMetadata",
    }
)  # fmt: skip
"""Fields that ``describe_hyper_parameter_tuning_job`` adds to the request."""

_USED = {
    "DefinitionName",
    "TuningObjective",
    "HyperParameterRanges",
    "StaticHyperParameters",
    "RetryStrategy",
    "StoppingCondition",
}


@dataclass(frozen=True)
class ParsedRequest:
    """The contents of a valid request, as a Tuner takes them.

    Attributes:
        request: The complete request, in plain types.
        space: The search space.
        objective: The objective; if definitions name different metrics, that of the first.
        arguments: The Tuner's other arguments.
        parents: The nodes of the names of parent jobs.
        identical: Whether the parents have the same data and algorithm.
        unused: Paths of the fields that have no effect here.
    """

    request: dict[str, Any]
    space: Space
    objective: Objective
    arguments: dict[str, Any]
    parents: list[Node] = field(default_factory=list)
    identical: bool = False
    unused: list[str] = field(default_factory=list)


def parse_request(request: object) -> ParsedRequest:
    """Check a request and return its contents.

    Raises:
        InvalidArgument: The service would refuse it; the message starts with the path of the wrong part.
    """
    if isinstance(request, Mapping) and "HyperParameterTuningJobArn" in request:
        request = {name: value for name, value in request.items() if name not in ANSWER_FIELDS}
    whole = (
        not isinstance(request, Mapping)
        or not request
        or any(name in load_shapes()[REQUEST]["members"] for name in request)
    )
    plain = check(request, REQUEST if whole else CONFIG, "")
    root = Node(plain, "")
    config = root["HyperParameterTuningJobConfig"] if whole else root
    definitions = _definitions(root) if whole else []
    several = len(definitions) > 1
    parts = [_parse_definition(config, node) for node in definitions] or [_parse_definition(config, None)]
    _check_together(config, root.get("WarmStartConfig") if whole else None, several=several)

    arguments = _limits(config) | {"stop_when": _criteria(config), "early_stopping": _early_stopping(config)}
    if (seed := config.get("RandomSeed")) is not None:
        arguments["seed"] = seed.value
    if whole:
        arguments["name"] = plain["HyperParameterTuningJobName"]
        _apply_autotune(root, arguments)
    if definitions and (retries := definitions[0].get("RetryStrategy", "MaximumRetryAttempts")) is not None:
        arguments["retries"] = retries.value
    arguments["max_trial_seconds"] = _trial_limit(definitions)
    space, arguments["strategy"] = _combine(parts, several=several)
    _check_jobs(config, space)
    parents = (
        list(root["WarmStartConfig"].members("ParentHyperParameterTuningJobs")) if "WarmStartConfig" in root else []
    )
    return ParsedRequest(
        request=plain if whole else {"HyperParameterTuningJobConfig": plain},
        space=space,
        objective=parts[0].objective,
        arguments=arguments,
        parents=[_parent_name(node) for node in parents],
        identical=bool(parents) and plain["WarmStartConfig"]["WarmStartType"] == "IdenticalDataAndAlgorithm",
        unused=_unused(root, definitions),
    )


# Training job definitions.


@dataclass(frozen=True)
class _ParsedDefinition:
    """The contents of one training job definition."""

    name: str | None
    space: Space
    objective: Objective
    strategy: Strategy


def _definitions(root: Node) -> list[Node]:
    one, many = root.get("TrainingJobDefinition"), list(root.members("TrainingJobDefinitions"))
    if one is not None and many:
        raise InvalidArgument("TrainingJobDefinitions must be left out beside TrainingJobDefinition, but got both.")
    nodes = many if one is None else [one]
    names: set[str] = set()
    for node in nodes if len(nodes) > 1 else ():
        for needed in ("DefinitionName", "TuningObjective", "HyperParameterRanges"):
            if needed not in node:
                raise InvalidArgument(
                    f"{join(node.path, needed)} must be given if there are several definitions, but is missing."
                )
        if node["DefinitionName"].value in names:
            raise node["DefinitionName"].refusal("a name that no other definition has")
        names.add(node["DefinitionName"].value)
    return nodes


def _parse_definition(config: Node, definition: Node | None) -> _ParsedDefinition:
    static = None if definition is None else definition.get("StaticHyperParameters")
    ranges = _one_of(config, "ParameterRanges", definition, "HyperParameterRanges")
    objective = _one_of(config, "HyperParameterTuningJobObjective", definition, "TuningObjective")
    strategy = _strategy(config, ranges, static, definition)
    metric = objective["MetricName"]
    algorithm = None if definition is None else definition["AlgorithmSpecification"]
    if algorithm is not None:
        if "TrainingImage" in algorithm and "AlgorithmName" in algorithm:
            raise algorithm["AlgorithmName"].refusal("left out beside TrainingImage")
        known = [node["Name"].value for node in algorithm.members("MetricDefinitions")]
        if known and metric.value not in known:
            raise metric.refusal(f"one of the MetricDefinitions of {algorithm.path}, {', '.join(known)}")
    direction = Maximize if objective["Type"].value == "Maximize" else Minimize
    name = None if definition is None else definition.value.get("DefinitionName")
    # The result of a training job in the service is the last value that it emitted.
    return _ParsedDefinition(name, read_space(ranges, static), direction(metric.value, at="last"), strategy)


def _one_of(config: Node, in_config: str, definition: Node | None, in_definition: str) -> Node:
    """Return a field that is given either for the whole job or in a definition, but not in both."""
    places = [node for node in (config.get(in_config), definition and definition.get(in_definition)) if node]
    if len(places) > 1:
        raise places[0].refusal(f"left out beside {places[1].path}")
    if not places:
        raise InvalidArgument(f"{join(config.path, in_config)} must be given, but is missing.")
    return places[0]


def _combine(parts: list[_ParsedDefinition], *, several: bool) -> tuple[Space, Strategy]:
    if not several:
        return parts[0].space, parts[0].strategy
    first = type(parts[0].objective)
    for index, part in enumerate(parts):
        if type(part.objective) is not first:
            raise InvalidArgument(
                f"TrainingJobDefinitions[{index}].TuningObjective.Type must be {first.__name__}, as in the first "
                f"definition, but got {type(part.objective).__name__!r}. Trials of all definitions are compared."
            )
    space = DefinitionSpace([TrainingDefinition(str(part.name), part.space, part.objective) for part in parts])
    return space, MaxUCB({str(part.name): part.strategy for part in parts})


# Rules of the whole job.


def _strategy(config: Node, ranges: Node, static: Node | None, definition: Node | None) -> Strategy:
    hyperband = config.get("StrategyConfig", "HyperbandStrategyConfig")
    kind = config["Strategy"].value
    if kind != "Hyperband" and hyperband is not None:
        raise hyperband.refusal(f"left out with Strategy {kind}")
    match kind:
        case "Grid":
            require_categories(ranges)
            return Grid()
        case "Random":
            return Random()
        case "Bayesian":
            return Bayesian()
    given = None if hyperband is None else hyperband.get("MaxResource")
    most = _epochs(config, static, definition) if given is None else given
    epochs = int(most.value)
    if epochs > MAX_EPOCHS:
        raise most.refusal(f"at most {MAX_EPOCHS} epochs with Strategy Hyperband")
    least = None if hyperband is None else hyperband.get("MinResource")
    if least is not None and least.value > epochs:
        raise least.refusal(f"at most MaxResource, {epochs}")
    # The service's Hyperband draws at random; hpo_plugins.Hyperband can do better.
    return Hyperband(min_resource=1 if least is None else least.value, max_resource=epochs, search="random")


def _epochs(config: Node, static: Node | None, definition: Node | None) -> Node:
    """Return the static hyperparameter that gives the number of epochs of a full training run."""
    found = [static[name] for name in EPOCH_NAMES if name in static] if static is not None else []
    if not found:
        place = "TrainingJobDefinition" if definition is None else definition.path
        raise InvalidArgument(
            f"{join(config.path, 'StrategyConfig')}.HyperbandStrategyConfig.MaxResource must be given, since none of "
            f"{', '.join(EPOCH_NAMES)} is in {place}.StaticHyperParameters."
        )
    if not found[0].value.isascii() or not found[0].value.isdigit() or int(found[0].value[:9]) < 1:
        raise found[0].refusal("a whole number of epochs of at least 1, since Hyperband's MaxResource is read from it")
    return found[0]


def _early_stopping(config: Node) -> MedianRule | None:
    return MedianRule() if config.value.get("TrainingJobEarlyStoppingType") == "Auto" else None


def _check_together(config: Node, warm_start: Node | None, *, several: bool) -> None:
    early = config.get("TrainingJobEarlyStoppingType")
    if early is not None and early.value == "Auto":
        if config["Strategy"].value == "Hyperband":
            raise early.refusal("Off with Strategy Hyperband, which stops trainings itself")
        if several:
            raise early.refusal("Off if there are several definitions")
    if several:
        for name in ("HyperParameterTuningJobObjective", "ParameterRanges"):
            if name in config:
                raise config[name].refusal("left out if there are several definitions, which have their own")
        if warm_start is not None:
            raise warm_start.refusal("left out if there are several definitions")


def _limits(config: Node) -> dict[str, Any]:
    limits = config["ResourceLimits"]
    parallel = limits["MaxParallelTrainingJobs"]
    if parallel.value > MAX_PARALLEL:
        raise parallel.refusal(f"at most {MAX_PARALLEL}, the service's own limit")
    return {
        "max_parallel": parallel.value,
        "max_trials": limits.value.get("MaxNumberOfTrainingJobs"),
        "max_runtime": limits.value.get("MaxRuntimeInSeconds"),
    }


def _trial_limit(definitions: Sequence[Node]) -> int | None:
    """Return the longest time that a training job may take in seconds, None if a definition does not say."""
    limits = [node.get("StoppingCondition", "MaxRuntimeInSeconds") for node in definitions]
    known = [limit.value for limit in limits if limit is not None]
    return max(known) if known and len(known) == len(limits) else None


def trial_limit_of(request: Mapping[str, Any]) -> int | None:
    """Return the longest time that a training job of a checked request may take in seconds, None if it is not given."""
    return _trial_limit(_definitions(Node(request, "")))


def _check_jobs(config: Node, space: Space) -> None:
    jobs, kind = config["ResourceLimits"].get("MaxNumberOfTrainingJobs"), config["Strategy"].value
    if jobs is not None and kind == "Grid" and jobs.value != space.size:
        raise jobs.refusal(f"{space.size}, the number of combinations, with Strategy Grid", "Leave it out.")
    if jobs is not None and jobs.value > MAX_JOBS[kind]:
        raise jobs.refusal(f"at most {MAX_JOBS[kind]} with Strategy {kind}, the service's own limit")


def _criteria(config: Node) -> tuple[Criterion, ...]:
    criteria: list[Criterion] = []
    if (target := config.get("TuningJobCompletionCriteria", "TargetObjectiveMetricValue")) is not None:
        criteria.append(TargetReached(target.value))
    patience = config.get(
        "TuningJobCompletionCriteria", "BestObjectiveNotImproving", "MaxNumberOfTrainingJobsNotImproving"
    )
    if patience is not None:
        criteria.append(NotImproving(patience.value))
    flag = config.get("TuningJobCompletionCriteria", "ConvergenceDetected", "CompleteOnConvergence")
    if flag is not None and flag.value == "Enabled":
        criteria.append(Converged())
    return tuple(criteria)


def _apply_autotune(root: Node, arguments: dict[str, Any]) -> None:
    """With ``Autotune`` and no other limit, stop the study when it has converged."""
    if "Autotune" in root and arguments["max_trials"] is None and not arguments["stop_when"]:
        arguments["stop_when"] = (Converged(),)


def _parent_name(node: Node) -> Node:
    if "HyperParameterTuningJobName" not in node:
        raise InvalidArgument(f"{node.path}.HyperParameterTuningJobName must be given, but is missing.")
    return node["HyperParameterTuningJobName"]


def _unused(root: Node, definitions: list[Node]) -> list[str]:
    fields = [join(node.path, name) for node in definitions for name in node.value if name not in _USED]
    limit = _trial_limit(definitions)
    for node in (node["StoppingCondition"] for node in definitions if "StoppingCondition" in node):
        for name, value in node.value.items():
            if name != "MaxRuntimeInSeconds" or value != limit:
                fields.append(join(node.path, name))
    return fields + [name for name in ("Tags",) if name in root]
