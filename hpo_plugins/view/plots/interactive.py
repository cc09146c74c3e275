"""A study as interactive figures of plotly: ``tuner.plot.interactive.curves()`` and its like.

They show what the figures of matplotlib show, and each trial's number, configuration and outcome under the pointer.
"""

from __future__ import annotations

import html
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from hpo_plugins._text import printable
from hpo_plugins.records import TrialRecord
from hpo_plugins.view import words
from hpo_plugins.view.importance import importances, most_important
from hpo_plugins.view.insights import rank_agreement
from hpo_plugins.view.plots.curves import chosen_curves
from hpo_plugins.view.plots.parallel import MAX_PARAMETERS
from hpo_plugins.view.plots.slices import axis_ticks, expected_surface
from hpo_plugins.view.plots.style import ACCENT, COLORS, MUTED, use_log_scale
from hpo_plugins.view.study_view import StudyView


class InteractivePlots:
    """The figures of a study, each a new ``plotly.graph_objects.Figure``; see ``Plots`` for what they show.

    Args:
        view: The study.
    """

    def __init__(self, view: StudyView) -> None:
        """Draw nothing yet."""
        self._view = view

    def history(self) -> Any:
        """Return each trial's value, and the best so far."""
        view = self._view
        figure = _new(view, "trial", _metric(view))
        _add_trials(figure, view.valued, [trial.number for trial in view.valued])
        if steps := view.incumbents():
            numbers, values = zip(*steps, (len(view.trials) - 1, steps[-1][1]), strict=True)
            line = {"shape": "hv", "color": ACCENT}
            figure.add_scatter(x=numbers, y=values, mode="lines", line=line, name="best so far", hoverinfo="skip")
        _scale(figure, [trial.value for trial in view.valued])
        return figure

    def curves(self) -> Any:
        """Return the learning curves by what became of their trials, with the epochs at which they are compared."""
        view = self._view
        figure = _new(view, "epoch", _metric(view))
        chosen = chosen_curves(view)
        shown: set[str] = set()
        for trial in reversed(chosen):
            is_best = trial is chosen[0]
            figure.add_scatter(
                x=list(trial.curve),
                y=list(trial.curve.values()),
                mode="lines" if len(trial.curve) > 1 else "markers",
                line={"color": COLORS[trial.state], "width": 3 if is_best else 1},
                opacity=1.0 if is_best else 0.6,
                name=trial.state.value,
                legendgroup=trial.state.value,
                showlegend=trial.state.value not in shown,
                hovertemplate=f"{_describe(trial)}<br>epoch %{{x}}: %{{y:.6g}}<extra></extra>",
            )
            shown.add(trial.state.value)
        for epoch in view.milestones:
            figure.add_vline(epoch, line={"color": MUTED, "width": 1, "dash": "dot"})
        _scale(figure, [value for trial in chosen for value in trial.curve.values()])
        return figure

    def parallel(self) -> Any:
        """Return all configurations, one axis per parameter; drag along an axis to choose a range."""
        import plotly.graph_objects as go

        view = self._view
        names = most_important(view.history, view.max_resource, MAX_PARAMETERS)
        trials = [trial for trial in view.ranked if set(names) <= trial.params.keys()]
        figure = _new(view, "", "")
        if not trials:
            return _nothing(figure, "No trial has a value yet.")
        dimensions = []
        for name in names:
            places, labels = axis_ticks(view.space[name])
            axis = {"label": _text(name), "range": [0, 1], "tickvals": places, "ticktext": labels}
            dimensions.append(axis | {"values": view.places(name, trials)})
        dimensions.append({"label": _metric(view), "values": [trial.value for trial in trials]})
        line = {"color": list(range(1, len(trials) + 1)), "colorscale": "Cividis", "reversescale": True,
                "showscale": True, "colorbar": {"title": "rank"}}  # fmt: skip
        figure.add_trace(go.Parcoords(line=line, dimensions=dimensions))
        return figure

    def importance(self) -> Any:
        """Return how much each parameter matters, and how sure that is."""
        found = importances(self._view.history, self._view.max_resource)
        figure = _new(self._view, "share of the variance of a full training's result (total effect)", "")
        if not found:
            return _nothing(figure, "Too few trials have a value to tell which parameters matter.")
        figure.add_bar(
            x=[each.total for each in found],
            y=[_text(each.name) for each in found],
            error_x={"array": [each.deviation for each in found]},
            orientation="h",
            marker_color=ACCENT,
        )
        figure.update_yaxes(autorange="reversed")
        return figure

    def slice(self) -> Any:
        """Return each trial's value against each parameter, chosen from a menu."""
        view = self._view
        figure = _new(view, "", _metric(view))
        buttons = []
        for place, (name, parameter) in enumerate(view.space.items()):
            trials = [trial for trial in view.valued if name in trial.params]
            _add_trials(figure, trials, view.places(name, trials), one_trace=True, visible=place == 0)
            places, labels = axis_ticks(parameter)
            axis = {"title.text": _text(name), "tickvals": places, "ticktext": labels, "range": [-0.03, 1.03]}
            layout = {f"xaxis.{key}": value for key, value in axis.items()}
            visible = [other == place for other in range(len(view.space))]
            buttons.append({"label": _text(name), "method": "update", "args": [{"visible": visible}, layout]})
            if place == 0:
                figure.update_layout(layout)
        menu = {"buttons": buttons, "x": 0, "xanchor": "left", "y": 1.15, "yanchor": "top"}
        figure.update_layout(updatemenus=[menu], showlegend=False)
        _scale(figure, [trial.value for trial in view.valued])
        return figure

    def contour(self, first: str | None = None, second: str | None = None) -> Any:
        """Return what the surrogate expects over two parameters, by default the two most important ones.

        Args:
            first: One parameter.
            second: The other.

        Raises:
            InvalidArgument: There is no such parameter.
        """
        view = self._view
        surface = expected_surface(view, first, second)
        if surface is None:
            return _nothing(_new(view, "", ""), "Two parameters and two trials with a value are needed.")
        figure = _new(view, _text(surface.first), _text(surface.second))
        bar = {"title": f"expected {_metric(view)}"}
        figure.add_contour(
            x=surface.ticks, y=surface.ticks, z=surface.values, colorscale="Cividis", colorbar=bar, hoverinfo="z"
        )
        _add_trials(figure, view.valued, surface.points[:, 0], surface.points[:, 1], one_trace=True)
        figure.update_layout(showlegend=False)
        for axis, name in (("xaxis", surface.first), ("yaxis", surface.second)):
            places, labels = axis_ticks(view.space[name])
            figure.update_layout({axis: {"tickvals": places, "ticktext": labels}})
        return figure

    def timeline(self) -> Any:
        """Return who trained what, and when."""
        view = self._view
        figure = _new(view, "", "")
        lanes = list(dict.fromkeys(view.workers))
        for state, color in COLORS.items():
            own = [(t, w) for t, w in zip(view.trials, view.workers, strict=True) if t.state is state]
            if own:
                ends = [view.now if trial.ended_at is None else trial.ended_at for trial, _ in own]
                figure.add_bar(
                    base=[datetime.fromtimestamp(trial.started_at, UTC) for trial, _ in own],
                    x=[1000 * (end - trial.started_at) for end, (trial, _) in zip(ends, own, strict=True)],
                    y=[f"worker {lanes.index(worker)}" for _, worker in own],
                    orientation="h",
                    marker_color=color,
                    name=state.value,
                    text=[_describe(trial) for trial, _ in own],
                    textposition="none",
                    hovertemplate="%{text}<extra></extra>",
                )
        figure.update_layout(barmode="overlay", xaxis_type="date")
        figure.update_yaxes(autorange="reversed")
        return figure

    def rungs(self) -> Any:
        """Return how many trials reach each epoch of comparison, and how well the order there foretells the end."""
        view = self._view
        figure = _new(view, "epoch", "trials")
        reached, agreements = view.on_milestones(), rank_agreement(view)
        if not reached:
            return _nothing(figure, "The strategy compares no trainings while they run.")
        texts = [f"r = {agreements[epoch]:.2f}" if epoch in agreements else "" for epoch, _ in reached]
        hover = "%{y} trials reached epoch %{x}<br>rank correlation with the end: %{text}<extra></extra>"
        epochs, counts = zip(*reached, strict=True)
        figure.add_bar(x=[str(e) for e in epochs], y=counts, text=texts, marker_color=ACCENT, hovertemplate=hover)
        figure.update_xaxes(type="category")
        return figure


