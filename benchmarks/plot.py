"""Plot regret against budget from the runs that the benchmarks stored, and print their table.

Usage: python benchmarks/plot.py FILE.json ... [--png FILE] [--methods NAME ...] [--each]

Several files of the same suite are joined, so that runs can be split by method, problem or seed.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib as mpl
import numpy as np

mpl.use("Agg")

import results
from matplotlib import pyplot as plt
from matplotlib.ticker import PercentFormatter


def draw(found: results.Results, methods: list[str], path: Path) -> None:
    """Write a PNG of the mean over problems of the mean over seeds, one line a method, ending in their order."""
    figure, axes = plt.subplots(figsize=(9, 5.5), layout="constrained")
    means = {name: np.mean(list(found.by_problem(name).values()), axis=0) for name in methods}
    colours = mpl.colormaps["tab20" if len(methods) > 10 else "tab10"]
    for name, mean in sorted(means.items(), key=lambda item: -item[1][-1]):
        own = name.startswith(results.OURS)  # drawn solid, the others dashed
        axes.plot(
            found.marks,
            mean,
            label=f"{name} ({mean[-1]:.3f})",
            color=colours(methods.index(name)),
            linestyle="-" if own else "--",
            linewidth=2 if own else 1.2,
        )
    axes.set_yscale("log", nonpositive="clip")
    axes.set_xlim(0, found.marks[-1])
    if max(found.marks) <= 1:
        axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.set_xlabel(f"budget spent ({found.unit})")
    axes.set_ylabel("normalised regret")
    axes.set_title(found.suite)
    axes.grid(visible=True, which="both", alpha=0.25)
    axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(path, dpi=120)


def main() -> None:
    """Print the table, and draw it if asked."""
    parser = argparse.ArgumentParser()
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--png", type=Path)
    parser.add_argument("--methods", nargs="*", default=[], help="these alone")
    parser.add_argument("--each", action="store_true", help="print each problem's regrets, too")
    arguments = parser.parse_args()
    found = results.read(arguments.files)
    methods = list(results.chosen(arguments.methods, dict.fromkeys(found.methods)))
    print(found.header())
    for name in methods:
        if arguments.each:
            print(found.each(name))
        print(found.row(name))
    print(f"\n{found.comparison()}")
    if arguments.png:
        draw(found, methods, arguments.png)


if __name__ == "__main__":
    main()
