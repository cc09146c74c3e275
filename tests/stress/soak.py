"""Kill workers at random while they search, and check that nothing is lost and nothing counted twice.

Usage: python tests/stress/soak.py [--processes 8] [--trials 500] [--epochs 20] [--kill-every 1.0] [--pause]

Several processes work on one study. At regular intervals, a random one that has trained is killed with SIGKILL and
replaced. A training run is a chain: each epoch's value is computed from the state after the epoch before, so a curve
shows whether a training run was resumed from the right state. Each process logs what it did and what was acknowledged
before its next step; at the end, the logs are compared with the study:

* exactly the given number of trials, each number once, all in final states and none FAILED;
* every acknowledged report is in the study;
* every curve is complete, and equal to that of an uninterrupted training;
* no epoch was trained again after a checkpoint of it, or of a later one, was acknowledged.

With ``--pause``, the strategy is Hyperband, which pauses most trials and resumes some. Exits with 1 if a check fails.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import hpo_plugins as hpo

SAVE_EVERY = 4
Entry = tuple[str, int, int, int, float | None]
"""What was done ("trained", "reported", "saved"), trial, attempt, epoch, value."""


def step(state: str) -> str:
    """Return the state after one more epoch."""
    return hashlib.sha256(state.encode()).hexdigest()


def value_of(state: str) -> float:
    """Return the loss that a state shows."""
    return int(state[:8], 16) / 16**8


def whole_curve(number: int, epochs: int) -> dict[int, float]:
    """Return the curve of a training run that was never interrupted."""
    state, curve = str(number), {}
    for epoch in range(1, epochs + 1):
        state = step(state)
        curve[epoch] = value_of(state)
    return curve


def work(options: argparse.Namespace) -> None:
    """Be one of the processes."""
    logging.disable()  # dead workers are the point here
    strategy = hpo.Hyperband(max_resource=options.epochs, pause=True) if options.pause else hpo.Random()
    tuner = hpo.Tuner(
        {"x": hpo.Continuous(0, 1)},
        hpo.Minimize("loss"),
        strategy=strategy,
        max_trials=options.trials,
        storage=options.storage,
        checkpoint_dir=options.folder / "checkpoints",
        retries=10**6,
        seed=0,
    )
    with (options.folder / f"{os.getpid()}.log").open("a") as log:

        def note(*entry: object) -> None:
            log.write(json.dumps(entry) + "\n")
            log.flush()

        for trial in tuner:
            state = Path(trial.resume_from).read_text() if trial.resume_from else str(trial.number)
            for epoch in range(trial.start_epoch + 1, options.epochs + 1):
                note("trained", trial.number, trial.attempt, epoch, None)
                time.sleep(options.epoch_seconds)
                state = step(state)
                stop = trial.report(epoch, {"loss": value_of(state)})
                note("reported", trial.number, trial.attempt, epoch, value_of(state))
                is_saved = (epoch % SAVE_EVERY == 0 or trial.save_is_due) and trial.save(
                    lambda path, state=state: path.write_text(state)  # type: ignore[misc]
                )
                if is_saved:
                    note("saved", trial.number, trial.attempt, epoch, None)
                if stop:
                    break


def has_trained(folder: Path, pid: int) -> bool:
    """Return whether a process has reported two epochs."""
    log = folder / f"{pid}.log"
    return log.exists() and log.read_text().count('"reported"') >= 2


def torment(options: argparse.Namespace) -> int:
    """Run the processes and kill them at random until the search is over; return the number of kills."""
    dice = random.Random(options.seed)  # noqa: S311 - not a secret
    arguments = [sys.executable, __file__, *sys.argv[1:], "--worker", "--folder", options.folder]
    arguments += ["--storage", options.storage]

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(arguments)

    running = [start() for _ in range(options.processes)]
    kills, due = 0, time.monotonic() + options.kill_every
    try:
        while running:
            time.sleep(0.02)
            for process in list(running):
                code = process.poll()
                if code is None:
                    continue
                running.remove(process)
                if code == -signal.SIGKILL:
                    running.append(start())
                elif code != 0:
                    raise SystemExit(f"A worker ended with code {code}.")
            if running and time.monotonic() >= due:
                due += options.kill_every
                # Only processes that have trained: on a slow machine, others would be killed before they do anything.
                busy = [p for p in running if p.poll() is None and has_trained(options.folder, p.pid)]
                if busy:
                    dice.choice(busy).kill()
                    kills += 1
    finally:
        for process in running:
            process.kill()
            process.wait()
    return kills


def entries(folder: Path) -> Iterator[Entry]:
    """Yield what all processes wrote down; a kill may cut a last line."""
    for log in sorted(folder.glob("*.log")):
        for line in log.read_text().splitlines():
            if line.endswith("]"):
                yield tuple(json.loads(line))


def faults(trials: tuple[hpo.TrialRecord, ...], log: list[Entry], options: argparse.Namespace) -> Iterator[str]:
    """Yield every violation, in words."""
    if [t.number for t in trials] != list(range(options.trials)):
        yield f"{len(trials)} trials were started, not {options.trials}"
    whole = {t.number: whole_curve(t.number, options.epochs) for t in trials}
    for t in trials:
        if not t.state.is_final or t.state is hpo.TrialState.FAILED:
            yield f"trial {t.number} is {t.state.value}: {t.error}"
        if list(t.curve) != list(range(1, t.epochs + 1)):
            yield f"the curve of trial {t.number} has a gap: {list(t.curve)}"
        if any(whole[t.number][epoch] != value for epoch, value in t.curve.items()):
            yield f"trial {t.number} did not go on from where it stood"
        if t.state is hpo.TrialState.COMPLETED and t.epochs != options.epochs:
            yield f"trial {t.number} completed at epoch {t.epochs}"
    saved: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for what, number, attempt, epoch, _ in log:
        if what == "saved":
            saved[number].append((attempt, epoch))
    for what, number, attempt, epoch, value in log:
        if what == "reported" and trials[number].curve.get(epoch) != value:
            yield f"the report of epoch {epoch} of trial {number} was acknowledged and is not there"
        if what == "trained" and any(a < attempt and epoch <= e for a, e in saved[number]):
            yield f"epoch {epoch} of trial {number} was trained again in attempt {attempt}, after its checkpoint"


def main() -> int:
    """Run, check and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--trials", type=int, default=500)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--epoch-seconds", type=float, default=0.1)
    parser.add_argument("--kill-every", type=float, default=1.0)
    parser.add_argument("--pause", action="store_true")
    parser.add_argument("--storage", help="a path or URL; by default a SQLite file")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        options.folder = Path(folder)
        options.storage = options.storage or str(options.folder / "study.db")
        start = time.monotonic()
        kills = torment(options)
        seconds = time.monotonic() - start
        log = list(entries(options.folder))
        trials = hpo.Tuner.load(options.storage, "default").trials
    done = Counter(what for what, *_ in log)
    states = ", ".join(f"{count} {state.value}" for state, count in Counter(t.state for t in trials).most_common())
    print(
        f"{kills} kills in {seconds:.0f} s among {options.processes} processes; {len(trials)} trials ({states}), "
        f"{sum(t.attempts - 1 for t in trials)} of them handed out again after a death or a pause, "
        f"{done['reported']:,} reports and {done['saved']:,} checkpoints acknowledged."
    )
    found = list(faults(trials, log, options))
    print("\n".join(found[:20]) if found else "Nothing was lost and nothing counted twice.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
