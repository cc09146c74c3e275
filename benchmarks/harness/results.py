"""Runs of a benchmark: measured, stored as JSON, joined, and shown as tables.

Notation
    regret      normalised: 0 is the best known, 1 the median of random configurations
    mean        over the problems of the mean over their seeds
    +-          standard error of the mean over seeds, for these problems
    rank        of a method's mean regret at the full budget; see ``ranks.py``
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from importlib import metadata
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import published
from benchmarks.harness.ranks import mean_ranks

T = TypeVar("T")
Array = NDArray[np.float64]
OURS = ("bayesian", "hyperband", "random")
"""Prefix of the names of this library's methods."""
ORACLE = "oracle"
"""Prefix of the names of oracles, which use information that no search has."""


class Run(NamedTuple):
    """One search: its regret at each mark of the budget, its CPU seconds, how often it was asked, and utilisation."""

    method: str
    problem: str
    seed: int
    regrets: list[float]
    seconds: float
    asked: int
    utilisation: float = 1.0


@dataclass
class Results:
    """Runs on the same scale.

    Args:
        suite: The measured quantity, in words.
        unit: Of the budget.
        marks: Spent parts of the budget, increasing.
        shown: The marks in the table.
        versions: Of the libraries compared.
        runs: The runs.
        measured: Commit, date and machine of each part.
    """

    suite: str
    unit: str
    marks: list[float]
    shown: list[float]
    versions: dict[str, str]
    runs: list[Run] = field(default_factory=list)
    measured: list[list[str]] = field(default_factory=lambda: [published.circumstances()])

    def write(self, path: Path) -> None:
        """Write them as JSON, rounded."""
        runs = [run._replace(regrets=[round(value, 6) for value in run.regrets]) for run in self.runs]
        data = asdict(self) | {"runs": [run._asdict() for run in runs]}
        path.write_text(json.dumps(data) + "\n")

    @property
    def methods(self) -> list[str]:
        """The methods, in their order."""
        return list(dict.fromkeys(run.method for run in self.runs))

    def ranked(self) -> list[str]:
        """Return the methods, the one with the smallest mean regret at the end first."""
        return sorted(self.methods, key=self._final)

    @property
    def problems(self) -> list[str]:
        """The problems, in their order."""
        return list(dict.fromkeys(run.problem for run in self.runs))

    def of(self, method: str) -> dict[str, Array]:
        """Return the regrets by problem, shape ``(seeds, marks)`` each."""
        found: dict[str, list[list[float]]] = {}
        for run in self.runs:
            if run.method == method:
                found.setdefault(run.problem, []).append(run.regrets)
        return {problem: np.array(found[problem]) for problem in self.problems if problem in found}

    def by_problem(self, method: str) -> dict[str, Array]:
        """Return the mean over seeds of the regret at each mark, by problem."""
        return {problem: regrets.mean(axis=0) for problem, regrets in self.of(method).items()}

    def at(self, regrets: Iterable[Array]) -> Array:
        """Return the regrets at the marks shown, shape ``(n, n_shown)``."""
        columns = [int(np.argmin(np.abs(np.subtract(self.marks, mark)))) for mark in self.shown]
        return np.array(list(regrets))[:, columns]

    def header(self) -> str:
        """Return what was compared, and the first two lines of the table of regrets."""
        libraries = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        return f"{self.suite}. {libraries}.\n\n" + _header(
            ["method", "problems x seeds", *self._marks(), "medians over problems", "CPU ms a suggestion", "busy"]
        )

    def row(self, method: str) -> str:
        """Return a method's line of the table of regrets."""
        by_problem = self.at(self.by_problem(method).values())
        errors = self.at([standard_error(list(self.of(method).values()))])[0]
        own = [run for run in self.runs if run.method == method]
        means = [f"{mean:.3f} ± {error:.3f}" for mean, error in zip(by_problem.mean(axis=0), errors, strict=True)]
        medians = " ".join(f"{value:.3f}" for value in np.median(by_problem, axis=0))
        cost = 1e3 * sum(run.seconds for run in own) / sum(run.asked for run in own)
        busy = f"{np.mean([run.utilisation for run in own]):.0%}"
        return _row([method, f"{len(by_problem)} x {self._seeds(method)}", *means, medians, f"{cost:.1f}", busy])

    def each(self, method: str) -> str:
        """Return a line a problem."""
        curves = self.by_problem(method)
        rows = zip(curves, self.at(curves.values()), strict=True)
        return "\n".join(
            _row([f"  {problem}", "", *(f"{value:.3f}" for value in row), "", "", ""]) for problem, row in rows
        )

    def comparison(self) -> str:
        """Return the table of what a sceptic asks: each method against the best peer, at the full budget."""
        rival, complete = self.best_peer(), self._complete()
        if rival is None:
            return ""
        ranks = mean_ranks({m: {p: runs[:, -1] for p, runs in self.of(m).items()} for m in complete})
        limit = min((self._final(m) for m in complete if m.startswith(ORACLE)), default=None)
        goal = self._final(rival)
        rows = []
        for name in complete:
            curves = self.by_problem(name)
            worst = max(curves, key=lambda problem: curves[problem][-1])
            mean = np.mean(list(curves.values()), axis=0)
            reached = np.flatnonzero(mean <= goal)
            budget = f"{self.marks[reached[0]] / self.marks[-1]:.0%}" if len(reached) else "more"
            closed = "" if limit is None else f"{(goal - mean[-1]) / (goal - limit):.0%}"
            record = "" if name == rival else "/".join(map(str, self._record(name, rival)))
            rows.append(_row([name, str(ranks[name]), record, f"{worst} {curves[worst][-1]:.3f}", budget, closed]))
        columns = [
            "method",
            "mean rank (95 %)",
            "wins/ties/losses",
            "worst problem",
            f"budget for {goal:.3f}",
            "closed",
        ]
        return f"Against {rival}:\n\n{_header(columns)}\n" + "\n".join(rows)

    def best_peer(self) -> str | None:
        """Return the other libraries' method of the smallest mean regret at the end that ran on every problem."""
        peers = [name for name in self._complete() if not name.startswith((*OURS, ORACLE))]
        return min(peers, key=self._final, default=None)

    def _marks(self) -> list[str]:
        return [f"@{mark:.0%}" if max(self.marks) <= 1 else f"@{mark:g}" for mark in self.shown]

    def _seeds(self, method: str) -> str:
        counts = sorted({len(regrets) for regrets in self.of(method).values()})
        return "-".join(dict.fromkeys(map(str, (counts[0], counts[-1]))))

    def _complete(self) -> list[str]:
        return [name for name in self.ranked() if len(self.of(name)) == len(self.problems)]

    def _final(self, method: str) -> float:
        return float(np.mean([curve[-1] for curve in self.by_problem(method).values()]))

    def _record(self, method: str, rival: str) -> tuple[int, int, int]:
        """Return on how many problems a method is better, equal (within two standard errors), and worse."""
        wins = ties = losses = 0
        for problem, own in self.of(method).items():
            other = self.of(rival)[problem]
            gap = other[:, -1].mean() - own[:, -1].mean()
            error = np.hypot(*(r[:, -1].std(ddof=1) / np.sqrt(len(r)) if len(r) > 1 else 0.0 for r in (own, other)))
            wins, ties, losses = wins + (gap > 2 * error), ties + (abs(gap) <= 2 * error), losses + (gap < -2 * error)
        return wins, ties, losses


