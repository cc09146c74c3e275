"""What the page shows of a study, as JSON.

The parts that need a fit of the surrogate are apart: they are sent later, and less often.
"""

from __future__ import annotations

import json
import math
from typing import Any

from hpo_plugins.coordination.acting import annotations_of
from hpo_plugins.page.form import fields_of, values_of
from hpo_plugins.records import ActionRow, TrialRecord
from hpo_plugins.view import StudyView, insights, words
from hpo_plugins.view.plots.data import Figure, ImportanceBars
from hpo_plugins.view.plots.interactive import InteractivePlots
from hpo_plugins.view.plots.style import COLORS
from hpo_plugins.view.report import MAX_POINTS, as_json, best_as_python, definition_of, figure_of, table_of, tiles

MAX_CURVES = 300
"""Curves on the page: the best 50, and others in steps. A selected trial's curve is always drawn (decision 0032)."""
MAX_SHOWN = 2_000
"""Points of the picture of all values, drawn as SVG: WebGL takes seconds to start without a graphics card (decision
0032). Chosen trials are always drawn."""
MAX_ACTIONS = 200
"""The newest actions that the page lists; the download has all."""
MAX_SELECTED = 100
"""Curves of selected trials that are sent at once."""


def study_json(view: StudyView, state: str, actions: list[ActionRow]) -> str:
    """Return what the page shows first.

    Args:
        view: The study.
        state: Its state, see ``OpenStudy.state``.
        actions: Its log.
    """
    names = list(view.space)
    return with_raw(as_json({
        "state": state,
        "name": view.name,
        "metric": view.objective.metric,
        "subtitle": f"{view.strategy}, {view.completion_reason or 'not complete'}",
        "tiles": tiles(view, is_exact=False),
        "best": best_as_python(view),
        "definition": definition_of(view),
        **table_of(view),
        "running": sorted(view.running),
        "colors": {state.value: color for state, color in COLORS.items()},
        "figures": _figures(view),
        "fields": fields_of(view.space),
        "annotations": {
            "study" if trial is None else str(trial): {"note": each.note, "tags": each.tags}
            for trial, each in annotations_of(actions).items()
        },
        "actions": [_action(row) for row in reversed(actions[-MAX_ACTIONS:])],
    }), key=view.name, names=names)  # fmt: skip


def insights_json(view: StudyView) -> str:
    """Return what the page shows when it is computed: the importances, what to expect, and advice."""
    plots = InteractivePlots(view, MAX_POINTS)
    return as_json({
        "tiles": tiles(view),
        "advice": insights.all_of(view),
        "figures": [figure for figure in [_figure(plots, ImportanceBars)] if figure],
    })  # fmt: skip


def trial_json(view: StudyView, number: int) -> str:
    """Return everything about one trial: what is shown of it, and the values that a form is filled with."""
    trial = view.trials[number]
    values = {name: str(value) for name, value in values_of(view.space, trial.params).items()}  # every digit
    return with_raw(as_json({
        "number": number,
        "state": trial.state.value,
        "is_running": number in view.running,
        "params": {name: words.number(value) for name, value in trial.params.items()},
        "facts": _facts(view, trial),
    }), values=values)  # fmt: skip


def curves_json(view: StudyView, numbers: list[int]) -> str:
    """Return the learning curves of some trials."""
    chosen = [view.trials[number] for number in numbers[:MAX_SELECTED] if 0 <= number < len(view.trials)]
    return as_json([
        {"trial": trial.number, "x": list(trial.curve), "y": list(trial.curve.values())} for trial in chosen
    ])  # fmt: skip


def with_raw(shown: str, **raw: Any) -> str:
    """Return a JSON object with further members, by which the page names things to the server.

    Args:
        shown: The object, whose text is made for being shown: control characters are escapes in it.
        **raw: The members, whose text is as it is.
    """
    return json.dumps(raw).replace("<", "\\u003c")[:-1] + ", " + shown[1:]


def action_rows(actions: list[ActionRow]) -> list[dict[str, Any]]:
    """Return the log as rows of a table."""
    return [
        {"at": row.at, "action": row.action, "trial": row.trial, "details": _in_words(row.details)} for row in actions
    ]


def _facts(view: StudyView, trial: TrialRecord) -> list[tuple[str, str]]:
    last = trial.metrics.get(trial.epochs, {})
    value = "" if trial.value is None else f"{trial.value:.6g} at epoch {trial.best_epoch}"
    end = view.now if trial.ended_at is None else trial.ended_at
    facts = [
        (view.objective.metric, value),
        ("epochs", str(trial.epochs)),
        ("attempts", str(trial.attempts)),
        ("since its start", words.duration(end - trial.started_at)),
        ("why", words.whole_reason(trial)),
        *((f"{name}, epoch {trial.epochs}", f"{number:.6g}") for name, number in last.items()),
        ("checkpoint", trial.checkpoint or ""),
    ]
    return [(name, text) for name, text in facts if text]


def _action(row: ActionRow) -> dict[str, Any]:
    at = round(row.at) if math.isfinite(row.at) else 0
    return {"at": at, "action": row.action, "trial": row.trial, "details": _in_words(row.details)}


def _in_words(details: dict[str, Any]) -> str:
    parts = []
    for name, value in details.items():
        if name == "params" and isinstance(value, dict):
            parts.append(words.configuration(value))
        elif isinstance(value, list):
            parts.append(", ".join(map(str, value)))
        else:
            parts.append(str(value) if name in ("note", "tags") else f"{name} {value}")
    return "  ".join(parts)


def _figures(view: StudyView) -> list[dict[str, Any]]:
    plots = InteractivePlots(view, MAX_POINTS)
    kinds = [kind for kind in Figure.__subclasses__() if kind.in_report and kind is not ImportanceBars]
    return [figure for figure in (_figure(plots, kind) for kind in kinds) if figure]


def _figure(plots: InteractivePlots, kind: type[Figure]) -> dict[str, Any] | None:
    """Return a figure for plotly, and its name; None if there is nothing to show."""
    found = figure_of(plots, kind)
    if found is None:
        return None
    if kind.kind == "curves":
        _thin_out(found)
    if kind.kind == "history":
        _thin_out_points(found)
    return {"kind": kind.kind} | found


def _thin_out_points(figure: dict[str, Any]) -> None:
    """Leave out points at equal distances if there are very many."""
    points = [trace for trace in figure["data"] if "customdata" in trace]
    n_all = sum(len(trace["x"]) for trace in points)
    step = -(-n_all // MAX_SHOWN)
    for trace in points:
        trace["type"] = "scatter"
        if step > 1:
            trace |= {column: trace[column][::step] for column in ("x", "y", "text", "customdata")}
    if step > 1:
        figure["note"] = (
            f"Every {step}th of {n_all:,} trials is drawn, and all that you choose. {figure['note']}".strip()
        )


def _thin_out(figure: dict[str, Any]) -> None:
    """Leave out curves that are neither among the best nor needed to see the others' spread."""
    curves = figure["data"]  # the best one last
    if len(curves) <= MAX_CURVES:
        return
    best, others = curves[-50:], curves[:-50]
    kept = others[:: -(-len(others) // (MAX_CURVES - 50))] + best
    shown: set[str] = set()
    for curve in kept:
        curve["showlegend"] = curve["name"] not in shown
        shown.add(curve["name"])
    figure["data"] = kept
    figure["note"] = f"{len(kept):,} curves are drawn; select trials to see theirs. " + figure["note"]
