"""Helpers of several callbacks: their trial, the arguments of the framework's function, and errors."""

from __future__ import annotations

import inspect
import re
import weakref
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from hpo_plugins.errors import CheckpointError, HpoError, InvalidArgument, MetricNotFound
from hpo_plugins.extending import best_checkpoint_of as best_checkpoint_of
from hpo_plugins.extending import handle_of as handle_of
from hpo_plugins.records import TrialRecord, TrialState
from hpo_plugins.trial import TrainingHandle

T = TypeVar("T")


def best_rounds_of(record: TrialRecord) -> tuple[Path, int]:
    """Return a checkpoint of a boosting trial, and the number of its rounds in the best model.

    Raises:
        CheckpointError: There is no checkpoint that has that many.
    """
    if isinstance(record, TrialRecord) and record.best_checkpoint is None and record.checkpoint is not None:
        return Path(record.checkpoint), record.best_epoch or 0
    return best_checkpoint_of(record), record.best_epoch or 0


def hint_of_order(error: MetricNotFound, callback: object, callbacks: Collection[object]) -> MetricNotFound:
    """Return the error that the objective's metric is missing, with a hint if a later callback may add it.

    Args:
        error: The error.
        callback: Our callback.
        callbacks: All callbacks of the training run, in their order; XGBoost before 3.1 knows no order.
    """
    if not isinstance(callbacks, Sequence):
        return error
    place = next((place for place, other in enumerate(callbacks) if other is callback), len(callbacks))
    package = type(callback).__mro__[1].__module__.partition(".")[0]
    later = [type(other).__name__ for other in callbacks[place + 1 :] if not type(other).__module__.startswith(package)]
    if not later:
        return error
    hint = f"If {' or '.join(later)} adds it, put it before TrialCallback."
    return MetricNotFound(error.metric, error.reported, hint)


def ask_rank_zero(ask: Callable[[], T], broadcast: Callable[[Any], Any], *, is_rank_zero: bool) -> T:
    """Return rank 0's answer, or raise its exception, on every rank, so that no rank is left waiting.

    Args:
        ask: Called on rank 0 only.
        broadcast: Returns rank 0's argument on every rank.
        is_rank_zero: Whether this is rank 0.
    """
    outcome: Any = None
    if is_rank_zero:
        try:
            outcome = ask()
        except HpoError as error:
            outcome = error
    outcome = broadcast(outcome)
    if isinstance(outcome, HpoError):
        raise outcome
    return outcome  # type: ignore[no-any-return]  # rank 0's answer


def caller_arguments(functions: Collection[str], variable: str) -> Mapping[str, Any]:
    """Return the arguments and variables of the framework's function that is calling us, empty if it is not found.

    Frameworks do not pass all their arguments to callbacks. These are local variables of the function further up the
    stack.

    Args:
        functions: The names that the function may have.
        variable: A variable that distinguishes it from other functions of these names.
    """
    frame = inspect.currentframe()
    while frame is not None:
        if frame.f_code.co_name in functions and variable in frame.f_locals:
            return frame.f_locals
        frame = frame.f_back
    return {}


def calling_object(kind: type) -> Any:
    """Return the object of a kind whose method is calling us, None if there is none.

    Args:
        kind: Its class.
    """
    frame = inspect.currentframe()
    while frame is not None:
        if isinstance(found := frame.f_locals.get("self"), kind):
            return found
        frame = frame.f_back
    return None


def damaged(path: Path, framework: str, number: int, error: Exception) -> CheckpointError:
    """Return the error that a checkpoint cannot be read.

    Args:
        path: The checkpoint.
        framework: The framework that it should have been written by.
        number: The trial.
        error: The error that reading it raised.
    """
    return CheckpointError(f"The checkpoint {path} is damaged or not written by {framework}: {error}. {cure(number)}")


def not_of_the_best(path: Path, record: TrialRecord, epoch: int) -> CheckpointError:
    """Return the error that a checkpoint cannot be turned into the model of a trial's best epoch.

    Args:
        path: The checkpoint.
        record: The trial.
        epoch: The epoch that the checkpoint is of.
    """
    return CheckpointError(
        f"The checkpoint {path} is of epoch {epoch}, and the best epoch of trial {record.number} is "
        f"{record.best_epoch}. "
        'Search with Tuner(checkpoints="best"), or train the configuration again for that many epochs.'
    )


def of_another_model(path: Path, number: int, difference: str) -> CheckpointError:
    """Return the error that a checkpoint does not fit the training run's model.

    Args:
        path: The checkpoint.
        number: The trial.
        difference: Their difference.
    """
    return CheckpointError(f"The checkpoint {path} is of another model: {difference}. {cure(number)}")


def begins_elsewhere(number: int, start: int, begins: int, how: str, unit: str = "epoch") -> HpoError:
    """Return the error that a training run does not begin where its trial does.

    Args:
        number: The trial.
        start: The epoch after which the trial must continue, 0 if it is new.
        begins: The epoch after which this training run begins.
        how: The cure, in words.
        unit: The counted unit.
    """
    if start:
        return CheckpointError(
            f"Trial {number} resumes after {unit} {start}, but this training begins after {unit} {begins}. {how}"
        )
    return InvalidArgument(
        f"Trial {number} is new, but its training resumes after {unit} {begins} of another one's checkpoint. {how}"
    )


_writers: weakref.WeakKeyDictionary[object, dict[str, int]] = weakref.WeakKeyDictionary()
"""Which trial has written to which path first, for each study that this process trains."""


def warn_of_shared_path(trial: TrainingHandle, callback: object, path: Path, *, is_apart: bool = False) -> None:
    """Warn if trials of which one is trained while another is not over write to the same path, or seem to.

    Args:
        trial: The trial that begins.
        callback: The framework's callback that writes.
        path: Where to.
        is_apart: Whether it keeps existing files of others, so that only simultaneous trials collide.
    """
    session, number = trial.plugin.visit().session, trial.trial_number
    first = _writers.setdefault(session, {}).setdefault(str(path.absolute()), number)
    name, trials = type(callback).__name__, f"trial {first} and in trial {number}"
    if first == number:
        at_once, trials = False, f"trial {number}, and in others if they have the same path"
        if seems_own(trial, path):
            return
    else:
        at_once = any(other.state is TrialState.RUNNING and other.row.number != number for other in session.history)
    if at_once or (trial.plugin.can_pause and not is_apart):
        trial.plugin.warn_once(
            f"files of {name}",
            f"{name} writes to {path} in {trials}: after a pause, or with several workers, a trial finds the files of "
            "another there. Put trial.number into the path.",
        )


def seems_own(trial: TrainingHandle, path: Path) -> bool:
    """Return whether no other trial seems to write to a path: it has the trial's number, or there is one trial."""
    here, place = Path.cwd(), path.absolute()
    chosen = place.relative_to(here) if place.is_relative_to(here) else place
    is_named = re.search(rf"(?<!\d){trial.trial_number}(?!\d)", str(chosen)) is not None
    return is_named or trial.plugin.visit().session.config.trial_limit == 1


def cure(number: int) -> str:
    """Return the cure for a trial's unusable checkpoint, in words."""
    return f"Put the right file back, or train the trial from the start again: tuner.restart({number})."
