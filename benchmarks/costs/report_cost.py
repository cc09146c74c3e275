"""Measure the library's overhead: a report inside ``xgboost.train``, the import, loading a large study.

Usage: python -m benchmarks report-cost [--only reports|power|imports|load] [--repeats 5] [--rounds 200]
           [--trials 1000,10000] [--epochs 50]

Reports are measured beside Optuna's ``XGBoostPruningCallback`` in one run: the variants alternate, each training run
between two with an empty callback, and medians over the repeats are shown. Every training run reaches its last round
(checked), because it is better than all earlier trials. One core, and SQLite files in the temporary directory.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before anything loads OpenMP

import argparse
import gc
import itertools
import json
import platform
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import optuna
import sqlalchemy as sa
import xgboost
from hpo_plugins.integrations.xgboost import TrialCallback
from optuna_integration import XGBoostPruningCallback
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

import hpo_plugins as hpo
from hpo_plugins.records import encode_metrics

METRIC = "validation-logloss"
SPACE = {"learning_rate": hpo.Continuous(1e-3, 1.0, scale="log"), "max_depth": hpo.Integer(1, 10)}
PARAMS = {"objective": "binary:logistic", "max_depth": 2, "eta": 0.1, "nthread": 1, "seed": 0}
EARLIER = (0, 20)
EPOCHS = 50
Log = list[dict[str, float]]
Finish = Callable[[], object]
Library = Callable[..., tuple[xgboost.callback.TrainingCallback, Finish]]


class Rule(NamedTuple):
    """A way of judging, in both libraries."""

    shown: str
    ours: dict[str, Any]
    pruner: optuna.pruners.BasePruner


def rules(rounds: int) -> tuple[Rule, ...]:
    """Return the rules for training runs of so many rounds."""
    hyperband = {"strategy": hpo.Hyperband(max_resource=rounds)}
    return (
        Rule("none / NopPruner", {}, optuna.pruners.NopPruner()),
        Rule("MedianRule / MedianPruner", {"early_stopping": hpo.MedianRule()}, optuna.pruners.MedianPruner()),
        Rule("Hyperband / HyperbandPruner", hyperband, optuna.pruners.HyperbandPruner(max_resource=rounds)),
    )


def table(columns: list[str], rows: list[list[object]]) -> None:
    """Print a table in Markdown."""
    for cells in (columns, ["---"] * len(columns), *rows):
        print("|", " | ".join(map(str, cells)), "|")
    print(flush=True)


# Reports.


def ours(rule: Rule, path: Path | None, earlier: list[Log]) -> tuple[Any, Finish]:
    """Return a callback of a study that has seen the earlier trials, and what ends its trial."""
    limit = len(earlier) + 1  # of a longer search, Hyperband lets no first trial pass the first rungs
    tuner = hpo.Tuner(SPACE, hpo.Minimize(METRIC), storage=path, max_trials=limit, seed=0, **rule.ours)
    for log in earlier:
        trial = tuner.ask()
        for epoch, metrics in enumerate(log, start=1):
            if trial.report(epoch, metrics):
                break
        trial.end()
    trial = tuner.ask()
    return TrialCallback(trial), trial.end


def theirs(rule: Rule, path: Path | None, earlier: list[Log]) -> tuple[Any, Finish]:
    """Return the same of Optuna; its earlier trials carry no marks of Hyperband's rungs, so none is compared."""
    storage = None if path is None else f"sqlite:///{path}"
    study = optuna.create_study(storage=storage, pruner=rule.pruner)
    for log in earlier:
        values = {step: metrics[METRIC] for step, metrics in enumerate(log)}
        study.add_trial(optuna.trial.create_trial(value=min(values.values()), intermediate_values=values))
    trial = study.ask()
    return XGBoostPruningCallback(trial, METRIC), lambda: study.tell(trial, 0.0)