def _new(view: StudyView, x: str, y: str) -> Any:
    import plotly.graph_objects as go

    return go.Figure(
        layout={
            "title": {"text": _text(view.name)},
            "template": "plotly_white",
            "xaxis": {"title": {"text": x}},
            "yaxis": {"title": {"text": y}},
        }
    )


def _nothing(figure: Any, message: str) -> Any:
    figure.add_annotation(text=message, showarrow=False, xref="paper", yref="paper", x=0.5, y=0.5)
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    return figure


def _text(text: str) -> str:
    """Return text for plotly, which reads it as HTML."""
    return html.escape(printable(text))


def _metric(view: StudyView) -> str:
    return _text(view.objective.metric)


def _describe(trial: TrialRecord) -> str:
    """Return what is shown of a trial under the pointer; plotly reads it as HTML."""
    lines = [words.outcome(trial), *(f"{name} = {words.number(value)}" for name, value in trial.params.items())]
    return "<br>".join(_text(line) for line in lines)


def _add_trials(
    figure: Any,
    trials: list[TrialRecord],
    x: Iterable[Any],
    y: Iterable[Any] | None = None,
    *,
    one_trace: bool = False,
    visible: bool = True,
) -> None:
    """Add a point per trial, in the colour of its state.

    Args:
        figure: Where to.
        trials: The trials.
        x: Their horizontal places.
        y: Their vertical places; their values by default.
        one_trace: Whether they are one trace; else there is one per state, for a legend.
        visible: Whether they are seen at first.
    """
    rows = list(zip(trials, x, (trial.value for trial in trials) if y is None else y, strict=True))
    groups = [rows] if one_trace else [[row for row in rows if row[0].state is state] for state in COLORS]
    for group in groups:
        if group or one_trace:
            figure.add_scatter(
                x=[place for _, place, _ in group],
                y=[place for _, _, place in group],
                mode="markers",
                marker={
                    "color": [COLORS[trial.state] for trial, _, _ in group],
                    "line": {"width": 0.5, "color": "white"},
                },
                text=[_describe(trial) for trial, _, _ in group],
                name="" if one_trace else group[0][0].state.value,
                visible=visible,
                hovertemplate="%{text}<extra></extra>",
            )


def _scale(figure: Any, values: Iterable[float | None]) -> None:
    if use_log_scale([value for value in values if value is not None]):
        figure.update_yaxes(type="log")
