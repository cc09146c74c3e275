"""The report: one HTML file with its data, its script and plotly in it, so that it needs no network.

What is untrusted (names, values, errors) reaches the page as JSON and is shown as text.
"""

from __future__ import annotations

import base64
import functools
import gzip
import html
import importlib.resources
import json
import math
import os
import re
from pathlib import Path
from typing import Any

from hpo_plugins._text import printable
from hpo_plugins.errors import MissingDependency, StorageError
from hpo_plugins.records import TrialRecord
from hpo_plugins.view import insights, words
from hpo_plugins.view.importance import importances, most_important
from hpo_plugins.view.plots.style import COLORS, use_log_scale
from hpo_plugins.view.study_view import StudyView

MAX_POINTS = 24
"""Points of a curve, at most: thousands of curves must open fast (docs/decisions/0024)."""
MAX_PARALLEL = 12
MAX_LINES = 1000
MAX_BARS = 2000


def write_report(view: StudyView, path: str | os.PathLike[str]) -> None:
    """Write the report of a study to a file.

    Args:
        view: The study.
        path: The file.

    Raises:
        MissingDependency: plotly is not installed.
        StorageError: The file cannot be written.
    """
    text = report(view)
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise StorageError(f"The report could not be written to {path}: {error.strerror}.") from error


def report(view: StudyView) -> str:
    """Return the report of a study.

    Raises:
        MissingDependency: plotly is not installed.
    """
    template = importlib.resources.files("hpo_plugins.view").joinpath("assets/report.html").read_text(encoding="utf-8")
    parts = {"TITLE": html.escape(printable(view.name)), "DATA": as_json(report_data(view)), "PLOTLY": _plotly()}
    # In one pass: a name or a value that looks like a placeholder is text.
    return re.sub(r"\{\{([A-Z]+)\}\}", lambda found: parts[found[1]], template)


def as_json(data: Any) -> str:
    """Return JSON that can stand inside a script element: no text can end it."""
    text = json.dumps(_finite(data), separators=(",", ":"), ensure_ascii=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _finite(data: Any) -> Any:
    """Return data whose numbers JSON can express, with five digits, and whose text can be shown."""
    if isinstance(data, str):
        return printable(data, lines=True)
    if isinstance(data, float):
        return float(f"{data:.5g}") if math.isfinite(data) else None
    if isinstance(data, dict):
        return {key: _finite(value) for key, value in data.items()}
    return [_finite(value) for value in data] if isinstance(data, list | tuple) else data


@functools.cache
def _plotly() -> str:
    try:
        from plotly.offline import get_plotlyjs
    except ModuleNotFoundError as error:
        raise MissingDependency.of(error, "plotly", "plot") from error
    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), 9)).decode()


def report_data(view: StudyView) -> dict[str, Any]:
    """Return everything that the report shows, as JSON."""
    names = list(view.space)
    valued = view.valued
    return {
        "name": view.name,
        "metric": view.objective.metric,
        "subtitle": f"{view.strategy}, {view.completion_reason or 'not complete'}",
        "tiles": _tiles(view),
        "best": _best(view),
        "advice": [text for text in [insights.lead(view)] if text] + insights.advice(view),
        "definition": f"{view.objective!r}\n{view.space!r}\n{view.strategy}\n\n{view.description}",
        "columns": ["trial", "state", view.objective.metric, "epochs", *names, "why"],
        "rows": [_row(trial, names) for trial in view.trials],
        "colors": {state.value: color for state, color in COLORS.items()},
        "milestones": list(view.milestones),
        "log": use_log_scale([t.value for t in valued if t.value is not None]),
        "log_curves": use_log_scale([value for t in valued for value in t.curve.values()]),
        "long": bool(view.milestones) and max((t.epochs for t in view.trials), default=0) > 30,
        "history": _history(view) if valued else None,
        "curves": _curves(view) if valued else None,
        "curves_note": f"Of each curve, at most {MAX_POINTS} points are drawn.",
        "parallel": _parallel(view) if len(valued) > 1 else None,
        "importance": [list(i) for i in importances(view.history, view.max_resource)[:20]] or None,
        "timeline": _timeline(view) if view.trials else None,
    }


def _row(trial: TrialRecord, names: list[str]) -> list[Any]:
    cells = [_cell(trial.params.get(name)) for name in names]
    return [trial.number, trial.state.value, trial.value, trial.epochs, *cells, words.whole_reason(trial)]


def _cell(value: Any) -> Any:
    return (
        value if value is None or (isinstance(value, int | float | str) and not isinstance(value, bool)) else str(value)
    )


def _tiles(view: StudyView) -> list[tuple[str, str]]:
    of = "" if view.limit is None else f" of {view.limit}"
    tiles = [("trials", f"{len(view.trials)}{of}")]
    if view.best is not None and view.best.value is not None:
        spread = "" if view.best.std is None else f" \u00b1 {view.best.std:.2g}"
        tiles.insert(0, (f"best {view.objective.metric}, trial {view.best.number}", f"{view.best.value:.6g}{spread}"))
    tiles += [(state, str(count)) for state, count in view.counts.items()]
    tiles.append(("epochs trained", f"{view.epochs:,}"))
    whole = view.epochs_of_full_trainings
    if whole and whole > view.epochs:
        tiles.append(("of the epochs of full trainings", f"{view.epochs / whole:.0%}"))
    return [*tiles, ("worked on for", words.duration(view.runtime))]


