"""Many processes on one study: reports a second, how long the slowest wait, hand-outs a second, and who starves.

Usage: python -m benchmarks contention [--storage sqlite|URL] [--processes 32] [--seconds 10] [--optuna]

Each process is started, imports the library and waits for all others; then all open the storage at once (*opening*:
when the last one has its first trial), report as fast as they can for some seconds, and then take and end trials for as
many. With ``--optuna``, the same by Optuna's storage and ask-and-tell interface, in the same run. On a URL, such as
postgresql+psycopg://user@host/db, studies of other names are left alone.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import secrets
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def ours(storage: str | None, name: str) -> tuple[Callable[[], Any], Callable[[Any, int], None], Callable[[Any], None]]:
    """Return how this library takes a trial, reports and ends it."""
    import hpo_plugins as hpo

    tuner = hpo.Tuner(
        {"x": hpo.Continuous(0, 1)}, hpo.Minimize("loss"), strategy=hpo.Random(), storage=storage, name=name, seed=0,
        progress=False,
    )  # fmt: skip
    return tuner.ask, lambda trial, epoch: trial.report(epoch, {"loss": 1 / epoch}), lambda trial: trial.end()


def optunas(storage: str, name: str) -> tuple[Callable[[], Any], Callable[[Any, int], None], Callable[[Any], None]]:
    """Return how Optuna does."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    url = storage if "://" in storage else f"sqlite:///{storage}"
    study = optuna.create_study(
        study_name=name, storage=url, load_if_exists=True, sampler=optuna.samplers.RandomSampler()
    )

    def ask() -> Any:
        trial = study.ask()
        trial.suggest_float("x", 0, 1)
        return trial

    return ask, lambda trial, epoch: trial.report(1 / epoch, epoch), lambda trial: study.tell(trial, 1.0)


LIBRARIES = {"hpo-plugins": ours, "optuna": optunas}


def work(library: str, storage: str, name: str, seconds: float, start: Any, results: Any) -> None:
    """Open, report and take trials; put what was measured."""
    import hpo_plugins.storage.sql  # noqa: F401 - imports are not what is measured

    ours(None, "warm")[0]()  # scipy draws
    if library == "optuna":
        import optuna

        optuna.create_study().ask().suggest_float("x", 0, 1)
    logging.getLogger("hpo_plugins").setLevel(logging.ERROR)
    errors, waits, opening = 0, [], float("nan")
    start.wait()
    began = time.perf_counter()
    trial = None
    while trial is None and time.perf_counter() - began < 60:
        try:
            ask, report, end = LIBRARIES[library](storage, name)
            trial = ask()
            opening = time.perf_counter() - began
        except Exception:  # noqa: BLE001 - counted
            errors += 1
    start.wait()
    until, epoch = time.perf_counter() + seconds, 0
    while time.perf_counter() < until:
        epoch += 1
        before = time.perf_counter()
        try:
            report(trial, epoch)
        except Exception:  # noqa: BLE001
            errors += 1
        else:
            waits.append(time.perf_counter() - before)
    start.wait()
    until, taken = time.perf_counter() + seconds, 0
    while time.perf_counter() < until:
        try:
            end(trial)
            trial = ask()
            taken += 1
        except Exception:  # noqa: BLE001
            errors += 1
    results.put((opening, waits, taken, errors))


def measure(library: str, storage: str, processes: int, seconds: float) -> str:
    """Return the table's row of a library."""
    context = multiprocessing.get_context("spawn")
    start, results = context.Barrier(processes), context.Queue()
    name = f"contention-{secrets.token_hex(4)}"
    arguments = (library, storage, name, seconds, start, results)
    workers = [context.Process(target=work, args=arguments) for _ in range(processes)]
    for worker in workers:
        worker.start()
    found = [results.get() for _ in workers]
    for worker in workers:
        worker.join()
    opening, waits, taken, errors = zip(*found, strict=True)
    every = np.concatenate([np.array(each) for each in waits])
    least = min(len(each) for each in waits)
    return (
        f"| {library} | {max(opening):.1f} | {len(every) / seconds:.0f} | {np.quantile(every, 0.5) * 1e3:.0f} | "
        f"{np.quantile(every, 0.99) * 1e3:.0f} | {least} of {len(every) // processes} | {sum(taken) / seconds:.1f} | "
        f"{min(taken)} of {sum(taken) // processes} | {sum(errors)} |"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--storage", default="sqlite")
    parser.add_argument("--processes", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--optuna", action="store_true")
    arguments = parser.parse_args()
    print(
        "| library | last first trial, s | reports/s | median ms | p99 ms | least of mean per process | trials/s | "
        "least of mean | errors |\n|---|---|---|---|---|---|---|---|---|"
    )
    for library in LIBRARIES if arguments.optuna else ["hpo-plugins"]:
        with tempfile.TemporaryDirectory() as folder:
            storage = str(Path(folder) / "study.db") if arguments.storage == "sqlite" else arguments.storage
            print(measure(library, storage, arguments.processes, arguments.seconds), flush=True)
