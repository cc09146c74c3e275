"""A study as interactive figures of plotly: ``tuner.plot.interactive.curves()`` and its like.

They show what the figures of matplotlib show, and each trial's number, configuration and outcome under the pointer.
``customdata`` of a point, and ``meta`` of a curve, is the trial's number.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence
from typing import Any

from hpo_plugins._text import printable
from hpo_plugins.errors import MissingDependency
from hpo_plugins.records import TrialRecord
from hpo_plugins.view import words
from hpo_plugins.view.plots import data
from hpo_plugins.view.plots.style import ACCENT, COLORS, HIGHLIGHT, MUTED
from hpo_plugins.view.study_view import StudyView

MANY = 1000
"""More points than this are drawn by WebGL."""
GROUPS = (("best 5 %", 0.05, ACCENT), ("best 25 %", 0.25, "#56B4E9"), ("others", 1.0, "#B9BEC8"))
"""The lines of parallel coordinates by rank: plotly's own coordinates are slow without a graphics card (decision 0024),
and leave out the trials that lack a conditional parameter."""
_HOVER = "%{text}<extra></extra>"


class InteractivePlots:
    """The figures of a study, each a new ``plotly.graph_objects.Figure``; see ``Plots`` for what they show.

    Args:
        view: The study.
        max_points: How many points of each curve are drawn, None for all. If it is given, the figures are small:
            configurations are not shown under the pointer.
    """

    def __init__(self, view: StudyView, max_points: int | None = None) -> None:
        """Draw nothing yet."""
        self._view = view
        self._max_points = max_points

    def history(self) -> Any:
        """Return each trial's value, and the best so far."""
        found = data.History.of(self._view)
        figure = self._new(data.History, found, "trial", self._metric)
        if found is None:
            return figure
        self._add_trials(figure, found.trials, found.numbers, found.values)
        if found.best_values:
            line = {"shape": "hv", "color": ACCENT}
            figure.add_scatter(
                x=found.best_numbers, y=found.best_values, mode="lines", line=line, name="best so far", hoverinfo="skip"
            )
        return _scale(figure, is_log=found.is_log)

    def curves(self) -> Any:
        """Return the learning curves by their trials' states, with the epochs at which they are compared."""
        found = data.Curves.of(self._view, self._max_points)
        figure = self._new(data.Curves, found, "epoch", self._metric)
        if found is None:
            return figure
        traces: list[dict[str, Any]] = []
        shown: set[str] = set()
        for curve in reversed(found.curves):
            is_best, state = curve is found.curves[0], curve.trial.state
            name = f"best, trial {curve.trial.number}" if is_best else state.value
            hover = f"{self._describe(curve.trial)}<br>epoch %{{x}}: %{{y:.6g}}<extra></extra>"
            traces.append({
                "type": "scatter", "x": curve.epochs, "y": curve.values, "hovertemplate": hover,
                "mode": "lines" if len(curve.epochs) > 1 else "markers",
                "line": {"color": COLORS[state], "width": 3 if is_best else 1},
                "opacity": 1.0 if is_best else 0.6, "name": name, "legendgroup": name, "showlegend": name not in shown,
                "meta": curve.trial.number,
            })  # fmt: skip
            shown.add(name)
        figure.add_traces(traces)
        line = {"color": MUTED, "width": 1, "dash": "dot"}
        shapes = [
            {"type": "line", "x0": e, "x1": e, "yref": "paper", "y0": 0, "y1": 1, "line": line}
            for e in found.milestones
        ]
        figure.update_layout(shapes=shapes)
        if found.ticks:
            figure.update_xaxes(type="log", tickvals=found.ticks, ticktext=[str(epoch) for epoch in found.ticks])
        return _scale(figure, is_log=found.is_log)

    def parallel(self) -> Any:
        """Return all configurations, one axis per parameter, in groups by the rank of their value."""
        found = data.Parallel.of(self._view)
        figure = self._new(data.Parallel, found, "", "")
        if found is None:
            return figure
        texts = [self._values_of(trial, found.names) for trial in found.trials]
        ends = [math.ceil(len(found.trials) * share) for _, share, _ in GROUPS]
        groups = [
            (name, color, max(1, start), max(1, end))
            for (name, _, color), start, end in zip(GROUPS, [1, *ends[:-1]], ends, strict=True)
        ]
        for name, color, start, end in [*reversed(groups), ("best", HIGHLIGHT, 0, 1)]:
            if start == end:
                continue
            figure.add_scatter(  # lines one after the other, with gaps between them
                x=[x for _ in range(start, end) for x in (*range(len(found.names)), None)],
                y=[y for heights in found.heights[start:end] for y in (*heights, None)],
                text=[text for own in texts[start:end] for text in (*own, "")],
                customdata=[n for trial in found.trials[start:end] for n in [trial.number] * (len(found.names) + 1)],
                mode="lines+markers", marker={"size": 4}, line={"color": color, "width": 3 if name == "best" else 1},
                name=name, hovertemplate=_HOVER,
            )  # fmt: skip
        marks = [
            {"x": place, "y": y, "text": _text(words.shortened(text, 12)), "showarrow": False, "font": {"size": 10}}
            for place, ends_of in enumerate(found.ends)
            for y, text in zip((-0.05, 1.05), ends_of, strict=True)
        ]
        names = [_text(words.shortened(name, 16)) for name in found.names]
        figure.update_xaxes(tickvals=list(range(len(names))), ticktext=names, zeroline=False)
        figure.update_yaxes(visible=False, range=[-0.09, 1.09])
        return figure.update_layout(annotations=marks)

    def importance(self) -> Any:
        """Return the importance of each parameter, with its uncertainty."""
        found = data.ImportanceBars.of(self._view)
        figure = self._new(data.ImportanceBars, found, data.ImportanceBars.label, "")
        if found is None:
            return figure
        places = list(range(len(found.names)))
        figure.add_bar(
            x=found.totals, y=places, error_x={"type": "data", "array": found.deviations}, orientation="h",
            marker_color=ACCENT, text=[_text(name) for name in found.names], textposition="none",
            hovertemplate="%{text}: %{x:.3f}<extra></extra>",
        )  # fmt: skip
        names = [_text(words.shortened(name, 28)) for name in found.names]
        figure.update_yaxes(autorange="reversed", tickvals=places, ticktext=names)
        figure.update_xaxes(range=[0, found.end])
        return figure.update_layout(height=None if len(names) <= 16 else 100 + 16 * len(names))

    def slice(self) -> Any:
        """Return each trial's value against each parameter, chosen from a menu."""
        found = data.Slice.of(self._view)
        figure = self._new(data.Slice, found, "", self._metric)
        if found is None:
            return figure
        buttons = []
        for place, panel in enumerate(found.panels):
            self._add_trials(figure, panel.trials, panel.places, panel.values, one_trace=True, visible=place == 0)
            layout = {f"xaxis.{key}": value for key, value in _axis(panel.name, panel.axis).items()}
            visible = [other == place for other in range(len(found.panels))]
            label = _text(words.shortened(panel.name, 28))
            buttons.append({"label": label, "method": "update", "args": [{"visible": visible}, layout]})
        first = found.panels[0]
        figure.update_xaxes(_axis(first.name, first.axis))
        menu = {"buttons": buttons, "x": 0, "xanchor": "left", "y": 1.15, "yanchor": "top"}
        figure.update_layout(updatemenus=[menu], showlegend=False)
        return _scale(figure, is_log=found.is_log)

    def beliefs(self) -> Any:
        """Return the belief about each parameter that has one, and each trial's value against it."""
        found = data.Beliefs.of(self._view)
        figure = self._new(data.Beliefs, found, "", self._metric)
        if found is None:
            return figure
        buttons = []
        for place, (panel, ticks, density, good) in enumerate(found.panels):
            figure.add_scatter(
                x=ticks, y=density, yaxis="y2", fill="tozeroy", mode="none", fillcolor="rgba(0, 114, 178, 0.2)",
                visible=place == 0, hoverinfo="skip",
            )  # fmt: skip
            self._add_trials(figure, panel.trials, panel.places, panel.values, one_trace=True, visible=place == 0)
            figure.data[-1].marker.color = [HIGHLIGHT if is_good else MUTED for is_good in good]
            layout = {f"xaxis.{key}": value for key, value in _axis(panel.name, panel.axis).items()}
            visible = [other // 2 == place for other in range(2 * len(found.panels))]
            label = _text(words.shortened(panel.name, 28))
            buttons.append({"label": label, "method": "update", "args": [{"visible": visible}, layout]})
        first = found.panels[0].panel
        figure.update_xaxes(_axis(first.name, first.axis))
        menu = {"buttons": buttons, "x": 0, "xanchor": "left", "y": 1.15, "yanchor": "top"}
        second = {"overlaying": "y", "side": "right", "visible": False, "rangemode": "tozero"}
        figure.update_layout(updatemenus=[menu], showlegend=False)
        return _scale(figure, is_log=found.is_log).update_layout(yaxis2=second)

    def contour(self, first: str | None = None, second: str | None = None) -> Any:
        """Return the surrogate's prediction over two parameters, by default the two most important ones.

        Args:
            first: One parameter.
            second: The other.

        Raises:
            InvalidArgument: There is no such parameter.
        """
        found = data.Contour.of(self._view, first, second)
        figure = self._new(data.Contour, found, "", "")
        if found is None:
            return figure
        bar = {"title": {"text": f"expected {self._metric}"}}
        figure.add_contour(
            x=found.ticks, y=found.ticks, z=found.expected, colorscale="Cividis", colorbar=bar, hoverinfo="z"
        )
        self._add_trials(figure, found.trials, found.x, found.y, one_trace=True)
        star = {"symbol": "star", "size": 12, "color": HIGHLIGHT}
        best_x, best_y = found.best
        figure.add_scatter(x=[best_x], y=[best_y], mode="markers", marker=star, name="best", hoverinfo="name")
        figure.update_xaxes(_axis(found.first, found.axes[0]))
        figure.update_yaxes(_axis(found.second, found.axes[1]))
        return figure.update_layout(showlegend=False)

    def timeline(self) -> Any:
        """Return a timeline of the workers and their trials."""
        found = data.Timeline.of(self._view)
        figure = self._new(data.Timeline, found, data.Timeline.label, "")
        if found is None:
            return figure
        bars = list(zip(found.trials, found.rows, found.starts, found.lengths, strict=True))
        for state, color in COLORS.items():
            if own := [bar for bar in bars if bar[0].state is state]:
                trials, rows, starts, lengths = (list(column) for column in zip(*own, strict=True))
                figure.add_bar(
                    base=starts, x=lengths, y=rows, orientation="h", marker_color=color, name=state.value,
                    text=[self._describe(trial) for trial in trials], textposition="none", hovertemplate=_HOVER,
                    customdata=[trial.number for trial in trials],
                )  # fmt: skip
        labels = [_text(worker) for worker in found.workers]
        figure.update_yaxes(autorange="reversed", tickvals=list(range(len(labels))), ticktext=labels)
        return figure.update_layout(barmode="overlay", bargap=0.25)

    def rungs(self) -> Any:
        """Return the number of trials at each epoch of comparison, and how well the ranks predict the end."""
        found = data.Rungs.of(self._view)
        figure = self._new(data.Rungs, found, "epoch", "trials")
        if found is None:
            return figure
        texts = ["" if agreement is None else f"r = {agreement:.2f}" for agreement in found.agreements]
        hover = "%{y} trials reached epoch %{x}<br>%{text}<extra></extra>"
        epochs = [str(epoch) for epoch in found.epochs]
        figure.add_bar(x=epochs, y=found.counts, text=texts, marker_color=ACCENT, hovertemplate=hover)
        return figure.update_xaxes(type="category")

    def pareto(self, first: str | None = None, second: str | None = None) -> Any:
        """Return all trials by two goals, their Pareto front, the limits, and how trials moved while they trained.

        Args:
            first: The metric of the horizontal axis; by default the second objective, or the first limit.
            second: That of the vertical axis; by default the first objective.

        Raises:
            InvalidArgument: It is not the metric of an objective or a limit.
        """
        found = data.Pareto.of(self._view, first, second)
        x, y = ("", "") if found is None else (_text(words.shortened(name, 40)) for name in found.names)
        figure = self._new(data.Pareto, found, x, y)
        if found is None:
            return figure
        figure.add_scatter(
            x=[value for path in found.paths for value in (*path.x, None)],
            y=[value for path in found.paths for value in (*path.y, None)],
            mode="lines", line={"color": MUTED, "width": 0.6}, name="while training", hoverinfo="skip",
        )  # fmt: skip
        ends = {path.trial.number: (path.x[-1], path.y[-1]) for path in found.paths}
        trials = [path.trial for path in found.paths]
        self._add_trials(figure, trials, [ends[t.number][0] for t in trials], [ends[t.number][1] for t in trials])
        bars = [{"type": "data", "array": list(each)} for each in zip(*found.spreads, strict=True)] or [{}, {}]
        figure.add_scatter(
            x=[ends[t.number][0] for t in found.front], y=[ends[t.number][1] for t in found.front], error_x=bars[0],
            error_y=bars[1], mode="lines+markers", line={"color": ACCENT, "width": 2}, name="Pareto front",
            text=[self._describe(trial) for trial in found.front], hovertemplate=_HOVER,
        )  # fmt: skip
        for place, value, _ in found.limits:
            line = {"color": HIGHLIGHT, "dash": "dash"}
            (figure.add_hline if place else figure.add_vline)(value, line=line)
        return figure

    @property
    def _metric(self) -> str:
        return _text(words.shortened(self._view.objective.metric, 40))

    def _new(self, kind: type[data.Figure], found: data.Figure | None, x: str, y: str) -> Any:
        """Return a figure without traces, which says so if there are none to come."""
        try:
            import plotly.graph_objects as go
        except ModuleNotFoundError as error:
            raise MissingDependency.of(error, "plotly", "plot") from error
        figure = go.Figure(
            layout={
                "title": {"text": _text(self._view.name)},
                "template": "plotly_white",
                "xaxis": {"title": {"text": x}},
                "yaxis": {"title": {"text": y}},
            }
        )
        if found is None:
            figure.add_annotation(text=kind.nothing, showarrow=False, xref="paper", yref="paper", x=0.5, y=0.5)
            figure.update_xaxes(visible=False)
            figure.update_yaxes(visible=False)
        else:
            figure.update_layout(meta={"note": found.note})
        return figure

    def _add_trials(
        self,
        figure: Any,
        trials: Sequence[TrialRecord],
        x: Iterable[float],
        y: Iterable[float],
        *,
        one_trace: bool = False,
        visible: bool = True,
    ) -> None:
        """Add a point per trial, in the colour of its state.

        Args:
            figure: Where to.
            trials: The trials.
            x: Their horizontal places.
            y: Their vertical places.
            one_trace: Whether they are one trace; otherwise each state has one, for a legend.
            visible: Whether they are seen at first.
        """
        rows = list(zip(trials, x, y, strict=True))
        groups = [rows] if one_trace else [[row for row in rows if row[0].state is state] for state in COLORS]
        for group in groups:
            if not group and not one_trace:
                continue
            color = [COLORS[t.state] for t, _, _ in group] if one_trace else COLORS[group[0][0].state]
            (figure.add_scattergl if len(rows) > MANY else figure.add_scatter)(
                x=[place for _, place, _ in group],
                y=[place for _, _, place in group],
                mode="markers",
                marker={"color": color, "line": {"width": 0.5, "color": "white"}},
                text=[self._describe(trial) for trial, _, _ in group],
                customdata=[trial.number for trial, _, _ in group],
                name="" if one_trace else group[0][0].state.value,
                visible=visible,
                hovertemplate=_HOVER,
            )

    def _describe(self, trial: TrialRecord) -> str:
        """Return what is shown of a trial under the pointer."""
        params = {} if self._max_points else trial.params
        lines = [words.outcome(trial), *(f"{name} = {words.number(value)}" for name, value in params.items())]
        return "<br>".join(map(_text, lines))

    def _values_of(self, trial: TrialRecord, names: Iterable[str]) -> list[str]:
        """Return what is shown of a trial under the pointer at each parameter."""
        head = f"trial {trial.number}: {trial.value:.5g}"
        return [
            _text(f"{head}, {name} = {words.number(trial.params[name])}") if name in trial.params else ""
            for name in names
        ]


def _text(text: str) -> str:
    """Return text for plotly, which reads it as HTML, ``$ $`` as mathematics and ``%{}`` as a placeholder."""
    return html.escape(printable(text)).replace("$", "&#36;").replace("%{", "%&#123;")


def _axis(name: str, axis: data.Axis) -> dict[str, Any]:
    labels = [_text(words.shortened(label, 20)) for label in axis.labels]
    return {"title.text": _text(name), "tickvals": axis.places, "ticktext": labels, "range": [-0.03, 1.03]}


def _scale(figure: Any, *, is_log: bool) -> Any:
    return figure.update_yaxes(type="log") if is_log else figure
