"""Pictures of regret against the budget: this library's methods solid, others dashed, oracles dotted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from benchmarks.harness import results

Curves = Mapping[str, NDArray[np.float64]]
"""By method: the mean regret at equal parts of the budget, shape ``(n_marks,)``."""


def draw_families(families: Mapping[str, Curves], path: Path) -> None:
    """Write a PNG with a panel for each family; a method has the same colour in all, and the legend its last regret."""
    rows = (len(families) + 1) // 2
    figure, panels = plt.subplots(rows, 2, figsize=(14, 5 * rows), layout="constrained", squeeze=False)
    methods = sorted({method for curves in families.values() for method in curves})
    colours = dict(zip(methods, mpl.colormaps["tab20"].colors, strict=False))
    for axes in panels.flat[len(families) :]:
        axes.set_visible(False)
    for axes, (title, curves) in zip(panels.flat, families.items(), strict=False):
        _panel(axes, title, curves, colours)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def _panel(axes: Axes, title: str, curves: Curves, colours: Mapping[str, object]) -> None:
    for method, curve in sorted(curves.items(), key=lambda item: -item[1][-1]):
        own = method.startswith(results.OURS)
        parts = np.arange(1, len(curve) + 1) / len(curve)
        style = {"linestyle": "-" if own else "--", "linewidth": 2 if own else 1.2, "color": colours.get(method)}
        axes.plot(parts, curve, label=f"{method} ({curve[-1]:.3f})", **style)
    axes.set_yscale("log", nonpositive="clip")
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.set(xlabel="budget spent", ylabel="normalised regret", title=title)
    axes.grid(visible=True, which="both", alpha=0.25)
    axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
