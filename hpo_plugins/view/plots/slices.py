"""The value against each parameter, and against two at once."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from hpo_plugins import modeling
from hpo_plugins.errors import InvalidArgument
from hpo_plugins.space import Categorical
from hpo_plugins.view.importance import importances
from hpo_plugins.view.plots.style import COLORS, figure, nothing, objective_label, plain, use_log_scale
from hpo_plugins.view.study_view import StudyView
from hpo_plugins.view.words import number

MAX_PARAMETERS = 12
GRID = 60


def plot(view: StudyView) -> Any:
    """Return a figure with one panel per parameter: the value of each trial against its setting."""
    names = list(view.space)[:MAX_PARAMETERS]
    columns = min(3, len(names))
    rows = math.ceil(len(names) / columns)
    with figure(max(1.0, columns * 0.6), max(1.0, rows * 0.7)) as drawn:
        panels = list(drawn.subplots(rows, columns, sharey=True, squeeze=False).flat)
        for panel in panels[len(names) :]:
            panel.set_axis_off()
        for panel, name in zip(panels, names, strict=False):
            _slice(panel, view, name)
        drawn.supylabel(objective_label(view), fontsize=11)
        return drawn


def _slice(axes: Any, view: StudyView, name: str) -> None:
    trials = [trial for trial in view.valued if name in trial.params]
    axes.set_xlabel(plain(name))
    if not trials:
        return
    heights = [view.space[name].to_unit(trial.params[name]) for trial in trials]  # type: ignore[arg-type]  # its own value
    axes.scatter(heights, [t.value for t in trials], c=[COLORS[t.state] for t in trials], s=14, linewidths=0, alpha=0.8)
    _ticks(axes, view, name, axis="x")
    if use_log_scale([t.value for t in trials if t.value is not None]):
        axes.set_yscale("log")


def _ticks(axes: Any, view: StudyView, name: str, *, axis: str) -> None:
    """Label an axis in the unit cube with the parameter's values."""
    parameter = view.space[name]
    if isinstance(parameter, Categorical):
        values = parameter.values[:: max(1, len(parameter.values) // 6)]
        places = [parameter.to_unit(value) for value in values]
    else:
        places = [0.0, 0.25, 0.5, 0.75, 1.0]
        values = tuple(parameter.from_unit(place) for place in places)
    labels = [plain(number(value), 10) for value in values]
    (axes.set_xticks if axis == "x" else axes.set_yticks)(places, labels, fontsize=8)
    (axes.set_xlim if axis == "x" else axes.set_ylim)(-0.03, 1.03)


def contour(view: StudyView, first: str | None = None, second: str | None = None) -> Any:
    """Return a figure of what the surrogate expects over two parameters, the others being the best trial's.

    Args:
        view: The study.
        first: One parameter; by default, the most important one.
        second: The other; by default, the second most important one.

    Raises:
        InvalidArgument: There is no such parameter.
    """
    for name in (first, second):
        if name is not None and name not in view.space:
            raise InvalidArgument(f"a parameter must be one of {', '.join(view.space)}, but got {name!r}.")
    ranked = [i.name for i in importances(view.history, view.max_resource)] or list(view.space)
    rest = [name for name in ranked if name not in (first, second)]
    with figure() as drawn:
        axes = drawn.subplots()
        model = modeling.model.fit_model(view.history.up_to_fold(0), view.max_resource)
        if len(view.space) < 2 or model is None or view.best is None:
            nothing(axes, "Two parameters and two trials with a value are needed.")
            return drawn
        first = first or rest.pop(0)
        second = second or rest.pop(0)
        places = [list(view.space).index(name) for name in (first, second)]
        ticks = np.linspace(0, 1, GRID)
        points = np.tile(view.space.encode(view.ranked[0].params), (GRID * GRID, 1))
        points[:, places[0]], points[:, places[1]] = np.tile(ticks, GRID), np.repeat(ticks, GRID)
        snapped = model.encoder.snap(points)
        means = model.posterior.predict(model.inputs(snapped, model.last or 1)).mean
        losses = np.array([model.scale.inverse(float(mean)) for mean in means])
        values = view.objective.sign * losses.reshape(GRID, GRID)
        filled = axes.contourf(ticks, ticks, values, levels=16, cmap="cividis")
        drawn.colorbar(filled, ax=axes, label=f"expected {objective_label(view)}")
        own = np.array([view.space.encode(trial.params)[places] for trial in view.valued])
        axes.scatter(own[:, 0], own[:, 1], s=14, facecolors="none", edgecolors="white", linewidths=0.9)
        axes.scatter(*view.space.encode(view.ranked[0].params)[places], s=60, marker="*", color="#D55E00", label="best")
        _ticks(axes, view, first, axis="x")
        _ticks(axes, view, second, axis="y")
        axes.set_xlabel(plain(first))
        axes.set_ylabel(plain(second))
        axes.grid(visible=False)
        axes.legend(loc="upper right", fontsize=9)
        return drawn
