"""The value against each parameter, and against two at once."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from hpo_plugins import modeling
from hpo_plugins.errors import InvalidArgument
from hpo_plugins.space import Categorical, FloatArray, Parameter
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
    axes.scatter(
        view.places(name, trials),
        [t.value for t in trials],
        c=[COLORS[t.state] for t in trials],
        s=14,
        linewidths=0,
        alpha=0.8,
    )
    _ticks(axes, view, name, axis="x")
    if use_log_scale([t.value for t in trials if t.value is not None]):
        axes.set_yscale("log")


def _ticks(axes: Any, view: StudyView, name: str, *, axis: str) -> None:
    """Label an axis in the unit cube with the parameter's values."""
    places, texts = axis_ticks(view.space[name])
    labels = [plain(text, 10) for text in texts]
    (axes.set_xticks if axis == "x" else axes.set_yticks)(places, labels, fontsize=8)
    (axes.set_xlim if axis == "x" else axes.set_ylim)(-0.03, 1.03)


def axis_ticks(parameter: Parameter) -> tuple[list[float], list[str]]:
    """Return places in the unit interval, and the parameter's values there."""
    if isinstance(parameter, Categorical):
        values = parameter.values[:: max(1, len(parameter.values) // 6)]
        places = [parameter.to_unit(value) for value in values]
    else:
        places = [0.0, 0.25, 0.5, 0.75, 1.0]
        values = tuple(parameter.from_unit(place) for place in places)
    return places, [number(value) for value in values]


class Surface(NamedTuple):
    """What the surrogate expects over two parameters, the others being the best trial's.

    Attributes:
        first: One parameter.
        second: The other.
        ticks: Places in the unit interval, shape ``(GRID,)``.
        values: The expected value at each, shape ``(GRID, GRID)``; rows are places of the second parameter.
        points: The places of the trials that have a value, shape ``(n, 2)``.
        best: The place of the best of them, shape ``(2,)``.
    """

    first: str
    second: str
    ticks: FloatArray
    values: FloatArray
    points: FloatArray
    best: FloatArray


def expected_surface(view: StudyView, first: str | None, second: str | None) -> Surface | None:
    """Return what the surrogate expects over two parameters, None if too little is known.

    Args:
        view: The study.
        first: One parameter; None for the most important one.
        second: The other; None for the most important one that is left.

    Raises:
        InvalidArgument: There is no such parameter.
    """
    for name in (first, second):
        if name is not None and name not in view.space:
            raise InvalidArgument(f"a parameter must be one of {', '.join(view.space)}, but got {name!r}.")
    model = modeling.model.fit_model(view.history.up_to_fold(0), view.max_resource)
    if len(view.space) < 2 or model is None or view.best is None:
        return None
    ranked = [i.name for i in importances(view.history, view.max_resource)] or list(view.space)
    rest = [name for name in ranked if name not in (first, second)]
    first = first or rest.pop(0)
    second = second or rest.pop(0)
    places = [list(view.space).index(name) for name in (first, second)]
    ticks, best = np.linspace(0, 1, GRID), view.space.encode(view.ranked[0].params)
    points = np.tile(best, (GRID * GRID, 1))
    points[:, places[0]], points[:, places[1]] = np.tile(ticks, GRID), np.repeat(ticks, GRID)
    snapped = model.encoder.snap(points)
    means = model.posterior.predict(model.inputs(snapped, model.last or 1)).mean
    losses = np.array([model.scale.inverse(float(mean)) for mean in means])
    own = np.array([view.space.encode(trial.params)[places] for trial in view.valued])
    return Surface(first, second, ticks, view.objective.sign * losses.reshape(GRID, GRID), own, best[places])


def contour(view: StudyView, first: str | None = None, second: str | None = None) -> Any:
    """Return a figure of what the surrogate expects over two parameters, the others being the best trial's.

    Args:
        view: The study.
        first: One parameter; by default, the most important one.
        second: The other; by default, the second most important one.

    Raises:
        InvalidArgument: There is no such parameter.
    """
    surface = expected_surface(view, first, second)
    with figure() as drawn:
        axes = drawn.subplots()
        if surface is None:
            nothing(axes, "Two parameters and two trials with a value are needed.")
            return drawn
        filled = axes.contourf(surface.ticks, surface.ticks, surface.values, levels=16, cmap="cividis")
        drawn.colorbar(filled, ax=axes, label=f"expected {objective_label(view)}")
        axes.scatter(*surface.points.T, s=14, facecolors="none", edgecolors="white", linewidths=0.9)
        axes.scatter(*surface.best, s=60, marker="*", color="#D55E00", label="best")
        _ticks(axes, view, surface.first, axis="x")
        _ticks(axes, view, surface.second, axis="y")
        axes.set_xlabel(plain(surface.first))
        axes.set_ylabel(plain(surface.second))
        axes.grid(visible=False)
        axes.legend(loc="upper right", fontsize=9)
        return drawn
