"""What a process knows of a trial that it holds, beside what the storage knows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hpo_plugins.errors import InvalidReport
from hpo_plugins.records import ReportRow, TrialState
from hpo_plugins.storage.checkpoints import SaveClock


@dataclass
class Held:
    """A trial that this process trains, or that came here through a process boundary."""

    attempt: int
    since: float
    epoch: int = 0
    has_objective: bool = False
    stopping: bool = False
    verdict: TrialState | None = None
    clock: SaveClock = field(default_factory=SaveClock)
    unsaved: list[ReportRow] = field(default_factory=list)


def next_epoch(number: int, epoch: Any, last: int) -> int:
    """Return the epoch of a report as an int.

    Raises:
        InvalidReport: It is not a whole number from 1 on, or lies before ``last``.
    """
    try:
        given = epoch.__index__()
    except AttributeError:
        given = 0
    if isinstance(epoch, bool) or given < 1:
        raise InvalidReport(f"epoch must be a whole number from 1 on (completed epochs), but got epoch={epoch!r}.")
    if given < last:
        raise InvalidReport(
            f"epoch must not go backwards, but got epoch={given} after epoch={last} in trial {number}. "
            "One trial is one training: count on when a training is continued (Keras: initial_epoch; a loop of your "
            "own: from trial.start_epoch), take one trial for each training, and xgboost.cv for folds."
        )
    return int(given)
