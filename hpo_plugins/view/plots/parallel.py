"""All configurations at once, one vertical axis per parameter."""

from __future__ import annotations

from typing import Any

import numpy as np

from hpo_plugins.view.importance import most_important
from hpo_plugins.view.plots.style import figure, nothing, objective_label, plain
from hpo_plugins.view.study_view import StudyView
from hpo_plugins.view.words import number

MAX_PARAMETERS = 12
MAX_TRIALS = 400


def plot(view: StudyView) -> Any:
    """Return a figure of parallel coordinates, coloured by the rank of the trial's value.

    With more than ``MAX_PARAMETERS`` parameters, the most important ones are shown.
    """
    names = most_important(view.history, view.max_resource, MAX_PARAMETERS)
    with figure(max(1.0, len(names) / 6)) as drawn:
        axes = drawn.subplots()
        ranked = [trial for trial in view.ranked if not trial.params.keys().isdisjoint(names)]
        if not ranked:
            nothing(axes, "No trial has a value yet.")
            return drawn
        import matplotlib as mpl

        chosen = ranked[:: max(1, len(ranked) // MAX_TRIALS)]
        colors = mpl.colormaps["cividis"](np.linspace(0.95, 0.0, len(chosen)))
        for trial, color in zip(reversed(chosen), reversed(colors), strict=True):
            heights = np.array(view.heights(names, trial), dtype=float)
            axes.plot(range(len(names)), heights, marker=".", color=color, linewidth=1.0, alpha=0.7)
        best = np.array(view.heights(names, ranked[0]), dtype=float)
        axes.plot(range(len(names)), best, marker=".", color="#D55E00", linewidth=2.2, label="best")
        for place, name in enumerate(names):
            axes.axvline(place, color="#666666", linewidth=0.8)
            for height in (0.0, 1.0):
                text = plain(number(view.space[name].from_unit(height)), 14)
                axes.text(place, height + (0.02 if height else -0.02), text, fontsize=8, ha="center",
                          va="bottom" if height else "top", color="#333333")  # fmt: skip
        axes.set_xticks(range(len(names)), [plain(name, 18) for name in names], rotation=20, ha="right")
        axes.set_yticks([])
        axes.set_ylim(-0.1, 1.1)
        axes.spines["left"].set_visible(False)
        axes.grid(visible=False)
        scale = mpl.cm.ScalarMappable(mpl.colors.Normalize(1, len(ranked)), mpl.colormaps["cividis"].reversed())
        drawn.colorbar(scale, ax=axes, label=f"rank by {objective_label(view)}", shrink=0.8)
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.02), fontsize=9)
        return drawn