class Timed(xgboost.callback.TrainingCallback):
    """Sum the time that another callback takes after the rounds."""

    def __init__(self, inner: xgboost.callback.TrainingCallback) -> None:
        """Stand in for the callback."""
        super().__init__()
        self.inner = inner
        self.seconds = 0.0
        self.before_training = inner.before_training
        self.before_iteration = inner.before_iteration
        self.after_training = inner.after_training

    def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
        """Pass the round on."""
        start = time.perf_counter()
        stop = self.inner.after_iteration(model, epoch, evals_log)
        self.seconds += time.perf_counter() - start
        return stop


class Training:
    """One training run, always the same, of so many rounds on the breast cancer data."""

    def __init__(self, rounds: int) -> None:
        """Load the data once."""
        x, y = load_breast_cancer(return_X_y=True)
        parts = train_test_split(x, y, random_state=0)
        train, valid = (xgboost.DMatrix(*pair, nthread=1) for pair in (parts[::2], parts[1::2]))
        self.rounds = rounds
        self._evals = [(train, "train"), (valid, "validation")]

    def seconds(self, inner: xgboost.callback.TrainingCallback | None = None) -> tuple[float, float]:
        """Return the wall time of the whole training run, and that inside the callback."""
        callback = Timed(inner or xgboost.callback.TrainingCallback())
        gc.collect()
        start = time.perf_counter()
        booster = xgboost.train(
            PARAMS, self._evals[0][0], self.rounds, evals=self._evals, verbose_eval=False, callbacks=[callback]
        )
        wall = time.perf_counter() - start
        assert booster.num_boosted_rounds() == self.rounds, "a training was stopped while it was measured"
        return wall, callback.seconds


def measure(job: Training, library: Library, stored: bool, rule: Rule, earlier: list[Log]) -> tuple[float, float]:
    """Return what one report adds to the training run's wall time, and what passes inside the callback, in seconds."""
    with tempfile.TemporaryDirectory() as folder:
        callback, finish = library(rule, Path(folder, "study.db") if stored else None, earlier)
        before, _ = job.seconds()
        wall, inside = job.seconds(callback)
        after, _ = job.seconds()
        finish()
    return (wall - (before + after) / 2) / job.rounds, inside / job.rounds


def reports(repeats: int, rounds: int) -> None:
    """Print what a report costs in every variant."""
    job = Training(rounds)
    worse = [  # than chance, 0.69
        [dict.fromkeys(("train-logloss", METRIC), 1 + k / epoch) for epoch in range(1, rounds + 1)]
        for k in range(max(EARLIER))
    ]
    variants = list(itertools.product((False, True), rules(rounds), EARLIER))
    seconds = [
        [[measure(job, library, stored, rule, worse[:n]) for library in (ours, theirs)] for stored, rule, n in variants]
        for _ in range(repeats)
    ]
    medians = np.median(seconds, axis=0) * 1e6  # by variant, library and figure
    empty = np.median([job.seconds()[0] for _ in range(repeats)]) / rounds * 1e6
    print(f"Microseconds a report, {rounds} rounds; a round with an empty callback takes {empty:.0f}.\n")
    rows = [
        ["SQLite" if stored else "memory", rule.shown, n]
        + [cell for we, they in of.T for cell in (f"{we:.0f}", f"{they:.0f}", f"{we / they:.2f}")]
        for (stored, rule, n), of in zip(variants, medians, strict=True)
    ]
    columns = "storage, rule: ours / Optuna, earlier trials, added: ours, Optuna, ratio, inside: ours, Optuna, ratio"
    table(columns.split(", "), rows)


