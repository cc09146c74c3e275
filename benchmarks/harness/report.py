"""Write the tables and pictures of the README from the runs that the benchmarks stored.

Usage: python -m benchmarks report FILE.json ... [--methods NAME ...] [--each] [--print]

Files of the same suite are joined, so that runs can be split by method, problem or seed. The README has a place for
each suite, between ``<!-- results: SUITE -->`` and ``<!-- end -->``. ``--print`` prints instead.
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

from benchmarks.harness import results

README = Path(__file__).with_name("README.md")


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


def put(text: str, suite: str, content: str) -> str:
    """Return the README with the content in the place of a suite.

    Raises:
        SystemExit: It has no such place.
    """
    place = re.compile(rf"(<!-- results: {re.escape(suite)} -->\n).*?(<!-- end -->)", re.DOTALL)
    if not place.search(text):
        raise SystemExit(f"{README.name} has no place for {suite!r}: <!-- results: {suite} --> and <!-- end -->.")
    return place.sub(lambda found: f"{found[1]}{content}\n{found[2]}", text)


def main() -> None:
    """Write or print every suite's tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--methods", nargs="*", default=[], help="these alone")
    parser.add_argument("--each", action="store_true", help="each problem's regrets, too")
    parser.add_argument("--print", action="store_true", help="print the tables, and write nothing")
    arguments = parser.parse_args()
    suites: dict[str, list[Path]] = {}
    for path in arguments.files:
        suites.setdefault(json.loads(path.read_text())["suite"], []).append(path)
    text = README.read_text()
    for suite, paths in suites.items():
        found = results.read(paths)
        methods = [name for name in found.ranked() if not arguments.methods or name in arguments.methods]
        content = tables(found, methods, each=arguments.each)
        if arguments.print:
            print(content, end="\n\n")
            continue
        picture = re.sub(r"\W+", "_", suite.lower()).strip("_") + ".png"
        draw(found, methods, README.with_name(picture))
        text = put(text, suite, f"{content}\n\n![Regret against the budget: {suite}]({picture})")
    if not arguments.print:
        README.write_text(text)
