"""Measure the surrogate's cost: CPU per suggestion and decision on one core, memory, and other reports.

Usage: python -m benchmarks suggestion-cost [--repeats 9] [--only CASE]

A study of random trials is built; then suggestions are timed, each after one more trial has ended, so that only what
the strategy caches between trials can be reused. The first is omitted. Each case runs in a separate process, whose peak
memory is the kernel's VmHWM.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

import hpo_plugins as hpo
from hpo_plugins.records import TrialState

EPOCHS = 50
SPACE = {f"x{k}": hpo.Continuous(0.0, 1.0, scale="linear") for k in range(6)} | {
    "layers": hpo.Integer(1, 8, scale="linear"),
    "optimizer": hpo.Categorical(["sgd", "adam", "rmsprop"]),
}
OBJECTIVE = hpo.Minimize("loss")


class Case(NamedTuple):
    """A strategy, its finished trials, their epochs, the target in milliseconds, and the running trials."""

    strategy: hpo.Bayesian
    trials: int
    epochs: int
    wanted: int | None
    running: int = 0


FINAL, CURVES = hpo.Bayesian(), hpo.Bayesian(max_resource=EPOCHS)
PAUSING = hpo.Bayesian(max_resource=EPOCHS, pause=True)
CASES = {
    "50": Case(FINAL, 50, 1, 50),
    "200": Case(FINAL, 200, 1, 150),
    "1000": Case(FINAL, 1000, 1, 500),
    "50 curves": Case(CURVES, 50, EPOCHS, None),
    "1000 curves": Case(CURVES, 1000, EPOCHS, 500),
    "200 and 64 running": Case(FINAL, 200, 1, 100, running=64),
    "200 curves and 64 running": Case(CURVES, 200, EPOCHS, 100, running=64),
    "1000 paused": Case(PAUSING, 1000, 5, 500),
}


def loss(trial: hpo.Trial, epoch: int) -> float:
    """Return a bowl whose curves fall as a power of the epoch, more slowly the further from its bottom."""
    away = sum((trial[f"x{k}"] - 0.3) ** 2 for k in range(6)) + 0.02 * trial["layers"]
    return away + (trial["optimizer"] != "adam") * 0.1 + epoch ** -(0.8 - 0.3 * trial["x0"])


def finish(tuner: hpo.Tuner, epochs: int) -> None:
    """Train one more trial."""
    trial = tuner.ask()
    for epoch in range(1, epochs + 1):
        trial.report(epoch, {"loss": loss(trial, epoch)})
    trial.end()


def measure(case: Case, repeats: int) -> dict[str, float]:
    """Return the median CPU milliseconds of a suggestion and of a judgement, and the peak of memory in MB."""
    tuner = hpo.Tuner(SPACE, OBJECTIVE, strategy=hpo.Random(), seed=0)
    for _ in range(case.trials - 1):
        finish(tuner, case.epochs)
    if case.strategy.pause:
        history = tuner._loop.history()  # noqa: SLF001 - a strategy is a function of it
        for trial in list(history):
            history.put_trial(dataclasses.replace(trial.row, state=TrialState.PAUSED))
    for number in range(case.running):
        running = tuner.ask()
        for epoch in range(1, min(1 + number, case.epochs)):
            running.report(epoch, {"loss": loss(running, epoch)})
    suggestions, judgements = [], []
    for _ in range(repeats + 1):
        finish(tuner, case.epochs)
        history = tuner._loop.history()  # noqa: SLF001
        start = time.process_time()
        case.strategy.next_action(history, 0, may_start=True)
        suggestions.append(time.process_time() - start)
        if case.strategy.max_resource is None:
            continue
        running = tuner.ask()
        for epoch in (1, 2, 3):
            running.report(epoch, {"loss": loss(running, epoch)})
        start = time.process_time()
        case.strategy.on_report(tuner._loop.history(), running.number, 3)  # noqa: SLF001
        judgements.append(time.process_time() - start)
        running.end()
    status = Path("/proc/self/status")
    peak = int(status.read_text().split("VmHWM:")[1].split()[0]) / 1024 if status.exists() else float("nan")
    judged = np.median(judgements[1:]) * 1e3 if judgements else float("nan")
    return {"suggestion": float(np.median(suggestions[1:]) * 1e3), "judgement": float(judged), "peak": peak}


def reports(trials: int) -> dict[str, float]:
    """Return the median CPU microseconds of a report: of Random, of a model between its decisions, and at them."""
    spent: dict[str, list[float]] = {"Random": [], "Bayesian, between": [], "Bayesian, at a decision": []}
    decisions = {1, 2, 3, 5, 8, 13, 21, 32, 34, EPOCHS}  # left out of "between", whichever of them are the strategy's
    for strategy in (hpo.Random(), CURVES):
        tuner = hpo.Tuner(SPACE, OBJECTIVE, strategy=strategy, seed=0)
        for _ in range(trials):
            trial = tuner.ask()
            for epoch in range(1, EPOCHS + 1):
                metrics = {"loss": loss(trial, epoch)}
                start = time.process_time()
                stop = trial.report(epoch, metrics)
                taken = time.process_time() - start
                where = "at a decision" if epoch in decisions else "between"
                spent["Random" if strategy is not CURVES else f"Bayesian, {where}"].append(taken)
                if stop:
                    break
            trial.end()
    return {name: float(np.median(seconds) * 1e6) for name, seconds in spent.items()}


def main() -> None:
    """Print a row a case, then what reports cost."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--trials", type=int, default=40, help="that the reports are timed in")
    parser.add_argument("--only", choices=CASES, help="this case alone, as JSON")
    arguments = parser.parse_args()
    if arguments.only:
        print(json.dumps(measure(CASES[arguments.only], arguments.repeats)))
        return
    python, repeats = sys.version.split()[0], arguments.repeats
    print(f"Python {python}, numpy {np.__version__}; medians of {repeats}, {len(SPACE)} dimensions.\n")
    print("| finished trials | strategy | CPU ms a suggestion | wanted | CPU ms a judgement | peak MB |")
    print("|---|---|---|---|---|---|")
    for name, case in CASES.items():
        command = [sys.executable, "-m", "benchmarks", "suggestion-cost", "--only", name, "--repeats", str(repeats)]
        found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        pausing = ", pause=True" if case.strategy.pause else ""
        kind = "Bayesian()" if case.strategy is FINAL else f"Bayesian(max_resource={EPOCHS}{pausing})"
        known = f"{case.trials}" if case.epochs == 1 else f"{case.trials} of {case.epochs} epochs"
        known += f", {case.running} running" if case.running else ""
        judged = "" if case.strategy is FINAL else f"{found['judgement']:.0f}"
        cells = [
            known,
            f"`{kind}`",
            f"{found['suggestion']:.0f}",
            str(case.wanted or ""),
            judged,
            f"{found['peak']:.0f}",
        ]
        print("| " + " | ".join(cells) + " |", flush=True)
    print("\n| a report | CPU us, median |\n|---|---|")
    for name, microseconds in reports(arguments.trials).items():
        print(f"| {name} | {microseconds:.0f} |")
