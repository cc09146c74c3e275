"""A tuner from a request: its arguments are parsed, its parents loaded, and fields without meaning here logged."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from hpo_plugins.errors import InvalidArgument, StudyNotFound
from hpo_plugins.sagemaker.parsing import MAX_JOBS, parse
from hpo_plugins.sagemaker.schema import Node
from hpo_plugins.space import DefinitionSpace
from hpo_plugins.storage import open_storage
from hpo_plugins.strategies import MaxUCB
from hpo_plugins.study.warm_start import WarmStart
from hpo_plugins.tuner import DEFAULT_NAME, Tuner

logger = logging.getLogger("hpo_plugins")

REQUEST_NOTE = "sagemaker_request"
"""The note of a study that keeps the request, for ``request_from_tuner``."""

_GIVEN_BY_REQUEST = ("space", "objective", "notes")


def tuner_from_request(request: Mapping[str, Any], **tuner_arguments: Any) -> Tuner:
    """Return the tuner that a tuning job's request describes.

    As in the service, a trial's value is that of its last epoch, and Hyperband draws configurations at random. Static
    hyperparameters are in every trial's ``params``; they and categories are strings, as in the request. With several
    ``TrainingJobDefinitions``, ``trial.definition`` names the one to train. The study has the job's name. The parent
    jobs of a warm start are the studies of these names in ``storage``, unless ``warm_start`` gives them in their order.

    Args:
        request: The arguments of ``create_hyper_parameter_tuning_job``, or its ``HyperParameterTuningJobConfig`` alone.
            It is stored with the study, for ``request_from_tuner``.
        **tuner_arguments: Further arguments of ``Tuner``, such as ``storage``; they override the request.

    Raises:
        InvalidArgument: The service would refuse the request, or a further argument is unknown; the message names
            the path of what is wrong.
        StudyNotFound: A parent job is not in the storage.
    """
    parsed = parse(request)
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
        logger.warning("without effect here, and kept for request_from_tuner: %s", ", ".join(parsed.unused))
    return tuner


def _check_arguments(arguments: Mapping[str, Any]) -> None:
    known = [name for name in inspect.signature(Tuner).parameters if name not in _GIVEN_BY_REQUEST]
    for name in arguments:
        if name not in known:
            said = "comes from the request" if name in _GIVEN_BY_REQUEST else "is unknown"
            raise InvalidArgument(f"{name} must be one of {', '.join(known)}, but {name} {said}.")


def _warm_start(parsed: Reading, arguments: Mapping[str, Any]) -> WarmStart:
    """Return the parents, after checking the rules that apply only to requests."""
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
        raise node.refusal("another job than this one")
    try:
        return Tuner.load(open_storage(None) if storage is None else storage, node.value)
    except StudyNotFound as error:
        raise StudyNotFound(
            f"{node.path} names a study that was not found: {error} Give the storage= that holds it, or "
            "warm_start=[...] with a tuner for each parent job."
        ) from error


def _check_identical(node: Node, parent: Tuner, request: Mapping[str, Any]) -> None:
    """Raise InvalidArgument if data or algorithm are known to differ."""
    theirs = (parent.study.notes or {}).get(REQUEST_NOTE, {}).get("TrainingJobDefinition")
    ours = request.get("TrainingJobDefinition")
    if theirs is None or ours is None:
        return
    for field, part in (("InputDataConfig", "data"), ("AlgorithmSpecification", "algorithm")):
        if theirs.get(field) != ours.get(field):
            raise node.refusal(
                f"a job with the same {part} (TrainingJobDefinition.{field}) for IdenticalDataAndAlgorithm",
                "Use WarmStartType TransferLearning.",
            )


def _check_total(parsed: Reading, parents: Sequence[Tuner], max_trials: int | None) -> None:
    kind = parsed.request["HyperParameterTuningJobConfig"]["Strategy"]
    earlier, most = sum(len(parent.trials) for parent in parents), MAX_JOBS[kind]
    if (max_trials or 1) + earlier > most:
        raise InvalidArgument(
            f"HyperParameterTuningJobConfig.ResourceLimits.MaxNumberOfTrainingJobs must be at most {most} with "
            f"Strategy {kind}, parents' jobs included, but is {max_trials}, and parents have {earlier}."
        )