def power(reports: int) -> None:
    """Print what a report costs that a power failure cannot lose, beside one that it can, alternately."""
    options = {"synchronous=NORMAL, the default": "", "synchronous=FULL": "?synchronous=FULL"}
    seconds: dict[str, list[float]] = {name: [] for name in options}
    with tempfile.TemporaryDirectory() as folder:
        places = {
            name: f"sqlite:///{folder}/{number}.db{option}" for number, (name, option) in enumerate(options.items())
        }
        trials = {name: hpo.Tuner(SPACE, hpo.Minimize(METRIC), storage=place).ask() for name, place in places.items()}
        for epoch in range(1, reports + 1):
            for name, trial in trials.items():
                start = time.perf_counter()
                trial.report(epoch, {METRIC: 1 / epoch})
                seconds[name].append(time.perf_counter() - start)
    rows = [[name, *(f"{figure * 1e6:.0f}" for figure in np.quantile(of, [0.5, 0.9]))] for name, of in seconds.items()]
    table(["SQLite", "median us", "90 % us"], rows)


# Import.


def imports(repeats: int) -> None:
    """Print what importing costs, as whole processes."""
    programs = ("pass", "import numpy, scipy.optimize", "import hpo_plugins")
    taken: dict[str, list[tuple[float, float]]] = {program: [] for program in programs}
    for turn in range(repeats + 1):
        for program in programs:
            start, before = time.perf_counter(), os.times()
            subprocess.run([sys.executable, "-c", program], check=True)
            wall, after = time.perf_counter() - start, os.times()
            cpu = after.children_user + after.children_system - before.children_user - before.children_system
            if turn > 0:  # the first one fills the page cache and writes byte code
                taken[program].append((wall, cpu))
    medians = {program: np.median(pairs, axis=0) * 1e3 for program, pairs in taken.items()}
    rows = [[f"`{program}`", f"{wall:.0f}", f"{cpu:.0f}"] for program, (wall, cpu) in medians.items()]
    table(["process", "wall ms", "CPU ms"], rows)


# Load.

# The peak is the kernel's VmHWM: getrusage's maximum would contain what the parent had before the child's exec.
LOADER = """
import json, sys, time, sqlalchemy
{imports}
def peak():
    return int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) / 1024
path, epochs = sys.argv[1], int(sys.argv[2])
base, start, spent = peak(), time.perf_counter(), time.process_time()
trials = {read}
seconds, cpu = time.perf_counter() - start, time.process_time() - spent
assert all({whole} for trial in trials)
print(json.dumps([len(trials), seconds, cpu, base, peak()]))
"""
OUR_LOADER = LOADER.format(
    imports="import hpo_plugins",
    read="hpo_plugins.Tuner.load(path).trials",
    whole="trial.epochs == len(trial.metrics) == epochs",
)
OPTUNAS_LOADER = LOADER.format(
    imports="import optuna; optuna.logging.set_verbosity(optuna.logging.WARNING)",
    read='optuna.load_study(study_name="study", storage="sqlite:///" + path).trials',
    whole="len(trial.intermediate_values) == epochs",
)


def build(path: Path, trials: int, epochs: int) -> None:
    """Write a file of finished trials: one through the library, and its rows, with other figures, as the others."""
    tuner = hpo.Tuner(SPACE, hpo.Minimize(METRIC), storage=path, seed=0)
    trial, space = tuner.ask(), tuner.space
    for epoch in range(1, epochs + 1):
        trial.report(epoch, {METRIC: 1 / epoch})
    trial.end()
    engine, schema, draw = sa.create_engine(f"sqlite:///{path}"), sa.MetaData(), random.Random(0)  # noqa: S311
    schema.reflect(engine)
    studies, rows, curves = (schema.tables[f"hpo_{name}"] for name in ("studies", "trials", "reports"))
    with engine.begin() as connection:
        row = connection.execute(sa.select(rows)).one()._asdict()
        curve = [report._asdict() for report in connection.execute(sa.select(curves).order_by(curves.c.revision))]
        step = epochs + 2  # revisions a trial: the hand-out, the reports, the end
        for number in range(1, trials):
            params = space.decode([draw.random() for _ in space])
            own = {"number": number, "params": json.dumps(params), "revision": (number + 1) * step}
            connection.execute(rows.insert(), row | own)
            connection.execute(curves.insert(), [_other(report, number, step, draw) for report in curve])
        connection.execute(studies.update().values(revision=trials * step, acquisitions=trials))
    with engine.connect() as connection:  # small commits, unlike this one, leave next to nothing in the log
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    engine.dispose()


