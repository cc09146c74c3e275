"""Workers on several hosts and one server, all of which are killed again and again: nothing may be lost.

Usage, as root: python tests/stress/serve_cluster.py [--hosts 8] [--workers 64] [--seconds 600] [--kill-every 10]
[--kill-server-every 60] [--epochs 8] [--whole]

Each host is a network namespace with process IDs and a host name of its own, so that no host can see whether another
one's processes live. Each worker logs what was acknowledged before its next step. At the end, the logs are compared
with the study: every acknowledged report is there, no epoch was trained again after a checkpoint of it or of a later
one was acknowledged, no trial number was started twice, and every curve is that of an uninterrupted training. It prints
the share of the workers' time in which they trained. Exits with 1 if a check fails, with 77 where hosts cannot be made.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from hosts import Hosts, why_impossible

import hpo_plugins as hpo

TOKEN, PORT = "a-token-for-the-stress-test", 7777
SERVER = "10.77.0.1"
RUN = "import sys; from hpo_plugins.cli.main import main; sys.argv[1:] = {arguments!r}; main()"


def next_state(state: float, number: int, epoch: int) -> float:
    """Return the state after an epoch: it depends on the state before, so a curve shows a wrong resume."""
    digest = hashlib.sha256(f"{state!r} {number} {epoch}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def work(log: Path, epochs: int, epoch_seconds: float, *, whole: bool) -> None:
    """Train trials until the search is over, and log what was acknowledged."""
    strategy = hpo.Random() if whole else hpo.Hyperband(max_resource=epochs, search="random")
    tuner = hpo.Tuner(
        {"x": hpo.Continuous(0, 1)}, hpo.Minimize("loss"), strategy=strategy,
        max_trials=None, max_runtime=10**6, storage=f"http://{SERVER}:{PORT}", name="s", seed=0, retries=100,
    )  # fmt: skip
    with log.open("a") as out:

        def say(*entry: object) -> None:
            out.write(json.dumps([time.time(), *entry]) + "\n")
            out.flush()

        say("start")
        for trial in tuner:
            train(trial, say, epochs, epoch_seconds)


def train(trial: hpo.Trial, say: object, epochs: int, epoch_seconds: float) -> None:
    """Train a trial, save every fourth epoch, and log each step."""
    state = float(Path(trial.resume_from).read_text()) if trial.resume_from else 0.0
    attempt = trial._lease.attempt
    say("begin", trial.number, attempt, trial.start_epoch)
    for epoch in range(trial.start_epoch + 1, epochs + 1):
        time.sleep(epoch_seconds)
        state = next_state(state, trial.number, epoch)
        say("trained", trial.number, attempt, epoch, epoch_seconds)
        stop = trial.report(epoch, {"loss": state})
        if trial._lease.journal._unwritten == []:
            say("reported", trial.number, attempt, epoch, state)
        if not stop and epoch % 4 == 0 and trial.save(lambda path, state=state: path.write_text(repr(state))):
            say("saved", trial.number, attempt, epoch)
        if stop:
            return


def start_on(hosts: Hosts, index: int, folder: Path, *command: object) -> subprocess.Popen[bytes]:
    """Start a command on a host, in a folder of its own."""
    name = hosts.names[index]
    (folder / name).mkdir(exist_ok=True)
    with (folder / f"{name}.err").open("ab") as errors:
        return hosts.start(index, *command, cwd=folder / name, stdout=errors, stderr=errors)


def start_server(folder: Path) -> subprocess.Popen[str]:
    """Start the server; returns when it listens."""
    arguments = ["serve", str(folder / "tuning.db"), "--host", SERVER, "--port", str(PORT)]
    server = subprocess.Popen(
        [sys.executable, "-c", RUN.format(arguments=arguments)], stdout=subprocess.PIPE, text=True
    )
    for line in server.stdout or ():
        if "Ctrl-C" in line:
            return server
    raise RuntimeError("the server has ended")


def run(given: argparse.Namespace, folder: Path) -> None:
    """Let workers search while they and the server are killed."""
    hosts, generator, numbers = Hosts(given.hosts), random.Random(0), iter(range(10**6))  # noqa: S311
    server, workers = start_server(folder), []

    def start_worker(place: int) -> subprocess.Popen[bytes]:
        log = folder / f"log-{next(numbers):04d}"
        command = [sys.executable, __file__, "--worker", log, "--epoch-seconds", given.epoch_seconds]
        command += ["--epochs", given.epochs, *["--whole"] * given.whole]
        return start_on(hosts, place % given.hosts, folder, *command)

    try:
        workers = [start_worker(index) for index in range(given.workers)]
        began = last_worker = last_server = time.monotonic()
        while (now := time.monotonic()) - began < given.seconds:
            time.sleep(0.2)
            if now - last_worker > given.kill_every:
                last_worker, index = now, generator.randrange(given.workers)
                workers[index].kill()
                workers[index].wait()
                workers[index] = start_worker(index)
            if now - last_server > given.kill_server_every:
                last_server = now
                server.kill()
                server.wait()
                server = start_server(folder)
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
        server.kill()
        server.wait()
        hosts.close()


def check(folder: Path) -> list[str]:
    """Return what is wrong in the study, and print what was found."""
    study = hpo.Tuner.load(folder / "tuning.db")._loop.session.refresh()
    rows = {trial.row.number: trial for trial in study}
    wrong, counts, busy, total = [], defaultdict(int), 0.0, 0.0
    saved: dict[int, list[tuple[float, int]]] = defaultdict(list)
    begun: dict[tuple[int, int], int] = defaultdict(int)
    trained: list[tuple[float, int, int]] = []
    for log in sorted(folder.glob("log-*")):
        entries = [json.loads(line) for line in log.read_text().splitlines() if line.endswith("]")]
        if entries:
            total += entries[-1][0] - entries[0][0]
        for moment, kind, *rest in entries:
            counts[kind] += 1
            if kind == "reported" and dict(rows[rest[0]].folds[0].metrics).get(rest[2], {}).get("loss") != rest[3]:
                wrong.append(f"report lost or changed: {rest}")
            elif kind == "saved":
                saved[rest[0]].append((moment, rest[2]))
            elif kind == "trained":
                busy += rest[3]
                trained.append((moment - rest[3], rest[0], rest[2]))
            elif kind == "begin":
                begun[rest[0], rest[1]] += 1
    wrong += [f"trial {key[0]} was started twice as attempt {key[1]}" for key, count in begun.items() if count > 1]
    for moment, number, epoch in trained:
        if any(when < moment and epoch <= last for when, last in saved[number]):
            wrong.append(f"trial {number}: epoch {epoch} was trained again after it was saved")
    for number, trial in rows.items():
        state = 0.0
        for epoch in range(1, trial.epochs + 1):
            state = next_state(state, number, epoch)
            if dict(trial.folds[0].metrics)[epoch]["loss"] != state:
                wrong.append(f"trial {number}: epoch {epoch} is not that of an uninterrupted training")
    share = busy / total if total else 0.0
    print(f"{len(rows)} trials, {dict(counts)}, {share:.1%} of the workers' time in training", flush=True)
    return wrong


def main() -> int:
    """Run and check."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hosts", type=int, default=8)
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--epoch-seconds", type=float, default=0.2)
    parser.add_argument("--kill-every", type=float, default=10.0)
    parser.add_argument("--kill-server-every", type=float, default=60.0)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--whole", action="store_true", help="stop no trial")
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--worker", type=Path)
    given = parser.parse_args()
    os.environ["HPO_PLUGINS_TOKEN"] = TOKEN
    if given.worker is not None:
        work(given.worker, given.epochs, given.epoch_seconds, whole=given.whole)
        return 0
    if reason := why_impossible():
        print(reason)
        return 77
    folder = Path(tempfile.mkdtemp(prefix="hpo-cluster-"))
    run(given, folder)
    wrong = check(folder)
    print(*wrong[:20], sep="\n")
    print("Nothing was lost and nothing counted twice." if not wrong else f"{len(wrong)} checks failed, in {folder}")
    if not wrong and not given.keep:
        shutil.rmtree(folder)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
