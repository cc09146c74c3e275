"""A view of a study with several goals, whose trials have one loss; ``weighted`` says which."""

from __future__ import annotations

from typing import cast

from hpo_plugins.history.curve import Curve
from hpo_plugins.history.history import History
from hpo_plugins.history.parents import ParentTrials
from hpo_plugins.history.trial_history import TrialHistory
from hpo_plugins.objective import Goals, Minimize, Objective
from hpo_plugins.records import TrialRow
from hpo_plugins.space import FloatArray

DISTANCE = "distance to the ideal point"
"""The name of the loss of several objectives."""


class _ShownTrial(TrialHistory):
    """A trial with the losses of a view."""

    __slots__ = ("shown",)

    def __init__(self, row: TrialRow, point: FloatArray, last_fold: int | None = None) -> None:
        super().__init__(row, point, last_fold)
        self.shown = Curve()

    @property
    def curve(self) -> Curve:
        """Its losses by epoch, as the view shows them."""
        return self.shown


class WeightedHistory(History):
    """A view of a study with several goals, whose trials have one loss.

    Args:
        whole: The study, or a view of its first folds.
        goals: Its goals.
        modelled: The same view for surrogates, None if that is this one.
    """

    trial_type = _ShownTrial

    def __init__(self, whole: History, goals: Goals, modelled: WeightedHistory | None) -> None:
        """Show no trials yet."""
        objectives = goals.objectives
        objective: Objective = objectives[0] if len(objectives) == 1 else Minimize(DISTANCE, at=objectives[0].at)
        super().__init__(
            whole.space, objective, whole.max_trials, whole.checkpoint_root, whole.parents, last_fold=whole.last_fold
        )
        self.whole = whole
        self.limits = goals.constraints
        self._modelled = modelled

    @property
    def modelled(self) -> History:
        """This view for surrogates."""
        return self if self._modelled is None else self._modelled

    @property
    def hopeless(self) -> frozenset[int]:  # type: ignore[override]  # it changes with the trials
        """Numbers of the trials whose training is over without an epoch that meets the limits."""
        whole = self.whole
        if not self.limits:
            return frozenset()
        own = [number for number in range(len(self)) if whole.outcome(number).is_hopeless]
        earlier = enumerate(self.identical_trials, len(self))
        return frozenset(own + [number for number, each in earlier if each.outcome and each.outcome.is_hopeless])

    def loss(self, number: int) -> float | None:
        """Return the loss of a trial in this view."""
        return self.own_loss(number)

    def show(self, trial: TrialHistory, curve: Curve) -> None:
        """Show a trial with these losses."""
        self.follow(trial)
        cast("_ShownTrial", self[trial.row.number]).shown = curve  # this class makes its trials

    def show_parents(self, parents: tuple[ParentTrials, ...]) -> None:
        """Show the parents' trials with other losses."""
        self.parents = parents
        vars(self).pop("parents_digest", None)