def _other(report: dict[str, Any], number: int, step: int, draw: random.Random) -> dict[str, Any]:
    metrics = {METRIC: draw.random()}
    place = {"number": number, "revision": report["revision"] + number * step}
    return report | place | {"value": metrics[METRIC], "metrics": encode_metrics(metrics), "seconds": draw.random()}


def build_optunas(path: Path, trials: int, epochs: int) -> None:
    """Write the same study as Optuna stores it, in the same way."""
    engine, schema, draw = sa.create_engine(f"sqlite:///{path}"), sa.MetaData(), random.Random(0)  # noqa: S311
    study = optuna.create_study(study_name="study", storage=f"sqlite:///{path}")

    def objective(trial: optuna.Trial) -> float:
        trial.suggest_float("learning_rate", 1e-3, 1.0, log=True)
        trial.suggest_int("max_depth", 1, 10)
        for epoch in range(1, epochs + 1):
            trial.report(1 / epoch, epoch)
        return 0.5

    study.optimize(objective, n_trials=1)
    schema.reflect(engine)
    first = schema.tables["trials"]
    owned = [schema.tables[f"trial_{name}"] for name in ("params", "values", "intermediate_values")]
    numbers = {"param_value", "value", "intermediate_value"}
    with engine.begin() as connection:
        row = connection.execute(sa.select(first)).one()._asdict()
        parts = {each: [found._asdict() for found in connection.execute(sa.select(each))] for each in owned}
        for number in range(1, trials):
            connection.execute(first.insert(), row | {"trial_id": number + 1, "number": number})
            for each, rows in parts.items():
                key = next(iter(each.primary_key)).name
                drawn = [
                    {name: draw.random() if name in numbers else value for name, value in found.items() if name != key}
                    | {"trial_id": number + 1}
                    for found in rows
                ]
                connection.execute(each.insert(), drawn)
    engine.dispose()


def load(sizes: list[int], epochs: int, repeats: int) -> None:
    """Print what reading large studies back costs, each time in a fresh process."""
    ways = {"hpo-plugins": (build, OUR_LOADER), "Optuna": (build_optunas, OPTUNAS_LOADER)}
    rows = []
    for trials in sizes:
        for library, (write, loader) in ways.items():
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder, "study.db")
                write(path, trials, epochs)
                command = [sys.executable, "-c", loader, str(path), str(epochs)]
                printed = [subprocess.run(command, check=True, capture_output=True).stdout for _ in range(repeats)]
                runs = [json.loads(text) for text in printed]
                size = sum(file.stat().st_size for file in path.parent.glob("study.db*")) / 2**20
            count, seconds, cpu, base, peak = np.median(runs, axis=0)
            shown = [f"{count:,.0f} of {epochs} epochs", library, *(f"{figure:.2f}" for figure in (seconds, cpu))]
            rows.append(shown + [f"{figure:.0f}" for figure in (peak, base, size)])
    table(["trials", "library", "wall s", "CPU s", "peak RSS MB", "of that, imports", "file MB"], rows)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", choices=("reports", "power", "imports", "load"), help="print one part alone")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument(
        "--trials", default="10000", help="of the studies that are loaded: one or more numbers, by commas"
    )
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="of their trials")
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    print(
        f"Python {platform.python_version()}, xgboost {xgboost.__version__}, Optuna {optuna.__version__}, "
        f"SQLAlchemy {sa.__version__}, SQLite {sqlite3.sqlite_version}; medians of {arguments.repeats}.\n"
    )
    if arguments.only in (None, "reports"):
        reports(arguments.repeats, arguments.rounds)
    if arguments.only in (None, "power"):
        power(arguments.rounds)
    if arguments.only in (None, "imports"):
        imports(max(7, arguments.repeats))
    if arguments.only in (None, "load"):
        load(list(map(int, arguments.trials.split(","))), arguments.epochs, max(3, arguments.repeats))
