"""Measure the cost of the live view: a search's CPU time with and without it, in a pseudo-terminal.

    python -m benchmarks view-cost [--trials 60] [--epochs 81] [--pause 0.002] [--repeat 5]

Each search trains trials whose epochs take ``--pause`` seconds, in memory, without a strategy that thinks: what is left
is the loop and the view. The pairs of runs alternate; the median is printed.
"""

from __future__ import annotations

import argparse
import os
import pty
import re
import statistics
import sys

SEARCH = """
import sys, threading, time
import hpo_plugins as hpo
trials, epochs, pause = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
tuner = hpo.Tuner({"x": hpo.Continuous(0, 1), "n": hpo.Integer(1, 9)}, hpo.Minimize("loss"), seed=0, max_trials=trials)
wait, began, cpu = threading.Event(), time.perf_counter(), time.process_time()
for trial in tuner:
    for epoch in range(1, epochs + 1):
        wait.wait(pause)
        trial.report(epoch, {"loss": trial["x"] + 1 / epoch})
print("RESULT", time.process_time() - cpu, time.perf_counter() - began)
"""


def measure(mode: str, arguments: list[str]) -> tuple[float, float]:
    """Return the CPU and wall seconds of one search."""
    child, terminal = pty.fork()
    if child == 0:
        os.environ.update(HPO_PLUGINS_PROGRESS=mode, TERM="xterm-256color")
        os.execv(sys.executable, [sys.executable, "-c", SEARCH, *arguments])  # noqa: S606 - no shell is wanted
    written = b""
    try:
        while data := os.read(terminal, 65536):
            written += data
    except OSError:  # how a pseudo-terminal ends
        pass
    os.close(terminal)
    os.waitpid(child, 0)
    cpu, wall = re.findall(rb"RESULT ([\d.]+) ([\d.]+)", written)[-1]
    return float(cpu), float(wall)


def main() -> None:
    """Print the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--epochs", type=int, default=81)
    parser.add_argument("--pause", type=float, default=0.002)
    parser.add_argument("--repeat", type=int, default=5)
    given = parser.parse_args()
    arguments = [str(given.trials), str(given.epochs), str(given.pause)]
    runs: dict[str, list[tuple[float, float]]] = {"off": [], "live": []}
    for _ in range(given.repeat):
        for mode, results in runs.items():
            results.append(measure(mode, arguments))
    print("| view | CPU s | wall s |\n|---|---|---|")
    for mode, results in runs.items():
        cpu, wall_seconds = (statistics.median(column) for column in zip(*results, strict=True))
        print(f"| {mode} | {cpu:.2f} | {wall_seconds:.2f} |")
    wall = [statistics.median(r[1] for r in results) for results in runs.values()]
    print(f"\nThe view adds {wall[1] / wall[0] - 1:.1%} to the wall time.")
