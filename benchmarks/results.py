"""Runs of a benchmark: measured, stored as JSON, joined, and shown as a table."""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")


class Run(NamedTuple):
    """One search: its regret at each mark of the budget, its CPU seconds, and how often it was asked."""

    method: str
    problem: str
    seed: int
    regrets: list[float]
    seconds: float
    asked: int


@dataclass
class Results:
    """Runs on the same scale.

    Args:
        suite: What was measured, in words.
        unit: Of the budget.
        marks: What of the budget was spent, increasing.
        shown: The marks in the table.
        versions: Of the libraries compared.
        runs: The runs.
    """

    suite: str
    unit: str
    marks: list[float]
    shown: list[float]
    versions: dict[str, str]
    runs: list[Run] = field(default_factory=list)

    def write(self, path: Path) -> None:
        """Write them as JSON, rounded."""
        runs = [run._replace(regrets=[round(value, 6) for value in run.regrets]) for run in self.runs]
        data = asdict(self) | {"runs": [run._asdict() for run in runs]}
        path.write_text(json.dumps(data) + "\n")

    @property
    def methods(self) -> list[str]:
        """The methods, in their order."""
        return list(dict.fromkeys(run.method for run in self.runs))

    def by_problem(self, method: str) -> dict[str, NDArray[np.float64]]:
        """Return the mean over seeds of the regret at each mark, by problem."""
        runs: dict[str, list[list[float]]] = {}
        for run in self.runs:
            if run.method == method:
                runs.setdefault(run.problem, []).append(run.regrets)
        return {problem: np.mean(regrets, axis=0) for problem, regrets in sorted(runs.items())}

    def at(self, regrets: Iterable[NDArray[np.float64]]) -> NDArray[np.float64]:
        """Return the regrets at the marks shown, shape ``(n, n_shown)``."""
        columns = [int(np.argmin(np.abs(np.subtract(self.marks, mark)))) for mark in self.shown]
        return np.array(list(regrets))[:, columns]

    def header(self) -> str:
        """Return what was compared, and the table's first two lines."""
        shown = " | ".join(f"@{mark:.0%}" if max(self.marks) <= 1 else f"@{mark:g}" for mark in self.shown)
        libraries = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        columns = f"| method | problems x seeds | {shown} | medians over problems | CPU ms a suggestion |"
        return f"{self.suite}. {libraries}.\n\n{columns}\n" + "|---" * (len(self.shown) + 4) + "|"

    def row(self, method: str) -> str:
        """Return a method's line: the mean over problems of the mean over seeds, and the median over problems."""
        curves = self.by_problem(method)
        by_problem = self.at(curves.values())
        own = [run for run in self.runs if run.method == method]
        counts = sorted({sum(run.problem == problem for run in own) for problem in curves})
        seeds = "-".join(dict.fromkeys(map(str, (counts[0], counts[-1]))))
        means = " | ".join(f"{value:.3f}" for value in by_problem.mean(axis=0))
        medians = " ".join(f"{value:.3f}" for value in np.median(by_problem, axis=0))
        cost = 1e3 * sum(run.seconds for run in own) / sum(run.asked for run in own)
        return f"| {method} | {len(curves)} x {seeds} | {means} | {medians} | {cost:.1f} |"

    def each(self, method: str) -> str:
        """Return a line a problem."""
        curves = self.by_problem(method)
        return "\n".join(
            f"|   {problem} | | " + " | ".join(f"{value:.3f}" for value in row) + " | | |"
            for problem, row in zip(curves, self.at(curves.values()), strict=True)
        )


def read(paths: Iterable[Path]) -> Results:
    """Return the runs of several files together; a run that two of them hold is taken from the later one."""
    parts = [json.loads(path.read_text()) for path in paths]
    scales = {json.dumps([part[name] for name in ("suite", "marks", "shown")]) for part in parts}
    if len(scales) != 1:
        raise SystemExit("The files are of different suites: " + "; ".join(sorted({part["suite"] for part in parts})))
    runs = {(run["method"], run["problem"], run["seed"]): Run(**run) for part in parts for run in part["runs"]}
    versions = {name: version for part in parts for name, version in part["versions"].items()}
    return Results(**(parts[0] | {"versions": versions, "runs": list(runs.values())}))


def versions(peers: Mapping[str, str]) -> dict[str, str]:
    """Return the versions of Python, of this library and what it is built on, and of the peers."""
    own = ("hpo-plugins", "numpy", "scipy")
    return {"Python": platform.python_version(), **{name: metadata.version(name) for name in own}, **peers}


def add_arguments(parser: argparse.ArgumentParser, seeds: int) -> None:
    """Let the command line choose seeds and where the runs go."""
    parser.add_argument("--seeds", type=int, default=seeds, help="how many")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the runs there, after each problem")


def chosen(names: Sequence[str], methods: Mapping[str, T]) -> dict[str, T]:
    """Return the methods of those names, all without any, or say which there are."""
    if unknown := [name for name in names if name not in methods]:
        raise SystemExit(f"No method {', '.join(map(repr, unknown))}. There are: {', '.join(map(repr, methods))}.")
    return {name: methods[name] for name in names or methods}


def measure(
    results: Results,
    methods: Mapping[str, T],
    problems: Sequence[str],
    arguments: argparse.Namespace,
    run: Callable[[T, str, int], tuple[list[float], float, int]],
) -> Iterable[str]:
    """Run every method on every problem with every seed, and yield each method when it is through.

    ``run(method, problem, seed)`` returns the regrets, the CPU seconds and how often the method was asked.
    """
    for name, method in methods.items():
        for problem in problems:
            for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
                results.runs.append(Run(name, problem, seed, *run(method, problem, seed)))
            if arguments.json:
                results.write(arguments.json)
        yield name
