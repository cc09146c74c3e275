"""Bayesian optimisation with a Gaussian process over configurations and, if it judges training runs, over epochs.

Notation
    R       max_resource, the epochs of a full training run
    grid    the epochs at which training runs are judged: 2, 3, 5, 8, 13, ... R

Without R, each trial has one value, and the next configuration is the one of largest expected improvement (Jones et
al.; trials that are running count with their predicted value). With R, every epoch of every trial is an observation,
and each training run competes for its next epochs with all others and with new configurations (see
``modeling/freeze_thaw.py``).

References:
    Jones, Schonlau, Welch, "Efficient Global Optimization of Expensive Black-Box Functions", Journal of Global
    Optimization 13, 1998.
    Snoek, Larochelle, Adams, "Practical Bayesian Optimization of Machine Learning Algorithms", NeurIPS 2012.
    Swersky, Snoek, Adams, "Freeze-Thaw Bayesian Optimization", arXiv 1406.3896, 2014.

Differs from the papers in:
    1. Hyperparameters are maximum a posteriori estimates instead of samples (Snoek et al.).
    2. The surrogate, the value of an option and its cost are those of ``modeling``, see there.
    3. A training run is judged inside its own loop when it passes an epoch of the grid. With ``pause=False`` it is
       stopped permanently instead of frozen. The more epochs a stop loses, the larger is the required margin
       (``STOP_MARGIN``).
    4. With ``pause=False``, the first trials are compared with each other instead (successive halving, see
       ``N_COMPARED``): with few curves the surrogate predicts final values poorly, and a stopped training run is lost.
    5. With R, new configurations come in turns from a search of the whole space and from the best of a few draws, by
       the new bests that each brings (``modeling.turns``).
    6. A trial with folds competes for epochs in its first fold only. After it, whole folds are the resource
       (``halving``).
    7. With ``pause=True``, a training run that repeats an earlier one exactly is stopped (``repeats``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from hpo_plugins import modeling
from hpo_plugins._fields import checked, frozen
from hpo_plugins._validation import boolean, choice, whole_number
from hpo_plugins.errors import InvalidArgument
from hpo_plugins.history import History
from hpo_plugins.history.untried import untried_draw
from hpo_plugins.modeling.observations import epoch_grid, known_points
from hpo_plugins.records import MAX_EPOCH, Decision, TrialState
from hpo_plugins.space import Params
from hpo_plugins.strategies.base import Resume, Start, Strategy
from hpo_plugins.strategies.halving import compare, judge_fold, results_at
from hpo_plugins.strategies.repeats import stop_of_repeat
from hpo_plugins.surrogate.threads import single_threaded

if TYPE_CHECKING:
    from hpo_plugins.modeling.model import Model

STOP_MARGIN = 4.0
"""Extra margin required to stop a run, growing linearly with its trained epochs; see docs/decisions/0008."""
N_COMPARED = 27
"""Trials at the beginning of a search without pauses of which the better half at each epoch of the grid continues; the
first one that comes to an epoch does not. See docs/decisions/0007."""
COMPARED_SHARE = 5
"""At most this fraction (1/n) of ``max_trials`` are compared; none if that is below the initial design size."""
PROBE_EPOCHS = 3
"""Epochs that each trial of the initial design is trained before it is paused, if training runs can be paused: see
docs/decisions/0009."""

FOLD_FACTOR = 3
"""Of the trials that are compared after a fold, the best third are trained on another one, as in Hyperband."""


@frozen()
class Bayesian(Strategy):
    """Choose configurations by a surrogate of all results and, with ``max_resource``, judge every training run by it.

    Args:
        max_resource: Epochs of a full training run. With it, the surrogate learns from every epoch and judges every
            running training at epochs 2, 3, 5, 8, 13 and so on: the training run continues while its next epochs are
            worth more than those of any other. Without it, no training run is stopped (``Tuner(early_stopping=)`` may
            do that).
        pause: What happens to a training run whose epochs are worth less: False stops it for good; True pauses it with
            a checkpoint, from which it is resumed when its next epochs are worth most. With False, the first 27 trials,
            or the first fifth of ``max_trials`` if that is fewer, are compared with each other at these epochs before
            the surrogate judges: the better half continues.
        cost: What an epoch costs: ``"seconds"``, the time that it takes, measured during training and predicted
            for new configurations; ``"epochs"``, always 1; or ``"auto"``, seconds if they differ between trials by half
            and more, otherwise 1. Starting or resuming a training run costs the time that it takes in all cases.
            Measured times are never the same twice: if a seed must fix the search, use ``"epochs"``.

    Raises:
        InvalidArgument: ``max_resource`` is not a whole number of at least 1, ``pause`` is given without it, or
            ``cost`` is anything else.
    """

    max_resource: int | None = checked(whole_number, at_least=1, at_most=MAX_EPOCH, default=None)
    pause: bool = checked(boolean, default=False)
    cost: Literal["auto", "epochs", "seconds"] = checked(choice, allowed=("auto", "epochs", "seconds"), default="auto")

    def __attrs_post_init__(self) -> None:
        if self.max_resource is None and self.pause:
            raise InvalidArgument(
                "pause=True needs max_resource, the epochs of a full training, but got max_resource=None. "
                "Use the number that you pass as epochs=, max_epochs= or num_boost_round=."
            )

    @property
    def stops_trainings(self) -> bool:  # type: ignore[override]
        """Whether it judges training runs itself."""
        return self.max_resource is not None

    def suggest(self, history: History, seed: int) -> Params:
        """Return the configuration of largest expected improvement.

        The first few are the centre, or the mode of the belief if the space comes with one, and random draws.
        """
        return modeling.suggestion.suggest(history, seed, _longest_training(history))

    def next_action(self, history: History, seed: int, *, may_start: bool) -> Start | Resume | None:
        """Return the new configuration or the paused training run whose next epochs are worth most."""
        if self.max_resource is None:
            return super().next_action(history, seed, may_start=may_start)
        if may_start and len(known_points(history)) < modeling.suggestion.N_INITIAL_CURVES:
            return Start(modeling.suggestion.initial_configuration(history, seed, self.max_resource))
        return self._most_valuable(history, seed, may_start)

    @single_threaded
    def _most_valuable(self, history: History, seed: int, may_start: bool) -> Start | Resume | None:
        model = _fit(history, self.max_resource)
        if model is None or model.knows_nothing:  # fewer than two results, or all are equal
            paused = history.paused
            return Start(untried_draw(history, seed)) if may_start else Resume(paused[0]) if paused else None
        freeze_thaw = modeling.freeze_thaw
        options = freeze_thaw.trainings(model, None, may_start=may_start, may_resume=self.pause)
        choice = freeze_thaw.choose(model, options, None, cost=self.cost)
        if choice is None or (not may_start and choice.win_probability < freeze_thaw.MIN_WIN_PROBABILITY):
            return Start(untried_draw(history, seed)) if may_start else None
        if choice.training.number is not None:
            return Resume(choice.training.number)
        return Start(history.space.decode(choice.training.point))

    def on_report(self, history: History, number: int, epoch: int) -> Decision | None:
        """Compare the training run's next epochs with everything else that could be trained."""
        if self.max_resource is None:
            return None
        if epoch >= self.max_resource:
            return Decision(TrialState.COMPLETED, f"reached max_resource={self.max_resource}")
        if self.pause and (repeat := stop_of_repeat(history, number)) is not None:
            return repeat
        if (
            self.pause
            and number < modeling.suggestion.N_INITIAL_CURVES
            and history[number].row.progress.start_epoch == 0
        ):
            if epoch < min(PROBE_EPOCHS, self.max_resource):
                return None
            return Decision(TrialState.PAUSED, _RULES[TrialState.PAUSED], "the initial design was probed")
        milestone = history[number].curve.milestone_passed(epoch, epoch_grid(self.max_resource))
        if milestone is None:
            return None
        if not self.pause and _is_compared(history, number):
            results = results_at(history, milestone)
            # The user's own configurations are likely to be better than most, and need not wait for others.
            promoted = max(len(results) // 2, 0 if history[number].row.point is None else 1)
            return compare(history, results, number, promoted, f"at epoch {milestone}")
        return self._judge(history, number)

    def on_fold_end(self, history: History, number: int, fold: int) -> Decision | None:
        """Compare the trial after a fold with all others of which this fold has ended."""
        return None if self.max_resource is None else judge_fold(history, number, fold, FOLD_FACTOR)

    @property
    def milestones(self) -> tuple[int, ...]:
        """The grid of epochs at which it judges, without the last epoch."""
        return () if self.max_resource is None else tuple(map(int, epoch_grid(self.max_resource)[:-1]))

    @single_threaded
    def _judge(self, history: History, number: int) -> Decision | None:
        model = _fit(history, self.max_resource)
        if model is None or model.knows_nothing:
            return None
        freeze_thaw = modeling.freeze_thaw
        options = freeze_thaw.trainings(model, number, may_start=history.may_start, may_resume=self.pause)
        # A stopped training run loses all its epochs, a paused one does not: the more epochs it has, the larger the
        # margin of a stop must be.
        spent = history[number].curve.epochs[-1] / (self.max_resource or 1)
        factor = 1.0 if self.pause else 1.0 + STOP_MARGIN * spent
        choice = freeze_thaw.choose(model, options, number, cost=self.cost, switching_factor=factor)
        if (
            choice is not None
            and choice.training.number == number
            and (history.may_start or choice.win_probability >= freeze_thaw.MIN_WIN_PROBABILITY)
        ):
            return None
        state = TrialState.PAUSED if self.pause else TrialState.STOPPED
        return Decision(state, _RULES[state], self._forecast(model, number))

    @single_threaded
    def final_decision(self, history: History, number: int) -> Decision:
        """Return the surrogate's prediction for the trial."""
        model = _fit(history, self.max_resource)
        if model is None:
            return super().final_decision(history, number)
        return Decision(TrialState.STOPPED, _RULES[TrialState.STOPPED], self._forecast(model, number))

    def _forecast(self, model: Model, number: int) -> str:
        """Describe the surrogate's prediction for a training run."""
        forecast = model.forecast(number)
        return (
            f"expected {forecast.value:.4g} +- {forecast.deviation:.2g} at epoch {self.max_resource}, best is "
            f"{forecast.best:.4g}: probability to win {forecast.win_probability:.1%}"
        )

    def describe(self) -> str:
        """Describe the strategy's plan."""
        if self.max_resource is None:
            return "Bayesian: the configuration of largest expected improvement; no training is stopped."
        epochs = ", ".join(map(str, epoch_grid(self.max_resource)))
        judged = f"Bayesian: every training is judged at epochs {epochs}; one whose epochs are worth less is"
        if self.pause:
            return f"{judged} paused, and resumed when its next epochs are worth most."
        first = f"the first {N_COMPARED} trials, or the first 1/{COMPARED_SHARE} of max_trials"
        return f"{judged} stopped. Of {first}, the better half continues."


def _is_compared(history: History, number: int) -> bool:
    """Return whether other trials, not the surrogate, judge a trial when a stop is permanent."""
    count = N_COMPARED
    if history.max_trials is not None:
        count = min(count, history.max_trials // COMPARED_SHARE)
    if number >= count or count < modeling.suggestion.N_INITIAL_CURVES:
        return False
    return not history.parents  # with them, the surrogate knows curves from the beginning


def _fit(history: History, last: int | None) -> Model | None:
    return modeling.model.fit_model(history, last)


def _longest_training(history: History) -> int | None:
    """Return the epochs of the longest run if some runs are known only by a part of their curve, otherwise None.

    If all runs have final values, modelling these is a smaller and better conditioned problem than modelling curves.
    """
    partly = (TrialState.RUNNING, TrialState.STOPPED)
    if not any(trial.state in partly and len(trial.curve) for trial in history):
        return None
    longest = max(trial.curve.epochs[-1] for trial in history if len(trial.curve))
    return longest if longest > 1 else None


_RULES = {
    TrialState.STOPPED: "not worth another epoch",
    TrialState.PAUSED: "other trainings are worth more",
}
