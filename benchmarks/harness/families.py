"""Compare two states of this library over all families of problems: the table by which changes are decided.

Usage: python -m benchmarks families --before FILE.json ... --after FILE.json ... METHOD ...

The files are those that ``real``, ``lcbench``, ``taskset``, ``small`` and ``black-box`` write with ``--json``, before
and after a change, with the same seeds. A line a family has the mean regret before and after, the paired difference
with its standard error over problems and seeds, and the worst problem. A change is kept if no family loses more than
two standard errors at the end, and the mean over the *other* families gains, whichever family is left out.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import results

Array = NDArray[np.float64]


def paired(before: results.Results, after: results.Results, method: str) -> tuple[Array, Array]:
    """Return the regrets of the searches that both have, shape ``(searches, marks)`` each."""
    first, second = (
        {(run.problem, run.seed): run.regrets for run in found.runs if run.method == method}
        for found in (before, after)
    )
    common = sorted(first.keys() & second.keys())
    return np.array([first[key] for key in common]), np.array([second[key] for key in common])


def by_suite(paths: Iterable[Path]) -> dict[str, results.Results]:
    """Return the runs of several files by suite."""
    suites: dict[str, list[Path]] = {}
    for path in paths:
        suites.setdefault(json.loads(path.read_text())["suite"], []).append(path)
    return {suite: results.read(parts) for suite, parts in suites.items()}


def worst(found: results.Results, method: str) -> str:
    """Return the problem of the largest regret at the end, with it."""
    ends = {problem: regrets[-1] for problem, regrets in found.by_problem(method).items()}
    name = max(ends, key=lambda problem: ends[problem])
    return f"{name} {ends[name]:.3f}"


def main() -> None:
    """Print a table for each method."""
    parser = argparse.ArgumentParser()
    parser.add_argument("methods", nargs="+")
    parser.add_argument("--before", nargs="+", type=Path, required=True)
    parser.add_argument("--after", nargs="+", type=Path, required=True)
    arguments = parser.parse_intermixed_args()
    before, after = by_suite(arguments.before), by_suite(arguments.after)
    for method in arguments.methods:
        gains: dict[str, Array] = {}
        shown = [f"@{mark:g}" for mark in next(iter(before.values())).shown]
        print(f"\n{method}\n\n| family | searches | {' | '.join(shown)} | worst at the end |")
        print("|---" * (len(shown) + 3) + "|")
        for suite, old in before.items():
            new = after[suite]
            first, second = paired(old, new, method)
            difference = old.at(second) - old.at(first)
            error = difference.std(axis=0, ddof=1) / np.sqrt(len(difference))
            means = zip(old.at(first).mean(axis=0), old.at(second).mean(axis=0), error, strict=True)
            cells = [f"{a:.3f} -> {b:.3f} ± {e:.3f}" for a, b, e in means]
            name = suite.partition(",")[0]
            print(f"| {name} | {len(first)} | {' | '.join(cells)} | {worst(old, method)} -> {worst(new, method)} |")
            gains[name] = difference.mean(axis=0)
        for left_out in gains:
            rest = np.mean([gain for name, gain in gains.items() if name != left_out], axis=0)
            print(f"| without {left_out} | | {' | '.join(f'{gain:+.3f}' for gain in rest)} | |")


if __name__ == "__main__":
    main()
