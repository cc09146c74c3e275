"""Each trial's value, and the best so far."""

from __future__ import annotations

from typing import Any

from hpo_plugins.view.plots.style import ACCENT, COLORS, figure, legend_states, nothing, objective_label, use_log_scale
from hpo_plugins.view.study_view import StudyView


def plot(view: StudyView) -> Any:
    """Return a figure of each trial's value by number, with the best so far as a line."""
    with figure() as drawn:
        axes = drawn.subplots()
        if not view.valued:
            nothing(axes, "No trial has a value yet.")
            return drawn
        numbers, values = [t.number for t in view.valued], [t.value for t in view.valued]
        axes.scatter(numbers, values, c=[COLORS[t.state] for t in view.valued], s=18, linewidths=0, alpha=0.85)
        steps = view.incumbents()
        if steps:
            last = (len(view.trials) - 1, steps[-1][1])
            axes.step(*zip(*steps, last, strict=True), where="post", color=ACCENT, linewidth=1.6)
            axes.annotate(
                f"best {steps[-1][1]:.4g}", (len(view.trials) - 1, steps[-1][1]), color=ACCENT, fontsize=9,
                xytext=(0, 6), textcoords="offset points", ha="right",
            )  # fmt: skip
        if use_log_scale([value for value in values if value is not None]):
            axes.set_yscale("log")
        axes.set_xlabel("trial")
        axes.set_ylabel(objective_label(view))
        legend_states(axes, {t.state for t in view.valued})
        return drawn
