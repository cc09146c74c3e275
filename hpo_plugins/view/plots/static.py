"""A study as figures of matplotlib: ``tuner.plot.history()`` and its like."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from hpo_plugins.view.plots import data
from hpo_plugins.view.plots.interactive import InteractivePlots
from hpo_plugins.view.plots.style import (
    ACCENT,
    COLORS,
    HIGHLIGHT,
    MUTED,
    figure,
    legend_states,
    nothing,
    objective_label,
    plain,
)
from hpo_plugins.view.study_view import StudyView


class Plots:
    """The figures of a study, each a new ``matplotlib.figure.Figure``.

    Args:
        view: The study.
    """

    def __init__(self, view: StudyView) -> None:
        """Draw nothing yet."""
        self._view = view

    @property
    def interactive(self) -> InteractivePlots:
        """The same figures of plotly, for notebooks and browsers.

        Raises:
            ModuleNotFoundError: plotly is not installed, from the figure's method.
        """
        return InteractivePlots(self._view)

    def history(self) -> Any:
        """Return each trial's value, and the best so far."""
        found = data.History.of(self._view)
        if found is None:
            return _nothing(data.History)
        with figure() as drawn:
            axes = drawn.subplots()
            colors = [COLORS[t.state] for t in found.trials]
            axes.scatter(found.numbers, found.values, c=colors, s=18, linewidths=0, alpha=0.85)
            if found.best_values:
                axes.step(found.best_numbers, found.best_values, where="post", color=ACCENT, linewidth=1.6)
                axes.annotate(
                    f"best {found.best_values[-1]:.4g}", (found.best_numbers[-1], found.best_values[-1]), color=ACCENT,
                    fontsize=9, xytext=(0, 6), textcoords="offset points", ha="right",
                )  # fmt: skip
            _values_on_y(axes, self._view, is_log=found.is_log)
            axes.set_xlabel("trial")
            legend_states(axes, {t.state for t in found.trials})
            return drawn

    def curves(self) -> Any:
        """Return the learning curves by their trials' states, with the epochs at which they are compared."""
        found = data.Curves.of(self._view)
        if found is None:
            return _nothing(data.Curves)
        with figure() as drawn:
            axes = drawn.subplots()
            for curve in reversed(found.curves):
                is_best = curve is found.curves[0]
                axes.plot(
                    curve.epochs, curve.values, color=COLORS[curve.trial.state], linewidth=2.4 if is_best else 0.9,
                    alpha=1.0 if is_best else 0.55, marker="o" if len(curve.epochs) == 1 else None, markersize=2.5,
                )  # fmt: skip
            for epoch in found.milestones:
                axes.axvline(epoch, color="#BBBBBB", linewidth=0.8, linestyle=(0, (3, 3)), zorder=0)
            if found.ticks:
                axes.set_xscale("log")
                axes.set_xticks(found.ticks, [str(epoch) for epoch in found.ticks])
                axes.minorticks_off()
            _values_on_y(axes, self._view, is_log=found.is_log)
            axes.set_xlabel("epoch")
            legend_states(axes, {curve.trial.state for curve in found.curves})
            return drawn

    def parallel(self) -> Any:
        """Return all configurations, one axis per parameter, coloured by the rank of their value."""
        found = data.Parallel.of(self._view)
        if found is None:
            return _nothing(data.Parallel)
        with figure(max(1.0, len(found.names) / 6)) as drawn:
            import matplotlib as mpl

            axes, places = drawn.subplots(), range(len(found.names))
            colors = mpl.colormaps["cividis"](np.linspace(0.95, 0.0, len(found.heights)))
            lines = [np.array(heights, dtype=float) for heights in found.heights]
            for heights, color in zip(reversed(lines), reversed(colors), strict=True):
                axes.plot(places, heights, marker=".", color=color, linewidth=1.0, alpha=0.7)
            axes.plot(places, lines[0], marker=".", color=HIGHLIGHT, linewidth=2.2, label="best")
            for place, ends in zip(places, found.ends, strict=True):
                axes.axvline(place, color="#666666", linewidth=0.8)
                for height, text in zip((0.0, 1.0), ends, strict=True):
                    axes.text(place, height + (0.02 if height else -0.02), plain(text, 14), fontsize=8, ha="center",
                              va="bottom" if height else "top", color="#333333")  # fmt: skip
            axes.set_xticks(places, [plain(name, 18) for name in found.names], rotation=20, ha="right")
            axes.set_yticks([])
            axes.set_ylim(-0.1, 1.1)
            axes.spines["left"].set_visible(False)
            axes.grid(visible=False)
            scale = mpl.cm.ScalarMappable(mpl.colors.Normalize(1, found.n_all), mpl.colormaps["cividis"].reversed())
            drawn.colorbar(scale, ax=axes, label=f"rank by {objective_label(self._view)}", shrink=0.8)
            axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.02), fontsize=9)
            return drawn

    def importance(self) -> Any:
        """Return the importance of each parameter, with its uncertainty."""
        found = data.ImportanceBars.of(self._view)
        if found is None:
            return _nothing(data.ImportanceBars, height=0.6)
        with figure(height=max(0.6, 0.15 + 0.08 * len(found.names))) as drawn:
            axes, places = drawn.subplots(), range(len(found.names), 0, -1)
            axes.barh(places, found.totals, xerr=found.deviations, color=ACCENT, alpha=0.85,
                      error_kw={"ecolor": "#333333", "elinewidth": 1.2, "capsize": 2})  # fmt: skip
            axes.set_yticks(places, [plain(name) for name in found.names])
            axes.set_xlim(0, found.end)
            axes.set_xlabel(found.label)
            axes.grid(visible=False, axis="y")
            return drawn

    def slice(self) -> Any:
        """Return each trial's value against each parameter."""
        found = data.Slice.of(self._view)
        if found is None:
            return _nothing(data.Slice)
        panels = [panel for panel in found.panels if panel.name in found.side_by_side]
        columns = min(3, len(panels))
        rows = math.ceil(len(panels) / columns)
        with figure(max(1.0, columns * 0.6), max(1.0, rows * 0.7)) as drawn:
            places = list(drawn.subplots(rows, columns, sharey=True, squeeze=False).flat)
            for axes in places[len(panels) :]:
                axes.set_axis_off()
            for axes, panel in zip(places, panels, strict=False):
                colors = [COLORS[t.state] for t in panel.trials]
                axes.scatter(panel.places, panel.values, c=colors, s=14, linewidths=0, alpha=0.8)
                axes.set_xlabel(plain(panel.name))
                axes.set_xticks(panel.axis.places, [plain(text, 10) for text in panel.axis.labels], fontsize=8)
                axes.set_xlim(-0.03, 1.03)
            if found.is_log:
                places[0].set_yscale("log")
            drawn.supylabel(objective_label(self._view), fontsize=11)
            return drawn

    def beliefs(self) -> Any:
        """Return the belief about each parameter that has one, and each trial's value against it."""
        found = data.Beliefs.of(self._view)
        if found is None:
            return _nothing(data.Beliefs)
        columns = min(3, len(found.panels))
        rows = math.ceil(len(found.panels) / columns)
        with figure(max(1.0, columns * 0.6), max(1.0, rows * 0.7)) as drawn:
            places = list(drawn.subplots(rows, columns, sharey=True, squeeze=False).flat)
            for axes in places[len(found.panels) :]:
                axes.set_axis_off()
            for axes, (panel, ticks, density, good) in zip(places, found.panels, strict=False):
                colors = [HIGHLIGHT if is_good else MUTED for is_good in good]
                axes.scatter(panel.places, panel.values, c=colors, s=14, linewidths=0, alpha=0.9)
                axes.set_xlabel(plain(panel.name))
                axes.set_xticks(panel.axis.places, [plain(text, 10) for text in panel.axis.labels], fontsize=8)
                axes.set_xlim(-0.03, 1.03)
                behind = axes.twinx()
                behind.fill_between(ticks, density, color=ACCENT, alpha=0.2, linewidth=0)
                behind.set(yticks=[], ylim=(0, 1.1 * max(density)))
                behind.grid(visible=False)
                axes.set_zorder(behind.get_zorder() + 1)
                axes.patch.set_visible(False)
            if found.is_log:
                places[0].set_yscale("log")
            drawn.supylabel(objective_label(self._view), fontsize=11)
            return drawn

    def contour(self, first: str | None = None, second: str | None = None) -> Any:
        """Return the surrogate's prediction over two parameters, by default the two most important ones.

        Args:
            first: One parameter.
            second: The other.

        Raises:
            InvalidArgument: There is no such parameter.
        """
        found = data.Contour.of(self._view, first, second)
        if found is None:
            return _nothing(data.Contour)
        with figure() as drawn:
            axes = drawn.subplots()
            filled = axes.contourf(found.ticks, found.ticks, found.expected, levels=16, cmap="cividis")
            drawn.colorbar(filled, ax=axes, label=f"expected {objective_label(self._view)}")
            axes.scatter(found.x, found.y, s=14, facecolors="none", edgecolors="white", linewidths=0.9)
            axes.scatter(*found.best, s=60, marker="*", color=HIGHLIGHT, label="best")
            across, up = found.axes
            axes.set_xticks(across.places, [plain(text, 10) for text in across.labels], fontsize=8)
            axes.set_yticks(up.places, [plain(text, 10) for text in up.labels], fontsize=8)
            axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), xlabel=plain(found.first), ylabel=plain(found.second))
            axes.grid(visible=False)
            axes.legend(loc="upper right", fontsize=9)
            return drawn

    def timeline(self) -> Any:
        """Return a timeline of the workers and their trials."""
        found = data.Timeline.of(self._view)
        if found is None:
            return _nothing(data.Timeline, height=0.7)
        with figure(height=max(0.7, min(3.0, 0.2 + 0.09 * len(found.workers)))) as drawn:
            axes, colors = drawn.subplots(), [COLORS[trial.state] for trial in found.trials]
            axes.barh(found.rows, found.lengths, left=found.starts, height=0.72, color=colors, edgecolor=colors,
                      linewidth=0.3, alpha=0.85)  # fmt: skip
            axes.set_yticks(range(len(found.workers)), [plain(worker) for worker in found.workers], fontsize=8)
            axes.invert_yaxis()
            axes.grid(visible=False, axis="y")
            axes.set_xlabel(found.label)
            legend_states(axes, {trial.state for trial in found.trials})
            return drawn

    def rungs(self) -> Any:
        """Return the number of trials at each epoch of comparison, and how well the ranks predict the end."""
        found = data.Rungs.of(self._view)
        if found is None:
            return _nothing(data.Rungs)
        with figure() as drawn:
            axes, places = drawn.subplots(), range(len(found.epochs))
            bars = axes.bar(places, found.counts, color=ACCENT, alpha=0.85, width=0.7)
            axes.bar_label(bars, fontsize=9)
            for place, count, agreement in zip(places, found.counts, found.agreements, strict=True):
                if agreement is not None:
                    axes.annotate(
                        f"r = {agreement:.2f}", (place, count), xytext=(0, 16), textcoords="offset points",
                        ha="center", fontsize=9, color="#666666",
                    )  # fmt: skip
            axes.set_xticks(places, [str(epoch) for epoch in found.epochs])
            axes.set_xlabel("epoch (r: rank correlation with the end)")
            axes.set_ylabel("trials")
            axes.margins(y=0.18)
            axes.grid(visible=False, axis="x")
            return drawn

    def pareto(self, first: str | None = None, second: str | None = None) -> Any:
        """Return all trials by two goals, their Pareto front, the limits, and how trials moved while they trained.

        Args:
            first: The metric of the horizontal axis; by default the second objective, or the first limit.
            second: That of the vertical axis; by default the first objective.

        Raises:
            InvalidArgument: It is not the metric of an objective or a limit.
        """
        found = data.Pareto.of(self._view, first, second)
        if found is None:
            return _nothing(data.Pareto)
        with figure() as drawn:
            axes, on_front = drawn.subplots(), {trial.number for trial in found.front}
            for path in found.paths:
                color = COLORS[path.trial.state]
                axes.plot(path.x, path.y, color=color, linewidth=0.7, alpha=0.35)
                fill = color if path.trial.feasible is not False else "none"
                axes.scatter(path.x[-1], path.y[-1], s=18, facecolors=fill, edgecolors=color, linewidths=0.9)
            ends = [(path.x[-1], path.y[-1]) for path in found.paths if path.trial.number in on_front]
            x, y = zip(*sorted(ends), strict=True) if ends else ((), ())
            bars = {"xerr": [s for s, _ in found.spreads], "yerr": [s for _, s in found.spreads]} if ends else {}
            axes.errorbar(x, y, **bars, color=ACCENT, linewidth=1.6, elinewidth=0.8, marker="o", markersize=5,
                          label="Pareto front")  # fmt: skip
            for place, value, is_upper in found.limits:
                (axes.axhline if place else axes.axvline)(value, color=HIGHLIGHT, linewidth=1.2, linestyle="--")
                low, high = axes.get_ylim() if place else axes.get_xlim()
                outside = (value, max(high, value)) if is_upper else (min(low, value), value)
                (axes.axhspan if place else axes.axvspan)(*outside, color=HIGHLIGHT, alpha=0.08, linewidth=0)
            axes.set(xlabel=plain(found.names[0], 40), ylabel=plain(found.names[1], 40))
            axes.legend(loc="best", fontsize=9)
            return drawn


def _nothing(kind: type[data.Figure], height: float = 1.0) -> Any:
    """Return a figure that says why there is nothing to see."""
    with figure(height=height) as drawn:
        nothing(drawn.subplots(), kind.nothing)
        return drawn


def _values_on_y(axes: Any, view: StudyView, *, is_log: bool) -> None:
    axes.set_ylabel(objective_label(view))
    if is_log:
        axes.set_yscale("log")
