"""Create a tuner from a request: parse it, load the parent jobs, and log which fields have no effect here."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from hpo_plugins.errors import InvalidArgument, StudyNotFound
from hpo_plugins.sagemaker.node import Node
from hpo_plugins.sagemaker.parsing import MAX_JOBS, ParsedRequest, parse_request
from hpo_plugins.space import DefinitionSpace
from hpo_plugins.storage import open_storage
from hpo_plugins.strategies import MaxUCB
from hpo_plugins.study.warm_start import WarmStart
from hpo_plugins.tuner import DEFAULT_NAME, Tuner

logger = logging.getLogger("hpo_plugins")

REQUEST_NOTE = "sagemaker_request"
"""The key under which the study's notes keep the request, for ``request_from_tuner``."""

_GIVEN_BY_REQUEST = ("space", "objective", "notes")


def tuner_from_request(request: Mapping[str, Any], **tuner_arguments: Any) -> Tuner:
    """Return the tuner that a tuning job's request describes.

    As in the service, a trial's value is the value of its last epoch, and Hyperband draws its configurations at
    random. Static hyperparameters are in every trial's ``params``; like categories, they are strings, as in the
    request. With several ``TrainingJobDefinitions``, ``trial.definition`` says which one to train. The study has the
    name of the job. The parent jobs of a warm start are looked up by name in ``storage``, unless ``warm_start`` gives
    a parent for each of them, in the same order.

    Args:
        request: What ``create_hyper_parameter_tuning_job`` takes, or its ``HyperParameterTuningJobConfig`` alone, or
            what ``describe_hyper_parameter_tuning_job`` answers. It is kept with the study, for
            ``request_from_tuner``.
        **tuner_arguments: Further arguments of ``Tuner``, such as ``storage``; they override the request.

    Returns:
        The tuner.

    Raises:
        InvalidArgument: The service would refuse the request, or a further argument is unknown; the message starts
            with the path of the wrong part.
        StudyNotFound: A parent job is not in the storage.
    """
    parsed = parse_request(request)
    _check_arguments(tuner_arguments)
    arguments = parsed.arguments | tuner_arguments
    strategy = arguments["strategy"]
    if isinstance(parsed.space, DefinitionSpace) and not isinstance(strategy, MaxUCB):
        arguments["strategy"] = MaxUCB(dict.fromkeys(parsed.space.definitions, strategy))
    if tuner_arguments.get("seed") is not None:
        parsed.request["HyperParameterTuningJobConfig"]["RandomSeed"] = tuner_arguments["seed"]
    if parsed.parents:
        arguments["warm_start"] = _warm_start(parsed, arguments)
    try:
        tuner = Tuner(parsed.space, parsed.objective, notes={REQUEST_NOTE: parsed.request}, **arguments)
    except InvalidArgument as error:
        if parsed.parents and str(error).startswith("warm_start"):
            raise InvalidArgument(f"WarmStartConfig does not fit: {error}") from error
        raise
    if parsed.unused:
        logger.warning("fields without effect here, kept for request_from_tuner: %s", ", ".join(parsed.unused))
    return tuner


def _check_arguments(arguments: Mapping[str, Any]) -> None:
    known = [name for name in inspect.signature(Tuner).parameters if name not in _GIVEN_BY_REQUEST]
    for name in arguments:
        if name not in known:
            said = "comes from the request" if name in _GIVEN_BY_REQUEST else "is unknown"
            raise InvalidArgument(f"{name} must be one of {', '.join(known)}, but {name} {said}.")


def _warm_start(parsed: ParsedRequest, arguments: Mapping[str, Any]) -> WarmStart:
    """Return the parents, after checking the rules that apply only to the parents of a request."""
    given = arguments.get("warm_start")
    parents = given.parents if isinstance(given, WarmStart) else given
    if parents is None:
        parents = [_load(node, arguments) for node in parsed.parents]
    if not isinstance(parents, Sequence) or len(parents) != len(parsed.parents):
        raise InvalidArgument(
            f"warm_start must have a parent for each of the {len(parsed.parents)} jobs in "
            f"WarmStartConfig.ParentHyperParameterTuningJobs, but got warm_start={given!r}."
        )
    tuners = [parent if isinstance(parent, Tuner) else Tuner.load(parent) for parent in parents]
    for node, parent in zip(parsed.parents, tuners, strict=True):
        if parsed.identical:
            _check_identical(node, parent, parsed.request)
    _check_total(parsed, tuners, arguments["max_trials"])
    return WarmStart(tuners, identical=parsed.identical)


def _load(node: Node, arguments: Mapping[str, Any]) -> Tuner:
    storage = arguments.get("storage")
    if node.value == arguments.get("name", DEFAULT_NAME):
        raise node.refusal("the name of another job")
    try:
        return Tuner.load(open_storage(None) if storage is None else storage, node.value)
    except StudyNotFound as error:
        raise StudyNotFound(
            f"{node.path} names a study that was not found: {error} Give the storage= that holds it, or "
            "warm_start=[...] with a tuner for each parent job."
        ) from error


def _check_identical(node: Node, parent: Tuner, request: Mapping[str, Any]) -> None:
    """Raise InvalidArgument if the data or the algorithm differ, where both are known."""
    parent_definition = (parent.study.notes or {}).get(REQUEST_NOTE, {}).get("TrainingJobDefinition")
    definition = request.get("TrainingJobDefinition")
    if parent_definition is None or definition is None:
        return
    for field, part in (("InputDataConfig", "data"), ("AlgorithmSpecification", "algorithm")):
        if parent_definition.get(field) != definition.get(field):
            raise node.refusal(
                f"a job with the same {part} (TrainingJobDefinition.{field}) for IdenticalDataAndAlgorithm",
                "Use WarmStartType TransferLearning.",
            )


def _check_total(parsed: ParsedRequest, parents: Sequence[Tuner], max_trials: int | None) -> None:
    strategy = parsed.request["HyperParameterTuningJobConfig"]["Strategy"]
    earlier, limit = sum(len(parent.trials) for parent in parents), MAX_JOBS[strategy]
    if (max_trials or 1) + earlier > limit:
        raise InvalidArgument(
            f"HyperParameterTuningJobConfig.ResourceLimits.MaxNumberOfTrainingJobs must be at most {limit} with "
            f"Strategy {strategy}, including the parents' jobs, but is {max_trials}, and the parents have {earlier}."
        )
