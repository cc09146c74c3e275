"""The median stopping rule of Amazon SageMaker and, before it, of Google Vizier.

Notation
    y(t)       the objective of the judged training run at epoch t, as a loss
    mean_i(t)  the mean of trial i's losses up to epoch t: its running average

A training run is stopped after epoch t if ``y(t) > median over earlier trials i of mean_i(t)``.

References:
    Amazon SageMaker developer guide, "Stop Training Jobs Early", section "How Early Stopping Works".
    Golovin et al., "Google Vizier: A Service for Black-Box Optimization", KDD 2017, section 3.2.2.

Differs from Vizier in: the current value is compared, as in SageMaker, instead of the best value so far.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from hpo_plugins._fields import checked, frozen
from hpo_plugins._validation import whole_number
from hpo_plugins.history import History
from hpo_plugins.records import Decision, TrialState
from hpo_plugins.strategies.base import StoppingRule


@frozen()
class MedianRule(StoppingRule):
    """Stop a training run whose current value is worse than the median of the earlier trials' running averages.

    After each epoch, the rule computes the running average up to that epoch of every earlier trial (one with a smaller
    number) that has reached it. The training run is stopped if its *current* value, not its best, is worse than the
    median of these. The trials of identical parents (``warm_start``) count as earlier trials.

    Args:
        min_trials: The rule is inactive until this many earlier trials have reached the epoch.
        min_epochs: The rule is inactive before this epoch; increase it if curves improve late, such as after a
            warm-up of the learning rate.

    Raises:
        InvalidArgument: An argument is not a whole number of at least 1.
    """

    min_trials: int = checked(whole_number, at_least=1, default=1)
    min_epochs: int = checked(whole_number, at_least=1, default=1)
    judges_every_fold: ClassVar[bool] = True

    def on_report(self, history: History, number: int, epoch: int) -> Decision | None:
        """Compare the current value with the median."""
        current = history[number].curve.loss(epoch, at="last")
        if current is None or epoch < self.min_epochs:
            return None
        ranking = history.ranking(
            ("running mean", epoch),
            lambda trial: history[trial].curve.running_mean(epoch),
            lambda: _means(history, epoch),
        )
        averages = ranking.without(range(number, len(history)))
        if len(averages) < self.min_trials:
            return None
        half = len(averages) // 2
        median = averages[half] if len(averages) % 2 else (averages[half - 1] + averages[half]) / 2
        if not current > median:
            return None
        value, middle = history.objective.loss(current), history.objective.loss(median)
        return Decision(
            TrialState.STOPPED,
            "median rule",
            f"{value:.6g} at epoch {epoch} is worse than {middle:.6g}, the median of the running "
            f"averages of {len(averages)} earlier trials",
        )


def _means(history: History, epoch: int) -> Iterator[float]:
    """Yield the running averages of the identical parents' trials."""
    for trial in history.identical_trials:
        if (mean := trial.curve.running_mean(epoch)) is not None:
            yield mean
