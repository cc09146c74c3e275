"""How figures look: colours that the colour-blind can tell, sizes for a slide and a paper's column."""

from __future__ import annotations

import functools
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hpo_plugins._text import printable
from hpo_plugins.errors import MissingDependency
from hpo_plugins.records import TrialState
from hpo_plugins.view.study_view import StudyView

PALETTE = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000")
"""Okabe and Ito, "Color Universal Design", 2008."""
COLORS = {
    TrialState.COMPLETED: "#009E73",
    TrialState.STOPPED: "#E69F00",
    TrialState.PAUSED: "#56B4E9",
    TrialState.RUNNING: "#0072B2",
    TrialState.FAILED: "#D55E00",
}
ACCENT, MUTED, HIGHLIGHT = "#0072B2", "#8A8A8A", "#D55E00"
SIZE = (6.4, 4.0)
"""Inches; at a paper's column of 3.3 inches, the text is still 6 points high."""

_RC: Any = {
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": "#E6E6E6",
    "grid.linewidth": 0.8, "axes.axisbelow": True, "axes.edgecolor": "#666666", "axes.labelcolor": "#333333",
    "xtick.color": "#666666", "ytick.color": "#666666", "font.size": 11, "axes.titlesize": 12, "legend.frameon": False,
    "figure.dpi": 110, "savefig.bbox": "tight", "figure.constrained_layout.use": True,
}  # fmt: skip


@contextmanager
def figure(width: float = 1.0, height: float = 1.0) -> Iterator[Any]:
    """Yield a new figure, styled, that no window manager knows.

    Args:
        width: Its width, in standard widths.
        height: Its height, in standard heights.
    """
    try:
        import matplotlib as mpl
    except ModuleNotFoundError as error:
        raise MissingDependency.of(error, "matplotlib", "plot") from error
    with mpl.rc_context(_RC):
        yield _figure_class()(figsize=(SIZE[0] * width, SIZE[1] * height))


@functools.cache
def _figure_class() -> type[Any]:
    """Return the class of figures: notebooks show them as pictures, whether or not they have loaded pyplot."""
    from matplotlib.figure import Figure

    class StudyFigure(Figure):
        def _repr_png_(self) -> bytes:
            buffer = io.BytesIO()
            self.savefig(buffer, format="png", bbox_inches="tight")
            return buffer.getvalue()

    return StudyFigure


def plain(text: object, length: int = 28) -> str:
    """Return a name as text that matplotlib does not read as mathematics, cut at a length."""
    short = printable(text)
    short = short if len(short) <= length else short[: length - 1] + "\u2026"
    return short.replace("$", r"\$")


def nothing(axes: Any, message: str) -> None:
    """Write into empty axes why there is nothing to see."""
    axes.set_axis_off()
    axes.text(0.5, 0.5, message, ha="center", va="center", color=MUTED, transform=axes.transAxes, wrap=True)


def objective_label(view: StudyView) -> str:
    """Return the label of an axis with the objective's values."""
    return plain(view.objective.metric, 40)


def legend_states(axes: Any, states: set[TrialState]) -> None:
    """Add a legend of the states, beside the axes' own entries."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=color, marker="o", linestyle="-", label=state.value)
        for state, color in COLORS.items()
        if state in states
    ]
    if handles:
        axes.legend(handles=handles, loc="best", fontsize=9)


def use_log_scale(values: list[float]) -> bool:
    """Return whether values are told apart better on a logarithmic axis: all positive, over two decades or more."""
    finite = [value for value in values if value == value and abs(value) != float("inf")]
    return bool(finite) and min(finite) > 0 and max(finite) / min(finite) > 100
