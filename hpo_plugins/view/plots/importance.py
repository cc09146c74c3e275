"""How much each parameter matters."""

from __future__ import annotations

from typing import Any

from hpo_plugins.view.importance import importances
from hpo_plugins.view.plots.style import ACCENT, figure, nothing, plain
from hpo_plugins.view.study_view import StudyView


def plot(view: StudyView) -> Any:
    """Return a figure of each parameter's share of the variance, with the spread over refits of the surrogate."""
    found = importances(view.history, view.max_resource)
    with figure(height=max(0.6, 0.15 + 0.08 * len(found))) as drawn:
        axes = drawn.subplots()
        if not found:
            nothing(axes, "Too few trials have a value to tell which parameters matter.")
            return drawn
        places = range(len(found), 0, -1)
        axes.barh(places, [i.total for i in found], xerr=[i.deviation for i in found], color=ACCENT, alpha=0.85,
                  error_kw={"ecolor": "#333333", "elinewidth": 1.2, "capsize": 2})  # fmt: skip
        axes.set_yticks(places, [plain(i.name) for i in found])
        axes.set_xlim(0, max(1.0, *(i.total + i.deviation for i in found)))
        axes.set_xlabel("share of the variance of a full training's result (total effect)")
        axes.grid(visible=False, axis="y")
        return drawn
