"""The arguments of callbacks and of ``load_model``: the same sentence from every framework for the same mistake."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hpo_plugins.errors import CheckpointError, InvalidArgument
from hpo_plugins.records import TrialRecord
from hpo_plugins.trial import TrainingHandle
from hpo_plugins.tuner import Tuner


def handle_of(trial: object) -> TrainingHandle:
    """Return the trial or fold that a callback was given.

    Raises:
        InvalidArgument: It is something else; the message says what to write instead.
    """
    if isinstance(trial, TrainingHandle):
        return trial
    loop = "Write: for trial in tuner: ... TrialCallback(trial)"
    given = (
        f"TrialCallback must be given a trial that a tuner has yielded, or a fold of it, but got {type(trial).__name__}"
    )
    if isinstance(trial, Tuner):
        raise InvalidArgument(f"{given}, which yields the trials. {loop}.")
    if isinstance(trial, TrialRecord):
        raise InvalidArgument(f"{given}, the record of a trial that is over. {loop}.")
    if isinstance(trial, Mapping):
        raise InvalidArgument(f"{given}: pass the trial itself, not trial.params. {loop}.")
    if trial is None:
        raise InvalidArgument(f"{given}: tuner.ask() returns None when there is nothing to train. {loop}.")
    raise InvalidArgument(f"{given}: {trial!r}. {loop}.")


def best_checkpoint_of(record: TrialRecord) -> Path:
    """Return the checkpoint of a trial's best epoch.

    Raises:
        CheckpointError: None was saved; the message says how to.
    """
    if not isinstance(record, TrialRecord):
        raise InvalidArgument(
            f"load_model must be given the record of a trial, such as tuner.best_trial, but got {record!r}."
        )
    if record.best_checkpoint is None:
        raise CheckpointError(
            f"There is no checkpoint of trial {record.number} at its best epoch, {record.best_epoch}. Search with "
            'Tuner(checkpoints="best"), which saves it, or train the configuration again for that many epochs.'
        )
    return Path(record.best_checkpoint)
