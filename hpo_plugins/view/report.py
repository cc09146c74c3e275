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
from hpo_plugins.records import TrialRecord, expected_text
from hpo_plugins.view import insights, words
from hpo_plugins.view.plots.data import Figure
from hpo_plugins.view.plots.interactive import InteractivePlots
from hpo_plugins.view.plots.style import COLORS
from hpo_plugins.view.study_view import StudyView

MAX_POINTS = 24
"""Points of a curve, at most: thousands of curves must open fast (docs/decisions/0024)."""


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


def report(view: StudyView, head: str = "") -> str:
    """Return the report of a study.

    Args:
        view: The study.
        head: HTML for the head of the page.

    Raises:
        MissingDependency: plotly is not installed.
    """
    template = importlib.resources.files("hpo_plugins.view").joinpath("assets/report.html").read_text(encoding="utf-8")
    parts = {
        "PLOTLY": _plotly(),
        "HEAD": head,
        "TITLE": html.escape(printable(view.name)),
        "DATA": as_json(report_data(view)),
    }
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
    return {
        "name": view.name,
        "metric": view.objective.metric,
        "subtitle": f"{view.strategy}, {view.completion_reason or 'not complete'}",
        "tiles": tiles(view),
        "best": best_as_python(view),
        "advice": insights.all_of(view),
        "definition": definition_of(view),
        **table_of(view),
        "colors": {state.value: color for state, color in COLORS.items()},
        "figures": _figures(view),
    }


def definition_of(view: StudyView) -> str:
    """Return the objectives, the limits, the space and the strategy as Python, and the strategy's plan."""
    goals = [view.objective] if view.goals is None else [*view.goals.objectives, *view.goals.constraints]
    return "\n".join([*map(repr, goals), repr(view.space), view.strategy, "", view.description])


def table_of(view: StudyView) -> dict[str, Any]:
    """Return the table of the trials: its columns, and a row of each trial."""
    names = list(view.space)
    further = [] if view.goals is None else [name for name in view.goals.metrics if name != view.objective.metric]
    return {
        "columns": ["trial", "state", view.objective.metric, *further, "epochs", *names, "why"],
        "rows": [_row(trial, further, names) for trial in view.trials],
    }


def _row(trial: TrialRecord, further: list[str], names: list[str]) -> list[Any]:
    goals = [trial.values.get(name) for name in further]
    cells = [_cell(trial.params.get(name)) for name in names]
    return [trial.number, trial.state.value, trial.value, *goals, trial.epochs, *cells, words.whole_reason(trial)]


def _cell(value: Any) -> Any:
    return (
        value if value is None or (isinstance(value, int | float | str) and not isinstance(value, bool)) else str(value)
    )


def tiles(view: StudyView, *, is_exact: bool = True) -> list[tuple[str, str]]:
    """Return the figures at the head of the page, each with its name.

    Args:
        view: The study.
        is_exact: Whether to say what to expect of the best trial, which takes a fit of the surrogate.
    """
    of = "" if view.limit is None else f" of {view.limit}"
    tiles = [("trials", f"{len(view.trials)}{of}")]
    best = view.expected_best if is_exact else view.best
    if best is not None and best.value is not None:
        spread = "" if best.std is None else f" \u00b1 {best.std:.2g}"
        tiles.insert(0, (f"best {view.objective.metric}, trial {best.number}", f"{best.value:.6g}{spread}"))
        if (again := expected_text(best, "\u00b1")) is not None:
            tiles.insert(1, ("expected if trained again", again))
        tiles[1:1] = [(f"its {name}", f"{value:.6g}") for name, value in view.further_values(best).items()]
    elif view.headline is not None:
        tiles.insert(0, ("on the Pareto front" if view.front else "feasible", str(len(view.front))))
    tiles += [(state, str(count)) for state, count in view.counts.items()]
    tiles.append(("epochs trained", f"{view.epochs:,}"))
    whole = view.epochs_of_full_trainings
    if whole and whole > view.epochs:
        tiles.append(("of the epochs of full training runs", f"{view.epochs / whole:.0%}"))
    return [*tiles, ("worked on for", words.duration(view.runtime))]


def best_as_python(view: StudyView) -> str | None:
    """Return the best configuration as Python, None without one."""
    if view.best is None:
        return None
    lines = ",\n".join(f"    {name!r}: {value!r}" for name, value in view.best.params.items())
    return f"params = {{\n{lines},\n}}"


def _figures(view: StudyView) -> list[dict[str, Any]]:
    """Return the interactive figures that have something to show; the page gives them its own colours."""
    plots = InteractivePlots(view, MAX_POINTS)
    found = (figure_of(plots, kind) for kind in Figure.__subclasses__() if kind.in_report)
    return [figure for figure in found if figure is not None]


def figure_of(plots: InteractivePlots, kind: type[Figure]) -> dict[str, Any] | None:
    """Return a figure with its title and note, None if there is nothing to show.

    Args:
        plots: The study's figures.
        kind: Which one.
    """
    figure = getattr(plots, kind.kind)().to_plotly_json()
    if not figure.get("data"):
        return None
    layout = {name: value for name, value in figure["layout"].items() if name not in ("template", "title")}
    note = layout.pop("meta")["note"]
    return {"title": kind.title, "note": note, "wide": kind.is_wide, "data": list(figure["data"]), "layout": layout}
