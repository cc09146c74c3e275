"""Real wall time: the same script tuned by several libraries, one after another, each with the same time.

Usage: python -m benchmarks wall-time [--seconds 600] [--frameworks xgboost keras lightning] [--tools ours optuna ...]

Each script of ``wall_time_scripts/`` is one that a person would write: ``xgboost_plain.py`` trains once, the others
tune the same training run with one library, its own callback and one worker. A script runs until the time is over, and
is ended then. Columns:

    best             the lowest validation loss
    time to LOSS     seconds until the loss that all tools reach, from the start of the script, imports included
    trials           training runs that ended
    CPU outside      of the CPU seconds of all of the script's processes, those outside of training runs
    a trial          the same for each trial, in milliseconds; imports are left out: CPU time up to the first epoch's
    lines            lines that were added to, and removed from, the plain script

The CPU time of callbacks that report from inside of a training run counts as training.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil

SCRIPTS = Path(__file__).with_name("wall_time_scripts")
FRAMEWORKS = ("xgboost", "keras", "lightning")
TOOLS = ("ours", "optuna", "keras_tuner", "ray")


class Watched(NamedTuple):
    """A script's run.

    Attributes:
        losses: Seconds since the start and the loss of each epoch, in their order.
        trials: Training runs that ended.
        training: Their CPU seconds.
        cpu: CPU seconds of all processes after the first epoch.
        error: The end of what the script printed if it ended before its time.
    """

    losses: list[tuple[float, float]]
    trials: int
    training: float
    cpu: float
    error: str = ""

    @property
    def best(self) -> float:
        """The lowest loss; infinite without an epoch."""
        return min((loss for _, loss in self.losses), default=float("inf"))

    def time_to(self, goal: float) -> float:
        """Return the seconds until a loss was reached."""
        return next(at for at, loss in self.losses if loss <= goal)


def code(path: Path) -> list[str]:
    """Return the lines of a script that are not empty."""
    return [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def changed(framework: str, tool: str) -> tuple[int, int]:
    """Return how many lines a tool's script adds to the plain one, and how many it takes away."""
    plain, own = code(SCRIPTS / f"{framework}_plain.py"), code(SCRIPTS / f"{framework}_{tool}.py")
    lines = [line[:2] for line in difflib.ndiff(plain, own)]
    return lines.count("+ "), lines.count("- ")


class CpuTime:
    """CPU seconds of a process and of all that descend from it; a process that has ended counts as last seen."""

    def __init__(self, pid: int) -> None:
        """Begin at 0."""
        self._root = psutil.Process(pid)
        self._seen: dict[tuple[int, float], float] = {}

    def read(self) -> float:
        """Return the sum of all that were ever seen."""
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                self._seen[process.pid, process.create_time()] = times.user + times.system
        return sum(self._seen.values())

    def processes(self) -> Iterator[psutil.Process]:
        """Yield those that run."""
        with contextlib.suppress(psutil.Error):
            yield from self._root.children(recursive=True)
            yield self._root


def parsed(record: Path) -> list[dict[str, float]]:
    """Return the lines of a record; the last one may have been cut off."""
    found = []
    for line in record.read_text(encoding="utf-8").splitlines() if record.exists() else ():
        with contextlib.suppress(json.JSONDecodeError):
            found.append(json.loads(line))
    return found


def training_seconds(lines: list[dict[str, float]]) -> float:
    """Return the CPU seconds of all training runs, of one that was broken off those up to its last epoch."""
    found: dict[tuple[float, float], float] = {}
    begins: dict[float, float] = {}
    for line in lines:
        if "begins" in line:
            begins[line["pid"]] = line["cpu"]
        begin = begins[line["pid"]]
        found[line["pid"], begin] = line["cpu"] - begin
    return sum(found.values())


def watch(script: Path, seconds: float) -> Watched:
    """Run a script until the time is over."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        record, printed = Path(folder) / "record.jsonl", Path(folder) / "printed.txt"
        environment = os.environ | {
            "WALL_TIME_RECORD": str(record), "OMP_NUM_THREADS": "1", "KERAS_BACKEND": "torch", "TMPDIR": folder,
            "PYTHONPATH": os.pathsep.join([str(SCRIPTS), os.environ.get("PYTHONPATH", "")]),
        }  # fmt: skip
        with printed.open("wb") as output:
            begun = time.time()
            process = subprocess.Popen(
                [sys.executable, str(script)], cwd=folder, env=environment, stdout=output, stderr=output
            )
            cpu, at_first = CpuTime(process.pid), 0.0
            while time.time() < begun + seconds and process.poll() is None:
                time.sleep(0.25)
                spent = cpu.read()
                at_first = at_first if record.exists() else spent
            after = cpu.read() - at_first
            error = "" if process.poll() is None else printed.read_bytes()[-2000:].decode(errors="replace")
            for each in list(cpu.processes()):
                with contextlib.suppress(psutil.Error):
                    each.kill()
            process.wait()
        lines = parsed(record)
    losses = [(line["at"] - begun, line["loss"]) for line in lines if "loss" in line]
    return Watched(losses, sum("ends" in line for line in lines), training_seconds(lines), after, error)


def table(framework: str, found: dict[str, Watched]) -> str:
    """Return a table of one framework."""
    goal = max(each.best for each in found.values())
    columns = ["tool", "best", f"time to {goal:.4f} (s)", "trials", "CPU outside (%)", "a trial (ms)", "lines"]
    rows = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    for tool, each in found.items():
        outside = max(each.cpu - each.training, 0.0)
        cells = [tool, f"{each.best:.4f}", f"{each.time_to(goal):.0f}", str(each.trials), f"{outside / each.cpu:.0%}"]
        cells += [f"{1e3 * outside / max(each.trials, 1):.0f}", "+{} -{}".format(*changed(framework, tool))]
        rows.append("| " + " | ".join(cells) + " |")
    return f"## {framework}\n\n" + "\n".join(rows)


def main() -> None:
    """Print a table for each framework."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600, help="of each script")
    parser.add_argument("--frameworks", nargs="+", choices=FRAMEWORKS, default=list(FRAMEWORKS))
    parser.add_argument("--tools", nargs="+", choices=TOOLS, default=list(TOOLS))
    arguments = parser.parse_args()
    print(f"{arguments.seconds:.0f} seconds for each script, one after another.", end="\n\n")
    for framework in arguments.frameworks:
        found = {}
        for tool in arguments.tools:
            script = SCRIPTS / f"{framework}_{tool}.py"
            if not script.exists():
                continue
            each = watch(script, arguments.seconds)
            if each.losses:
                found[tool] = each
            if each.error or not each.losses:
                print(f"{script.name} ended early:\n{each.error}" if each.error else f"{script.name} trained no epoch.")
        if found:
            print(table(framework, found), end="\n\n", flush=True)
