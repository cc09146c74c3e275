"""Measure the cost of one loop iteration as a study grows: acquire a trial, report three epochs, end it.

    python -m benchmarks loop-cost [--trials 10 1000 10000] [--turns 50] [--compare OTHER_CHECKOUT]

CPU milliseconds per turn, mean over ``--turns`` turns after the study has reached each size, in memory and in a SQLite
file. ``--compare`` measures another checkout of the library in the same run.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

STORAGES = ("memory", "sqlite")
STEPS = ("acquire", "three reports", "end")


def measure(storage: str, sizes: list[int], turns: int, strategy: str) -> dict[int, list[float]]:
    """Return the CPU milliseconds of each step of a turn, by the size of the study."""
    import hpo_plugins as hpo

    space = {"x": hpo.Continuous(0, 1), "depth": hpo.Integer(1, 8), "kind": hpo.Categorical(["a", "b"])}
    strategies = {"random": hpo.Random(), "hyperband": hpo.Hyperband(max_resource=3, search="random")}
    found: dict[int, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        tuner = hpo.Tuner(
            space,
            hpo.Minimize("loss"),
            strategy=strategies[strategy],
            storage=None if storage == "memory" else Path(folder) / "study.db",
            seed=0,
        )
        number = 0
        for size in sizes:
            spent = [0.0, 0.0, 0.0]
            while number < size + turns:
                start = time.process_time()
                trial = tuner.ask()
                acquired = time.process_time()
                for epoch in (1, 2, 3):
                    if trial.report(epoch, {"loss": trial["x"] + 1 / epoch, "lr": 0.1}):
                        break
                reported = time.process_time()
                trial.end()
                ended = time.process_time()
                if number >= size:
                    spent = [spent[0] + acquired - start, spent[1] + reported - acquired, spent[2] + ended - reported]
                number += 1
            found[size] = [1000 * seconds / turns for seconds in spent]
    return found


def measured_in(checkout: Path, arguments: argparse.Namespace, storage: str) -> dict[str, list[float]]:
    """Measure a checkout in a process of its own."""
    command = [sys.executable, __file__, "--worker", storage, "--turns", str(arguments.turns)]
    command += ["--strategy", arguments.strategy, "--trials", *map(str, arguments.trials)]
    environment = os.environ | {"PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    output = subprocess.run(command, env=environment, check=True, capture_output=True, text=True, cwd=checkout).stdout
    result: dict[str, list[float]] = json.loads(output)
    return result


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, nargs="+", default=[10, 1_000, 10_000])
    parser.add_argument("--turns", type=int, default=50)
    parser.add_argument("--strategy", choices=("random", "hyperband"), default="random")
    parser.add_argument("--compare", type=Path, help="another checkout of the library")
    parser.add_argument("--worker", choices=STORAGES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        print(json.dumps(measure(arguments.worker, arguments.trials, arguments.turns, arguments.strategy)))
        return
    here = Path(__file__).resolve().parent.parent.parent
    checkouts = {"this": here} | ({"other": arguments.compare.resolve()} if arguments.compare else {})
    print(f"| checkout | storage | trials | {' | '.join(STEPS)} | turn |")
    print("|---|---|---|---|---|---|---|")
    for storage in STORAGES:
        for name, checkout in checkouts.items():
            for size, spent in measured_in(checkout, arguments, storage).items():
                cells = " | ".join(f"{value:.3f}" for value in spent)
                print(f"| {name} | {storage} | {int(size):,} | {cells} | {sum(spent):.3f} |", flush=True)


if __name__ == "__main__":  # run as a file in other checkouts, which may have no such module
    main()
