"""Four processes call whatever they may call of one study, in random order; then the study is compared with a model.

Usage: python tests/stress/sequences.py [--processes 4] [--calls 300] [--seed 0] [--kill]

Each process asks for trials, reports, saves, ends, fails, releases and restarts trials, and enqueues configurations, at
random; it logs what was acknowledged. With ``--kill``, each process is killed once and started again. At the end:

* each attempt at a trial was acquired by one process;
* every acknowledged report is in the study, unless its trial was restarted afterwards;
* every enqueued configuration was tried once, or is still waiting;
* a trial whose end was acknowledged has that state.

Exits with 1 if one of these is not so.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import hpo_plugins as hpo


def open_study(path: Path) -> hpo.Tuner:
    """Open the study that all processes share."""
    return hpo.Tuner(
        {"x": hpo.Continuous(0, 1)},
        hpo.Minimize("loss"),
        strategy=hpo.Hyperband(max_resource=9, search="random", pause=True),
        max_trials=10_000,
        storage=path,
        seed=0,
        progress=False,
    )


def call(path: Path, log: Path, calls: int, seed: int) -> None:
    """Make so many calls, and log each that was acknowledged."""
    draw, tuner, held = random.Random(seed), open_study(path), []  # noqa: S311
    with log.open("a", encoding="utf-8") as entries:

        def note(what: str, trial: hpo.Trial, *more: Any) -> None:
            entries.write(json.dumps([what, trial.number, trial.attempt, time.time(), *more]) + "\n")
            entries.flush()

        for _ in range(calls):
            kind = draw.choices(
                ["ask", "report", "save", "end", "fail", "release", "restart", "enqueue"], [3, 9, 2, 2, 1, 1, 0.3, 0.5]
            )[0]
            if kind == "ask" and len(held) < 3 and (trial := tuner.ask()) is not None:
                note("asked", trial)
                held.append([trial, trial.start_epoch, False])
            elif kind == "enqueue":
                x = draw.random()
                tuner.enqueue({"x": x})
                entries.write(json.dumps(["enqueued", x]) + "\n")
            elif kind == "restart" and (unfinished := sorted(tuner.history.unfinished)):
                number = draw.choice(unfinished)
                try:
                    tuner.restart(number)
                    entries.write(json.dumps(["restarted", number, 0, time.time()]) + "\n")
                except hpo.InvalidArgument:  # it has ended meanwhile
                    pass
            elif held and kind in ("report", "save", "end", "fail", "release"):
                entry = draw.choice(held)
                trial, epoch, stops = entry
                if kind == "report" and not stops:
                    entry[1] = epoch = epoch + 1
                    entry[2] = trial.report(epoch, {"loss": trial["x"] + 1 / epoch})
                    if not entry[2]:  # one that is told to stop may have lost the trial
                        note("reported", trial, epoch)
                elif kind == "save" and epoch > trial.start_epoch:
                    if trial.save(lambda place: place.write_text("state")):
                        note("saved", trial, epoch)
                elif kind == "end" and epoch > trial.start_epoch:
                    trial.end()
                    held.remove(entry)
                elif kind == "fail":
                    trial.fail("on purpose")
                    held.remove(entry)
                elif kind == "release":
                    trial.plugin.visit().release_quietly()
                    held.remove(entry)


def faults(path: Path, logs: list[Path]) -> list[str]:
    """Compare the study with what was acknowledged."""
    tuner = hpo.Tuner.load(path)
    lines = [json.loads(line) for log in logs for line in log.read_text(encoding="utf-8").splitlines()]
    asked = Counter(tuple(more[:2]) for what, *more in lines if what == "asked")
    twice = [attempt for attempt, count in asked.items() if count > 1]
    found = [f"attempt {attempt} at trial {number} was acquired twice" for number, attempt in twice]
    restarted: dict[int, float] = {}
    for what, number, *more in lines:
        if what == "restarted":
            restarted[number] = max(restarted.get(number, 0.0), more[1])
    for what, number, *more in lines:
        if what == "reported" and more[2] not in tuner.trials[number].metrics and more[1] > restarted.get(number, 0.0):
            found.append(f"epoch {more[2]} of trial {number} was acknowledged, and is not there")
    tried = Counter(trial["x"] for trial in (record.params for record in tuner.trials))
    waiting = [point["x"] for point in tuner.history.enqueued]
    for what, x, *_ in lines:
        if what == "enqueued" and (tried[x] > 1 or x not in waiting):
            found.append(f"the enqueued configuration {x} was tried {tried[x]} times")
    numbers = [record.number for record in tuner.trials]
    if numbers != list(range(len(numbers))):
        found.append(f"the trials are {numbers}")
    return found


def main() -> None:
    """Run the processes, and compare."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--calls", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kill", action="store_true")
    parser.add_argument("--call", nargs=4, metavar=("PATH", "LOG", "CALLS", "SEED"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.call:
        path, log, calls, seed = arguments.call
        call(Path(path), Path(log), int(calls), int(seed))
        return
    draw = random.Random(arguments.seed)  # noqa: S311
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "study.db")
        open_study(path)
        logs = [Path(folder, f"{number}.log") for number in range(arguments.processes)]

        def start(number: int, again: int) -> subprocess.Popen[bytes]:
            given = (path, logs[number], arguments.calls, arguments.seed * 1000 + again * 100 + number)
            return subprocess.Popen([sys.executable, __file__, "--call", *map(str, given)])

        processes = [start(number, 0) for number in range(arguments.processes)]
        if arguments.kill:
            for number, process in enumerate(processes):
                time.sleep(draw.uniform(0.3, 1.0))
                process.send_signal(signal.SIGKILL)
                process.wait()
                processes[number] = start(number, 1)
        codes = [process.wait() for process in processes]
        found = faults(path, logs) + [f"a process ended with code {code}" for code in codes if code]
        n_calls = sum(len(log.read_text(encoding="utf-8").splitlines()) for log in logs)
        print(f"{n_calls} acknowledged calls of {len(logs)} processes, {len(hpo.Tuner.load(path).trials)} trials.")
    print("\n".join(found) or "The study is as it was acknowledged.")
    sys.exit(bool(found))


if __name__ == "__main__":
    logging.disable()
    main()
