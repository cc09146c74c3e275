"""The trials of earlier studies (``warm_start``), as strategies see them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hpo_plugins.history.curve import Curve
from hpo_plugins.history.outcomes import Outcome
from hpo_plugins.records import TrialState
from hpo_plugins.space import FloatArray


@dataclass(frozen=True, slots=True)
class ParentTrial:
    """A trial of an earlier study.

    Attributes:
        point: Its configuration in *this* study's unit cube, shape ``(d,)``.
        curve: Its losses by epoch, according to this study's objective.
        state: The state in which it was copied.
        outcome: What it has reached of several goals; None if the study has one, or if the parent does not know that.
    """

    point: FloatArray
    curve: Curve
    state: TrialState
    outcome: Outcome | None = None


@dataclass(frozen=True, slots=True)
class ParentTrials:
    """Trials of one earlier study; a study's parents never change.

    Attributes:
        name: The earlier study's name.
        identical: True if data and algorithm are this study's, so that the trials count as its own observations;
            False if they only guide the search.
        trials: The trials; those of a parent that is not identical are clipped to this study's space.
    """

    name: str
    identical: bool
    trials: Sequence[ParentTrial]
