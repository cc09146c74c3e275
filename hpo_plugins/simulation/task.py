"""The results of simulated training runs, drawn from a study's surrogate or returned by a function of the user."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np

from hpo_plugins._validation import real_number, refusal
from hpo_plugins.errors import InvalidArgument
from hpo_plugins.objective import Objective
from hpo_plugins.space import FloatArray, Params

if TYPE_CHECKING:
    from hpo_plugins.modeling.sampled_task import SampledTask

Train: TypeAlias = Callable[[Params], tuple[Sequence[float], float]]
"""From a configuration to the objective's value after each epoch, and the seconds that an epoch takes."""


class Training(NamedTuple):
    """One training run: the losses after each epoch, and how long an epoch takes."""

    losses: FloatArray
    seconds: float


Task: TypeAlias = Callable[[Params], Training]
"""From a configuration to its training."""


def drawn(task: SampledTask) -> Task:
    """Return a task that was drawn from a surrogate."""
    return lambda params: Training(task.train(params), task.seconds(params))


def told(train: Train, objective: Objective) -> Task:
    """Return a task that a function defines.

    Args:
        train: The function.
        objective: Whose values it returns.

    Raises:
        InvalidArgument: It is not a function, or, when the task is used, returns something else.
    """
    if not callable(train):
        raise refusal("train", train, "a function from a configuration to its values and the seconds of an epoch")

    def training(params: Params) -> Training:
        found = train(dict(params))
        try:
            values, seconds = found
            losses = objective.sign * np.asarray(values, dtype=float)
            seconds = real_number("seconds", seconds, above=0)
        except (TypeError, ValueError) as error:  # InvalidArgument is one
            raise _wrong(found) from error
        if losses.ndim != 1 or not len(losses):
            raise _wrong(found)
        return Training(losses, seconds)

    return training


def _wrong(found: object) -> InvalidArgument:
    return InvalidArgument(
        "train must return the objective's values after each epoch, and the seconds that an epoch takes, such as "
        f"([0.9, 0.7, 0.6], 1.5), but it returned {found!r}."
    )
