"""How many trials reach each epoch at which trainings are compared, and how well the order there foretells the end."""

from __future__ import annotations

from typing import Any

from hpo_plugins.view.insights import rank_agreement
from hpo_plugins.view.plots.style import ACCENT, figure, nothing
from hpo_plugins.view.study_view import StudyView


def plot(view: StudyView) -> Any:
    """Return a figure of the trials that reached each milestone, with the rank correlation with the end above it."""
    with figure() as drawn:
        axes = drawn.subplots()
        reached = view.on_milestones()
        if not reached:
            nothing(axes, "The strategy compares no trainings while they run.")
            return drawn
        if view.max_resource is not None:
            last = view.max_resource
            reached = [*reached, (last, sum(trial.folds[0].curve.reached(last) for trial in view.history))]
        places = range(len(reached))
        bars = axes.bar(places, [count for _, count in reached], color=ACCENT, alpha=0.85, width=0.7)
        axes.bar_label(bars, fontsize=9)
        agreements = rank_agreement(view)
        for place, (epoch, count) in zip(places, reached, strict=True):
            if epoch in agreements:
                axes.annotate(
                    f"r = {agreements[epoch]:.2f}", (place, count), xytext=(0, 16), textcoords="offset points",
                    ha="center", fontsize=9, color="#666666",
                )  # fmt: skip
        axes.set_xticks(places, [str(epoch) for epoch, _ in reached])
        axes.set_xlabel("epoch (r: rank correlation with the end)")
        axes.set_ylabel("trials")
        axes.margins(y=0.18)
        axes.grid(visible=False, axis="x")
        return drawn
