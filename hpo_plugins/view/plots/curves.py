"""The learning curves of all trials, by what became of them."""

from __future__ import annotations

from typing import Any

from hpo_plugins.records import TrialRecord
from hpo_plugins.view.plots.style import COLORS, figure, legend_states, nothing, objective_label, use_log_scale
from hpo_plugins.view.study_view import StudyView

MAX_CURVES = 1000
"""More cannot be told apart; the best and an even choice of the others are drawn."""


def plot(view: StudyView) -> Any:
    """Return a figure of the curves, the best one in front, with the epochs at which trainings are compared."""
    with figure() as drawn:
        axes = drawn.subplots()
        chosen = chosen_curves(view)
        if not chosen:
            nothing(axes, "No trial has reported an epoch yet.")
            return drawn
        for trial in reversed(chosen):
            epochs, values = list(trial.curve), list(trial.curve.values())
            is_best = trial is chosen[0]
            axes.plot(
                epochs, values, color=COLORS[trial.state], linewidth=2.4 if is_best else 0.9,
                alpha=1.0 if is_best else 0.55, marker="o" if len(epochs) == 1 else None, markersize=2.5,
            )  # fmt: skip
        for epoch in view.milestones:
            axes.axvline(epoch, color="#BBBBBB", linewidth=0.8, linestyle=(0, (3, 3)), zorder=0)
        longest = max(max(trial.curve) for trial in chosen)
        if view.milestones and longest > 30:
            axes.set_xscale("log")
            axes.set_xticks([*view.milestones, longest], [str(epoch) for epoch in (*view.milestones, longest)])
            axes.minorticks_off()
        if use_log_scale([value for trial in chosen for value in trial.curve.values()]):
            axes.set_yscale("log")
        axes.set_xlabel("epoch")
        axes.set_ylabel(objective_label(view))
        legend_states(axes, {trial.state for trial in chosen})
        return drawn


def chosen_curves(view: StudyView) -> list[TrialRecord]:
    """Return the trials whose curves are drawn, the best first: the best 50, and an even choice of the others."""
    ranked = [trial for trial in view.ranked if trial.curve]
    ranked += [trial for trial in view.trials if trial.value is None and trial.curve]
    return ranked[:50] + ranked[50 :: max(1, len(ranked) // MAX_CURVES)]