def _header(columns: Sequence[str]) -> str:
    return _row(columns) + "\n" + "|---" * len(columns) + "|"


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def standard_error(regrets: Sequence[Array]) -> Array:
    """Return the standard error of the mean over problems, from arrays of shape ``(seeds, marks)``."""
    variances = [r.var(axis=0, ddof=1) / len(r) if len(r) > 1 else np.full(r.shape[1], np.nan) for r in regrets]
    error: Array = np.sqrt(np.sum(variances, axis=0)) / len(regrets)
    return error


def read(paths: Iterable[Path]) -> Results:
    """Return the runs of several files together; a run that two of them hold is taken from the later one."""
    parts = [json.loads(path.read_text()) for path in paths]
    scales = {json.dumps([part[name] for name in ("suite", "marks", "shown")]) for part in parts}
    if len(scales) != 1:
        raise SystemExit("The files are of different suites: " + "; ".join(sorted({part["suite"] for part in parts})))
    runs = {(run["method"], run["problem"], run["seed"]): Run(**run) for part in parts for run in part["runs"]}
    versions = {name: version for part in parts for name, version in part["versions"].items()}
    measured = [
        list(part) for part in dict.fromkeys(tuple(each) for part in parts for each in part.get("measured", []))
    ]
    joined = {"versions": versions, "runs": list(runs.values()), "measured": measured or [["unknown"] * 3]}
    return Results(**(parts[0] | joined))


def versions(peers: Mapping[str, str]) -> dict[str, str]:
    """Return the versions of Python, of this library and what it is built on, and of the peers."""
    own = ("hpo-plugins", "numpy", "scipy")
    return {"Python": platform.python_version(), **{name: metadata.version(name) for name in own}, **peers}


def add_arguments(parser: argparse.ArgumentParser, seeds: int) -> None:
    """Let the command line choose seeds, processes, and where the runs go."""
    parser.add_argument("--seeds", type=int, default=seeds, help="how many")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--json", type=Path, help="write the runs there, after each method")


def chosen(names: Sequence[str], methods: Mapping[str, T]) -> dict[str, T]:
    """Return the methods of those names, all without any, or say which there are."""
    if unknown := [name for name in names if name not in methods]:
        raise SystemExit(f"No method {', '.join(map(repr, unknown))}. There are: {', '.join(map(repr, methods))}.")
    return {name: methods[name] for name in names or methods}


def measure(
    results: Results,
    methods: Sequence[str],
    problems: Sequence[str],
    arguments: argparse.Namespace,
    run: Callable[[str, str, int], Run],
) -> Iterable[str]:
    """Run every method on every problem with every seed, and yield each method when it is through.

    Args:
        results: Gets the runs.
        methods: Their names.
        problems: Their names.
        arguments: See ``add_arguments``.
        run: A function of a module, since other processes call it: runs a method on a problem with a seed.
    """
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    with ProcessPoolExecutor(arguments.processes, get_context("spawn")) as pool:
        jobs = {
            method: [pool.submit(run, method, problem, seed) for problem in problems for seed in seeds]
            for method in methods
        }
        for method, running in jobs.items():
            results.runs += [job.result() for job in running]
            if arguments.json:
                results.write(arguments.json)
            yield method
