"""Send a signal to a search at random instants, in each framework, and check that it ends and can be continued.

Usage: python tests/stress/signals.py [--signal SIGTERM] [--instants 200] [--only xgboost,keras] [--seed 0]

A process loads the framework once; each search runs in a fork of it. The signal comes at a random instant between the
start of the search and its end. Afterwards:

* the process has ended with the signal's code (143, or 130 for SIGINT), unless the search was over before;
* no trial is held, and none is FAILED;
* the next fork continues the study; at its end each trial has all its epochs, each once.

Exits with 1 if a check fails.
"""

from __future__ import annotations

import argparse
import atexit
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.update(OMP_NUM_THREADS="1", HPO_PLUGINS_PROGRESS="off", TF_CPP_MIN_LOG_LEVEL="3", TQDM_DISABLE="1")
os.environ.setdefault("KERAS_BACKEND", "torch")
sys.path.insert(0, str(Path(__file__).parent.parent / "integrations"))

import hpo_plugins as hpo
from hpo_plugins.records import TrialState

N_TRIALS, EPOCHS = 3, 6
SECONDS = 60.0
"""After which a process that was told to end counts as one that does not."""


class Loop:
    """A training loop of one's own."""

    metric = "loss"

    def fit(self, trial: Any, *, epochs: int) -> None:
        """Train from where the trial resumes."""
        for epoch in range(trial.start_epoch + 1, epochs + 1):
            until = time.perf_counter() + 0.01
            while time.perf_counter() < until:
                sum(range(1000))
            if trial.report(epoch, {"loss": trial["rate"] + 1 / epoch}):
                break
            if trial.save_is_due:
                trial.save(lambda path: path.write_text("state"))


def search(framework: Any, path: Path, begun: Callable[[], object]) -> None:
    """Work on the study until it is over.

    Args:
        framework: Trains trials.
        path: The study.
        begun: Called when the tuner is made.
    """
    tuner = hpo.Tuner(
        {"rate": hpo.Continuous(1e-2, 0.5, scale="log")},
        hpo.Minimize(framework.metric),
        max_trials=N_TRIALS,
        storage=path,
        seed=0,
    )
    begun()
    for trial in tuner:
        framework.fit(trial, epochs=EPOCHS)


def forked(work: Callable[[], None]) -> int:
    """Return the process ID of a fork that does some work; it exits as a script does."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        try:
            work()
            code = 0
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 1
        except KeyboardInterrupt:
            code = 128 + signal.SIGINT
        except Exception as error:  # noqa: BLE001 - shown, as the interpreter would
            try:
                sys.excepthook(type(error), error, error.__traceback__)
            except SystemExit as told:
                code = told.code if isinstance(told.code, int) else 1
        atexit._run_exitfuncs()  # what the interpreter does
    finally:
        sys.stderr.flush()
        os._exit(code)


def ended(child: int) -> int | None:
    """Return a process's exit code, None if it does not end."""
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def faults(path: Path, number: int, code: int | None) -> list[str]:
    """Return what is wrong with a study after its process was told to end by a signal."""
    if code not in (0, 128 + number):
        return [f"code {code}"]
    if not path.exists():
        return []
    try:
        tuner = hpo.Tuner.load(path)
    except hpo.StudyNotFound:
        return []  # it was told to end before the study was made
    found = [f"trial {t.number} is FAILED: {t.error}" for t in tuner.trials if t.state is TrialState.FAILED]
    running = hpo.studies(path)["default"].running  # of a worker that is known to be dead, a trial is not
    return found + [f"trial {number} is held" for number in running]


def run(framework: Any, sent: signal.Signals, instants: int, draw: random.Random) -> tuple[Counter[str], list[str]]:
    """Interrupt searches at random instants; return how the processes ended, and what is wrong."""
    outcomes: Counter[str] = Counter()
    wrong: list[str] = []
    folder = tempfile.mkdtemp()  # not a TemporaryDirectory, which each fork would delete at its exit
    started = time.monotonic()
    code = ended(forked(lambda: search(framework, Path(folder, "whole.db"), int)))
    whole = time.monotonic() - started
    if code != 0:
        return outcomes, [f"an undisturbed search ends with code {code}"]
    number, path = 0, Path(folder, "0.db")
    while sum(outcomes.values()) < instants:
        receive, send = os.pipe()
        child = forked(lambda at=path, to=send: search(framework, at, lambda: os.write(to, b"!")))  # type: ignore[misc]
        os.read(receive, 1)
        os.close(receive)
        os.close(send)
        time.sleep(draw.uniform(0, whole))
        os.kill(child, sent)
        code = ended(child)
        outcomes["over" if code == 0 else str(code)] += 1
        wrong += faults(path, sent, code)
        if code == 0:
            tuner = hpo.Tuner.load(path)
            curves = [list(trial.curve) for trial in tuner.trials]
            if curves != [list(range(1, EPOCHS + 1))] * N_TRIALS:
                wrong.append(f"the curves are {curves}")
            number += 1
            path = Path(folder, f"{number}.db")
    shutil.rmtree(folder)
    return outcomes, wrong


def main() -> None:
    """Print a row for each framework."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--signal", default="SIGTERM", choices=["SIGTERM", "SIGHUP", "SIGINT"])
    parser.add_argument("--instants", type=int, default=200)
    parser.add_argument("--only", default="loop,xgboost,lightgbm,keras,lightning,transformers")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    import frameworks

    known = {"loop": Loop} | {cls.__name__.lower(): cls for cls in frameworks.FRAMEWORKS.values()}
    sent = signal.Signals[arguments.signal]
    print(f"| framework | instants | ended with {128 + sent} | was over before | other | wrong |")
    print("|---|---|---|---|---|---|")
    all_wrong = []
    for name in arguments.only.split(","):
        outcomes, wrong = run(known[name](), sent, arguments.instants, random.Random(arguments.seed))  # noqa: S311
        total, told, over = sum(outcomes.values()), outcomes[str(128 + sent)], outcomes["over"]
        print(f"| {name} | {total} | {told} | {over} | {total - told - over} | {len(wrong)} |", flush=True)
        all_wrong += [f"{name}: {each}" for each in wrong]
    print("\n".join(sorted(set(all_wrong))))
    sys.exit(bool(all_wrong))


if __name__ == "__main__":
    main()
