"""Who trained what, and when."""

from __future__ import annotations

from typing import Any

from hpo_plugins.view.plots.style import COLORS, figure, legend_states, nothing, plain
from hpo_plugins.view.study_view import StudyView


def plot(view: StudyView) -> Any:
    """Return a figure with one row per worker and one bar per trial, from its start to its end.

    A trial that was resumed is on the row of the worker that trained it last.
    """
    lanes = list(dict.fromkeys(view.workers))
    with figure(height=max(0.7, min(3.0, 0.2 + 0.09 * len(lanes)))) as drawn:
        axes = drawn.subplots()
        if not view.trials:
            nothing(axes, "No trial was started yet.")
            return drawn
        began = min(trial.started_at for trial in view.trials)
        for trial, worker in zip(view.trials, view.workers, strict=True):
            end = view.now if trial.ended_at is None else trial.ended_at
            axes.barh(
                lanes.index(worker), max(end - trial.started_at, 1e-3), left=trial.started_at - began, height=0.72,
                color=COLORS[trial.state], edgecolor=COLORS[trial.state], linewidth=0.3, alpha=0.85,
            )  # fmt: skip
        axes.set_yticks(range(len(lanes)), [plain(f"worker {place}") for place in range(len(lanes))], fontsize=8)
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("seconds since the first trial was started")
        legend_states(axes, {trial.state for trial in view.trials})
        return drawn
