"""A study as figures of matplotlib: ``tuner.plot.history()`` and its like."""

from __future__ import annotations

from typing import Any

from hpo_plugins.view.plots import curves, history, importance, parallel, rungs, slices, timeline
from hpo_plugins.view.plots.interactive import InteractivePlots
from hpo_plugins.view.study_view import StudyView

KINDS = ("history", "curves", "parallel", "importance", "slice", "contour", "timeline", "rungs")


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
        return history.plot(self._view)

    def curves(self) -> Any:
        """Return the learning curves by what became of their trials, with the epochs at which they are compared."""
        return curves.plot(self._view)

    def parallel(self) -> Any:
        """Return all configurations, one axis per parameter, coloured by the rank of their value."""
        return parallel.plot(self._view)

    def importance(self) -> Any:
        """Return how much each parameter matters, and how sure that is."""
        return importance.plot(self._view)

    def slice(self) -> Any:
        """Return each trial's value against each parameter."""
        return slices.plot(self._view)

    def contour(self, first: str | None = None, second: str | None = None) -> Any:
        """Return what the surrogate expects over two parameters, by default the two most important ones.

        Args:
            first: One parameter.
            second: The other.

        Raises:
            InvalidArgument: There is no such parameter.
        """
        return slices.contour(self._view, first, second)

    def timeline(self) -> Any:
        """Return who trained what, and when."""
        return timeline.plot(self._view)

    def rungs(self) -> Any:
        """Return how many trials reach each epoch of comparison, and how well the order there foretells the end."""
        return rungs.plot(self._view)
