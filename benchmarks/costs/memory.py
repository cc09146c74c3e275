"""Memory of a long run: what each trial leaves behind in the process, by framework, beside what the study itself keeps.

Usage: python -m benchmarks memory [--trials 400] [framework ...]

Each search runs in a process of its own, in memory, with the small training of ``tests/integrations/frameworks.py``. Of
``--trials`` trials the second half is measured, by the resident set after the allocator has returned what is free.
*plain* is a loop that reports as many epochs without a framework; *without* is the framework without our callback.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import logging
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

FRAMEWORKS = ("plain", "xgboost", "lightgbm", "keras", "lightning", "transformers")
EPOCHS = 2


def resident() -> int:
    """Return the resident set of this process in bytes, once what is free was given back to the system."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * 4096


class NoTrial:
    """Stands in for a trial where the callback is left out."""

    resume_from = None

    def __getitem__(self, name: str) -> float:
        return 0.1


def measure(name: str, trials: int, *, with_callback: bool) -> None:
    """Print the bytes of each trial in the second half of a search."""
    import hpo_plugins as hpo

    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    from tests.integrations import frameworks

    framework = None if name == "plain" else frameworks.FRAMEWORKS[name]()
    metric = "loss" if framework is None else framework.metric
    tuner = hpo.Tuner(
        {"rate": hpo.Continuous(1e-3, 0.5, "log")}, hpo.Minimize(metric), max_trials=trials, seed=0, progress="off"
    )
    before = 0

    def train(trial: Any) -> None:
        if framework is None:
            for epoch in range(1, EPOCHS + 1):
                trial.report(epoch, {"loss": 1.0})
        else:
            framework.fit(trial, epochs=EPOCHS)

    if with_callback:
        for trial in tuner:
            if trial.number == trials // 2:
                before = resident()
            train(trial)
    else:
        import importlib

        module = importlib.import_module(f"hpo_plugins.integrations.{name}")
        base = None if name == "lightgbm" else _nothing(module.TrialCallback)
        module.TrialCallback = lambda _: (lambda _env: None) if base is None else base()
        for number in range(trials):
            if number == trials // 2:
                before = resident()
            train(NoTrial())
    each = (resident() - before) / (trials - trials // 2)
    print(f"{name} {'with' if with_callback else 'without'} {each:.0f}")


def _nothing(callback: type) -> type:
    """Return the framework's own class of callbacks."""
    return next(cls for cls in callback.__mro__ if not cls.__module__.startswith("hpo_plugins"))


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("frameworks", nargs="*", default=FRAMEWORKS)
    parser.add_argument("--trials", type=int, default=400)
    parser.add_argument("--one", choices=["with", "without"])
    arguments = parser.parse_args()
    if arguments.one:
        measure(arguments.frameworks[0], arguments.trials, with_callback=arguments.one == "with")
        return
    print("| framework | callback | bytes a trial |\n|---|---|---|")
    for name in arguments.frameworks:
        for one in ["with"] if name == "plain" else ["with", "without"]:
            command = [
                sys.executable,
                "-m",
                "benchmarks",
                "memory",
                name,
                "--trials",
                str(arguments.trials),
                "--one",
                one,
            ]
            ended = subprocess.run(command, capture_output=True, text=True, check=False)
            lines = [line for line in ended.stdout.splitlines() if line.startswith(f"{name} {one} ")]
            cells = lines[-1].split() if lines else [name, one, "failed", ended.stderr[-200:]]
            print(f"| {' | '.join(cells)} |", flush=True)
