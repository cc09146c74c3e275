"""Write the results and pictures of the runs that benchmarks stored, and the tables of the README.

Usage: python -m benchmarks report [FILE.json ...] [--methods NAME ...] [--each] [--print]

Files of the same suite are joined, so that runs can be split by method, problem or seed. Each suite becomes a page and
a picture in ``benchmarks/results/``; then the README's three tables are made from the pages there. Without files, only
they are. ``--print`` prints instead.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

import matplotlib as mpl
import numpy as np

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.ticker import PercentFormatter

from benchmarks.harness import published, results


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
            linestyle="-" if own else ":" if name.startswith(results.ORACLE) else "--",
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
    plt.close(figure)


def tables(found: results.Results, methods: list[str], *, each: bool) -> str:
    """Return the tables of a suite."""
    rows = [row for name in methods for row in ([found.each(name)] if each else []) + [found.row(name)]]
    return "\n".join([found.header(), *rows, "", found.comparison()]).strip()


def name_of(suite: str) -> str:
    """Return under which name a suite's result is kept: ``Real training runs, workers: 1`` is ``real_trainings``."""
    return re.sub(r"\W+", "_", suite.lower().removesuffix(", workers: 1")).strip("_")


def main() -> None:
    """Write or print every suite's tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("files", nargs="*", type=Path, help="none: make the README's tables from the results there are")
    parser.add_argument("--methods", nargs="*", default=[], help="these alone")
    parser.add_argument("--each", action="store_true", help="each problem's regrets, too")
    parser.add_argument("--print", action="store_true", help="print the tables, and write nothing")
    arguments = parser.parse_args()
    suites: dict[str, list[Path]] = {}
    for path in arguments.files:
        suites.setdefault(json.loads(path.read_text())["suite"], []).append(path)
    for suite, paths in suites.items():
        found = results.read(paths)
        methods = [name for name in found.ranked() if not arguments.methods or name in arguments.methods]
        content = tables(found, methods, each=arguments.each)
        if arguments.print:
            print(content, end="\n\n")
            continue
        name = name_of(suite)
        draw(found, methods, published.RESULTS / f"{name}.png")
        body = f"{content}\n\n![Regret against the budget: {suite}]({name}.png)"
        command = f"python -m benchmarks report {' '.join(map(str, paths))}"
        print(published.publish(name, suite, command, body, found.measured))
    if not arguments.print:
        readme = published.README
        readme.write_text(published.with_headlines(readme.read_text(encoding="utf-8")), encoding="utf-8")
