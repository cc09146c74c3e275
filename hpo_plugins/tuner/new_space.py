"""Copy a study into another search space: what still fits becomes the new study's own results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from hpo_plugins._fields import evolve
from hpo_plugins._validation import refusal
from hpo_plugins.coordination.adding import FinishedTrial, add
from hpo_plugins.coordination.opening import open_study
from hpo_plugins.coordination.renaming import appears_whole
from hpo_plugins.coordination.session import LeaseTerms
from hpo_plugins.errors import InvalidArgument
from hpo_plugins.records import WHOLE_TRIAL, TrialRecord, TrialState
from hpo_plugins.space import DefinitionSpace, Parameter, Space
from hpo_plugins.storage import ManagedStorage
from hpo_plugins.study.config import StudyConfig


def copy_into(
    config: StudyConfig,
    records: tuple[TrialRecord, ...],
    space: Mapping[str, Parameter],
    storage: ManagedStorage,
    name: str,
) -> tuple[str, ...]:
    """Write a study with another space and the trials that fit, and return in words what was left out.

    The study has its name once it is complete. Paused trials are stopped ones there, since a training run of another
    study cannot be resumed; running ones are left out.

    Args:
        config: The definition of the study that is copied.
        records: Its trials.
        space: The new space.
        storage: Where to write.
        name: The new study's name.

    Raises:
        InvalidArgument: The space is none or does not fit the strategy, a trial has folds, or no trial fits.
    """
    made = _definition(config, space)
    if any(record.folds for record in records):
        raise InvalidArgument("space must be None for a study whose trials have folds, but got a new space.")
    fitting, reasons = [], dict[int, str]()
    for record in records:
        try:
            fitting.append(_finished(record, made.space))
        except InvalidArgument as error:
            reasons[record.number] = str(error)
    if not fitting:
        first = next(iter(reasons.values()), "it has none")
        raise InvalidArgument(f"space must fit at least one trial of the study, but: {first}")
    with appears_whole(storage, name) as unfinished:
        session = open_study(
            made, unfinished, storage, keeps_seed=False, checkpoint_dir=None, policy="auto", terms=LeaseTerms()
        )
        for trial in fitting:
            add(session, trial)
    return tuple(f"Trial {number} was left out: {reason}" for number, reason in reasons.items())


def _definition(config: StudyConfig, space: Mapping[str, Parameter]) -> StudyConfig:
    """Return the definition with another space; configurations to try first and parents belong to the old one."""
    if not isinstance(space, Mapping):
        raise refusal("space", space, "a dict of parameters")
    if isinstance(config.space, DefinitionSpace):
        raise InvalidArgument("space must be None for a study with several training definitions, but got a new space.")
    new = Space(space, config.space.fixed, valid=config.space.valid)
    return evolve(config, space=new, points_to_evaluate=(), parents=None)


def _finished(record: TrialRecord, space: Space) -> FinishedTrial:
    """Return a trial as a finished one of the new space."""
    if record.state is TrialState.RUNNING:
        raise InvalidArgument("it is running.")
    rule = record.stop_rule or ""
    metrics = {**({WHOLE_TRIAL: record.recorded} if record.recorded else {}), **record.metrics}
    trial = FinishedTrial(space.checked(record.params), record.curve, record.state, rule, record.error, metrics)
    if record.state is TrialState.PAUSED:
        trial = replace(trial, state=TrialState.STOPPED, rule="paused in the study that was copied")
    return replace(trial, seconds=max(record.seconds.values(), default=None))