def _best(view: StudyView) -> str | None:
    if view.best is None:
        return None
    lines = ",\n".join(f"    {name!r}: {value!r}" for name, value in view.best.params.items())
    return f"params = {{\n{lines},\n}}"


def _history(view: StudyView) -> list[dict[str, Any]]:
    traces: list[dict[str, Any]] = [
        {
            "type": "scattergl" if len(view.trials) > 1000 else "scatter",
            "mode": "markers",
            "name": state.value,
            "x": [t.number for t in view.valued if t.state is state],
            "y": [t.value for t in view.valued if t.state is state],
            "marker": {"color": color, "size": 6, "opacity": 0.8},
        }
        for state, color in COLORS.items()
        if any(t.state is state for t in view.valued)
    ]
    steps = view.incumbents()
    if steps:
        numbers, values = [number for number, _ in steps], [value for _, value in steps]
        line = {"color": "#0072B2", "width": 2, "shape": "hv"}
        end = len(view.trials) - 1
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": "best so far",
                "line": line,
                "x": [*numbers, end],
                "y": [*values, values[-1]],
            }
        )
    return traces


def _curves(view: StudyView) -> list[dict[str, Any]]:
    """Return one trace per state: its curves one after the other, with gaps between them."""
    traces: list[dict[str, Any]] = []
    for state, color in COLORS.items():
        x: list[Any] = []
        y: list[Any] = []
        text: list[Any] = []
        for trial in view.trials:
            if trial.state is state and trial.curve:
                epochs = _thinned(list(trial.curve))
                x += [*epochs, None]
                y += [*(trial.curve[epoch] for epoch in epochs), None]
                text += [trial.number] * (len(epochs) + 1)
        if x:
            traces.append({
                "type": "scattergl" if len(x) > 5000 else "scatter", "mode": "lines+markers", "name": state.value,
                "x": x, "y": y, "text": text, "line": {"color": color, "width": 1}, "marker": {"size": 3},
                "opacity": 0.6, "hovertemplate": "trial %{text}, epoch %{x}: %{y}<extra></extra>",
            })  # fmt: skip
    best = view.ranked[0]
    if best.curve:
        epochs = _thinned(list(best.curve))
        traces.append({
            "type": "scatter", "mode": "lines", "name": f"best, trial {best.number}", "x": epochs,
            "y": [best.curve[epoch] for epoch in epochs], "line": {"color": "#0072B2", "width": 3},
        })  # fmt: skip
    return traces


def _thinned(epochs: list[int]) -> list[int]:
    """Return at most ``MAX_POINTS`` epochs: the first and the last, and denser at the start, where curves bend."""
    if len(epochs) <= MAX_POINTS:
        return epochs
    last = len(epochs) - 1
    places = {round(last ** (n / (MAX_POINTS - 1))) for n in range(MAX_POINTS)} | {0, last}
    return [epochs[place] for place in sorted(places)]


def _parallel(view: StudyView) -> dict[str, Any]:
    """Return all configurations as lines over the parameters, in groups of their rank, the best in front.

    Plotly's own parallel coordinates are slow in a browser without a graphics card (docs/decisions/0024).
    """
    names = most_important(view.history, view.max_resource, MAX_PARALLEL)
    ranked = [trial for trial in view.ranked if not trial.params.keys().isdisjoint(names)]
    chosen = ranked[:: max(1, len(ranked) // MAX_LINES)]
    ends = [max(2, math.ceil(len(chosen) * share)) for share in (0.05, 0.25)] + [len(chosen)]
    groups = [("best", 0, 1), ("best 5 %", 1, ends[0]), ("best 25 %", ends[0], ends[1]), ("others", ends[1], ends[2])]
    colors, traces = ("#D55E00", "#0072B2", "#56B4E9", "#B9BEC8"), []
    for (group, start, end), color in reversed(list(zip(groups, colors, strict=True))):
        x: list[Any] = []
        y: list[Any] = []
        text: list[Any] = []
        for trial in chosen[start:end]:
            x += [*range(len(names)), None]
            y += [*view.heights(names, trial), None]
            values = [words.number(trial.params[name]) if name in trial.params else "" for name in names]
            text += [f"trial {trial.number}: {trial.value:.5g}, {value}" for value in values]
            text.append("")
        if x:
            traces.append({
                "type": "scatter", "mode": "lines+markers", "marker": {"size": 4}, "name": group,
                "x": x, "y": y, "text": text,
                "line": {"color": color, "width": 3 if group == "best" else 1},
                "hovertemplate": "%{text}<extra></extra>",
            })  # fmt: skip
    bounds = [[words.number(view.space[name].from_unit(end)) for end in (0.0, 1.0)] for name in names]
    return {"traces": traces, "names": names, "bounds": bounds}


def _timeline(view: StudyView) -> list[dict[str, Any]]:
    began = min(trial.started_at for trial in view.trials)
    lanes = list(dict.fromkeys(view.workers))
    chosen = view.trials[-MAX_BARS:]
    return [{
        "type": "bar", "orientation": "h",
        "base": [trial.started_at - began for trial in chosen],
        "x": [max((trial.ended_at or view.now) - trial.started_at, 1e-3) for trial in chosen],
        "y": [f"worker {lanes.index(view.workers[trial.number])}" for trial in chosen],
        "text": [f"trial {trial.number}" for trial in chosen],
        "marker": {"color": [COLORS[trial.state] for trial in chosen]},
        "hovertemplate": "%{text}<extra></extra>", "textposition": "none",
    }]  # fmt: skip
