"""Bayesian optimisation: a Gaussian process over configurations, and over epochs where trainings are judged by it.

Notation
    R       max_resource, the epochs of a full training
    grid    the epochs at which trainings are judged: 2, 3, 5, 8, 13, ... R

References:
    Jones, Schonlau, Welch, "Efficient Global Optimization of Expensive Black-Box Functions", Journal of Global
    Optimization 13, 1998.
    Snoek, Larochelle, Adams, "Practical Bayesian Optimization of Machine Learning Algorithms", NeurIPS 2012.
    Swersky, Snoek, Adams, "Freeze-Thaw Bayesian Optimization", arXiv 1406.3896, 2014.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hpo_plugins._validation import whole_number
from hpo_plugins.errors import InvalidArgument
from hpo_plugins.history import History
from hpo_plugins.modeling import freeze_thaw as allocation
from hpo_plugins.modeling.model import INITIAL_CURVES, Model, model_of, opening, propose, unseen_draw
from hpo_plugins.modeling.observations import grid, known_points
from hpo_plugins.records import TrialState
from hpo_plugins.space import Params
from hpo_plugins.strategies.base import Decision, Resume, Start, Strategy
from hpo_plugins.surrogate.threads import on_one_core

IRREVOCABLE = 4.0
"""How much surer a stop must be after a full training's epochs than after none: it is a choice that cannot be mended.

Regret on LCBench (10 instances, 3 seeds) at 10, 25, 50 and 100 %: with 0 .328 .180 .084 .015, with 4 .332 .136 .063
.022, with 10 .394 .184 .090 .022.
"""
LOOK = 3
"""Epochs that each of the first, random configurations is trained before the model has a say, where it can go on later.

