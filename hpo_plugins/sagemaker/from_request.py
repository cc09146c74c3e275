"""A request to a Tuner: the arguments are read, the parents are found, what is not used is said once."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from hpo_plugins.errors import InvalidArgument, StudyNotFound
from hpo_plugins.sagemaker.parsing import MAX_JOBS, Reading, read
from hpo_plugins.sagemaker.schema import Node
from hpo_plugins.space import DefinitionSpace
from hpo_plugins.storage import open_storage
from hpo_plugins.strategies import MaxUCB
from hpo_plugins.study.warm_start import WarmStart
from hpo_plugins.tuner import DEFAULT_NAME, Tuner

logger = logging.getLogger("hpo_plugins")

KEPT = "sagemaker_request"
"""The study's note in which the request is kept, for the way back."""

_GIVEN_BY_REQUEST = ("space", "objective", "notes")


def tuner_from_request(request: Mapping[str, Any], **tuner_arguments: Any) -> Tuner:
    """Return the tuner that a tuning job's request describes.

    A trial's value is its last epoch's, as in the service, and Hyperband draws its configurations at random, as
    there. Static hyperparameters are in every trial's ``params``; they and categories are strings, as they are in the
    request. With several ``TrainingJobDefinitions``, ``trial.definition`` says which one to train. The study's name
    is the job's. Parent jobs of a warm start are the studies of these names in ``storage``, unless ``warm_start``
    gives others in their order.

    Args:
        request: What ``create_hyper_parameter_tuning_job`` takes, or its ``HyperParameterTuningJobConfig`` alone. It
            is kept with the study, for ``request_from_tuner``.
        **tuner_arguments: Further arguments of ``Tuner``, such as ``storage``; they go before what the request says.

    Raises:
        InvalidArgument: The service would refuse the request, or a further argument is unknown; the message names
            the path of what is wrong.
        StudyNotFound: A parent job is not in the storage.
    """
    reading = read(request)
    _check_arguments(tuner_arguments)
    arguments = reading.arguments | tuner_arguments
    strategy = arguments["strategy"]
    if isinstance(reading.space, DefinitionSpace) and not isinstance(strategy, MaxUCB):
        arguments["strategy"] = MaxUCB(dict.fromkeys(reading.space.definitions, strategy))
    if tuner_arguments.get("seed") is not None:
        reading.request["HyperParameterTuningJobConfig"]["RandomSeed"] = tuner_arguments["seed"]
    if reading.parents:
        arguments["warm_start"] = _warm_start(reading, arguments)
    try:
        tuner = Tuner(reading.space, reading.objective, notes={KEPT: reading.request}, **arguments)
    except InvalidArgument as error:
        if reading.parents and str(error).startswith("warm_start"):
            raise InvalidArgument(f"WarmStartConfig does not fit: {error}") from error
        raise
    if reading.unused:
        logger.warning("not used here, and kept for the way back: %s", ", ".join(reading.unused))
    return tuner


def _check_arguments(arguments: Mapping[str, Any]) -> None:
    known = [name for name in inspect.signature(Tuner).parameters if name not in _GIVEN_BY_REQUEST]
    for name in arguments:
        if name not in known:
            said = "comes from the request" if name in _GIVEN_BY_REQUEST else "is unknown"
            raise InvalidArgument(f"{name} must be one of {', '.join(known)}, but {name} {said}.")


def _warm_start(reading: Reading, arguments: Mapping[str, Any]) -> WarmStart:
    """Return the parents, after the rules that only a request's parents have."""
    given = arguments.get("warm_start")
    parents = given.parents if isinstance(given, WarmStart) else given
    if parents is None:
        parents = [_load(node, arguments) for node in reading.parents]
    if not isinstance(parents, Sequence) or len(parents) != len(reading.parents):
        raise InvalidArgument(
            f"warm_start must have a parent for each of the {len(reading.parents)} jobs in "
            f"WarmStartConfig.ParentHyperParameterTuningJobs, but got warm_start={given!r}."
        )
    tuners = [parent if isinstance(parent, Tuner) else Tuner.load(parent) for parent in parents]
    for node, parent in zip(reading.parents, tuners, strict=True):
        if reading.identical:
            _check_identical(node, parent, reading.request)
    _check_total(reading, tuners, arguments["max_trials"])
    return WarmStart(tuners, identical=reading.identical)


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
    """Compare data and algorithm, where both are known."""
    theirs = (parent.study.notes or {}).get(KEPT, {}).get("TrainingJobDefinition")
    ours = request.get("TrainingJobDefinition")
    if theirs is None or ours is None:
        return
    for field, part in (("InputDataConfig", "data"), ("AlgorithmSpecification", "algorithm")):
        if theirs.get(field) != ours.get(field):
            raise node.refusal(
                f"a job with the same {part} (TrainingJobDefinition.{field}) for IdenticalDataAndAlgorithm",
                "Use WarmStartType TransferLearning.",
            )


def _check_total(reading: Reading, parents: Sequence[Tuner], max_trials: int | None) -> None:
    kind = reading.request["HyperParameterTuningJobConfig"]["Strategy"]
    earlier, most = sum(len(parent.trials) for parent in parents), MAX_JOBS[kind]
    if (max_trials or 1) + earlier > most:
        raise InvalidArgument(
            f"HyperParameterTuningJobConfig.ResourceLimits.MaxNumberOfTrainingJobs must be at most {most} with "
            f"Strategy {kind}, parents' jobs included, but is {max_trials}, and parents have {earlier}."
        )