Regret on LCBench (10 instances, 2 seeds): without a look .279 .139 .066 .015, with three epochs .225 .121 .040 .020.
"""


@dataclass(frozen=True)
class Bayesian(Strategy):
    """Let a model of everything known choose configurations and, if asked, judge every training.

    Args:
        max_resource: Epochs of a full training. With it, the model learns from every epoch and judges every running
            training at epochs 2, 3, 5, 8, 13 and so on: the training goes on while its next epochs are expected to
            bring more than those of any other. Without it, nothing is stopped (``Tuner(early_stopping=)`` may).
        pause: What becomes of a training that is judged to wait: False stops it for good, True freezes it with a
            checkpoint, and it goes on from there when its next epochs are worth most.
        cost: What an epoch costs when the worth of epochs is compared: ``"epochs"``, all the same, so that a seed
            fixes the search; or ``"seconds"``, the time they take, measured while trainings run and predicted for
            new configurations. What starting or thawing a training takes counts with both.

    Raises:
        InvalidArgument: ``max_resource`` is not a whole number of at least 1, ``pause`` comes without it, or ``cost``
            is another word.
    """

    max_resource: int | None = None
    pause: bool = False
    cost: Literal["epochs", "seconds"] = "epochs"

    def __post_init__(self) -> None:
        """Check the arguments."""
        if not isinstance(self.pause, bool):
            raise InvalidArgument(f"pause must be True or False, but got pause={self.pause!r}.")
        if self.cost not in ("epochs", "seconds"):
            raise InvalidArgument(f"cost must be 'epochs' or 'seconds', but got cost={self.cost!r}.")
        if self.max_resource is not None:
            whole_number("max_resource", self.max_resource, at_least=1)
        elif self.pause:
            raise InvalidArgument(
                "pause=True needs max_resource, the epochs of a full training, but got max_resource=None. "
                "Give the number that you give to epochs=, max_epochs= or num_boost_round=."
            )

    @property
    def stops_trainings(self) -> bool:  # type: ignore[override]
        """Whether it judges trainings itself."""
        return self.max_resource is not None

    def suggest(self, history: History, seed: int) -> Params:
        """Return the configuration of the largest expected improvement; the first few are random draws."""
        return propose(history, seed, _unfinished_curves(history))

    def next_action(self, history: History, seed: int, *, may_start: bool) -> Start | Resume | None:
        """Return the new configuration or the frozen training whose next epochs are expected to bring most."""
        if self.max_resource is None:
            return super().next_action(history, seed, may_start=may_start)
        if may_start and len(known_points(history)) < INITIAL_CURVES:
            return Start(opening(history, seed))
        return self._next(history, seed, may_start)

    @on_one_core
    def _next(self, history: History, seed: int, may_start: bool) -> Start | Resume | None:
        model = model_of(history, self.max_resource)
        if model is None:  # no two results yet: all failed, or they are under way
            frozen = [n for n in sorted(history.unfinished) if history[n].state is TrialState.PAUSED]
            return Start(unseen_draw(history, seed)) if may_start else Resume(frozen[0]) if frozen else None
        choices = allocation.trainings(model, None, may_start=may_start, may_thaw=self.pause)
        choice = allocation.choose(model, choices, None, timed=self.cost == "seconds")
        if choice is None or (not may_start and choice.chance < allocation.HOPELESS):
            return Start(unseen_draw(history, seed)) if may_start else None
        if choice.training.number is not None:
            return Resume(choice.training.number)
        return Start(history.space.decode(choice.training.point))

    def on_report(self, history: History, number: int, epoch: int) -> Decision | None:
        """Compare what the training's next epochs are worth with what else could be trained."""
        if self.max_resource is None:
            return None
        if epoch >= self.max_resource:
            return Decision(TrialState.COMPLETED, f"reached max_resource={self.max_resource}")
        if self.pause and number < INITIAL_CURVES and history[number].row.start_epoch == 0:
            # A look at each of the first, as far as it takes to see how curves go on.
            enough = min(LOOK, self.max_resource)
            return Decision(TrialState.PAUSED, f"{_WORDS[TrialState.PAUSED]}: a first look") if epoch >= enough else None
        is_due = history[number].curve.milestone_passed(epoch, grid(self.max_resource)) is not None
        return self._judge(history, number) if is_due else None

    @on_one_core
    def _judge(self, history: History, number: int) -> Decision | None:
        model = model_of(history, self.max_resource)
        if model is None:
            return None
        choices = allocation.trainings(model, number, may_start=history.may_start, may_thaw=self.pause)
        # What is stopped is lost with all its epochs: the more they are, the surer it must be. What is paused is not.
        spent = history[number].curve.epochs[-1] / (self.max_resource or 1)
        favour = 1.0 if self.pause else 1.0 + IRREVOCABLE * spent
        choice = allocation.choose(model, choices, number, timed=self.cost == "seconds", favour=favour)
        hopeful = choice is not None and (history.may_start or choice.chance >= allocation.HOPELESS)
        if choice is not None and choice.training.number == number and hopeful:
            return None
        state = TrialState.PAUSED if self.pause else TrialState.STOPPED
        return Decision(state, f"{_WORDS[state]}: {self._expectation(model, number)}")

    @on_one_core
    def final_reason(self, history: History, number: int) -> str:
        """Return what the model expects of the trial."""
        model = model_of(history, self.max_resource)
        known = super().final_reason(history, number)
        return known if model is None else f"{_WORDS[TrialState.STOPPED]}: {self._expectation(model, number)}"

    def _expectation(self, model: Model, number: int) -> str:
        """Return in words what the model expects of a training."""
        from hpo_plugins.surrogate.acquisition import chance_of_improvement

        mean, deviation = model.posterior.at(model.at(model.points[[number]], self.max_resource or 1))
        chance = float(chance_of_improvement(mean, deviation, model.best)[0])
        shown = model.history.objective.loss
        expected, best = (shown(model.scale.back(loss)) for loss in (float(mean[0]), model.best))
        spread = float(deviation[0]) * model.scale.spread * model.scale.unit
        return (
            f"expected {expected:.4g} +- {spread:.2g} at epoch {self.max_resource}, best is {best:.4g}: "
            f"chance to win {chance:.1%}"
        )

    def full_training(self) -> int | None:
        """Return ``max_resource``."""
        return self.max_resource

    def describe(self) -> str:
        """Return what the strategy will do."""
        if self.max_resource is None:
            return "Bayesian: the configuration of the largest expected improvement; no training is stopped."
        verb = "frozen, and thawed when its next epochs are worth most" if self.pause else "stopped"
        epochs = ", ".join(map(str, grid(self.max_resource)))
        return f"Bayesian: every training is judged at epochs {epochs}; one that others surpass is {verb}."


def _unfinished_curves(history: History) -> int | None:
    """Return the longest training's epochs where trainings are known by a part of their curve only, else None.

    Finished trainings are known by their value, which makes a smaller and better posed problem than their curves.
    """
    partly = (TrialState.RUNNING, TrialState.STOPPED)
    if not any(trial.state in partly and len(trial.curve) for trial in history):
        return None
    longest = max(trial.curve.epochs[-1] for trial in history if len(trial.curve))
    return longest if longest > 1 else None


_WORDS = {
    TrialState.STOPPED: "not worth another epoch",
    TrialState.PAUSED: "others come first",
}
