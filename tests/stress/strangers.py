"""Crafted and damaged study files: each must load, or be refused with one sentence.

Usage: python tests/stress/strangers.py [--files 1000] [--seed 0] [--show 3]

A study with two dozen trials is stored; then one field of its definition, one column of a row, or one bit of the file
is changed. The file's studies are copied, and another study starts from it; it is opened by ``Tuner.load`` and by a
``Tuner`` of the same definition, read in full, summarised and asked for trials; its studies are deleted. Counted are
the outcomes by kind of change: read, refused with an ``HpoError``, another error, or no answer within 20 s. The last
two must not occur.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import shutil
import signal
import sqlite3
import sys
import tempfile
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import hpo_plugins as hpo

SECONDS = 20
VALUES: tuple[Any, ...] = (
    None, True, 0, 1, -1, 2**31, 2**63 - 1, -(2**63), 10**30, 1.5, -0.0, 1e308, float("nan"), float("inf"),
    "", "x", "0", "nan", "\x00", "\ud800", "../../x", "__import__('os')", b"\xff\x00", "running", "paused", "completed",
    [], [[]], [1, 2], "[" * 5000, {}, "{}", {"kind": "integer"}, {"name": "Grid"},
)  # fmt: skip
SPACE = {
    "x": hpo.Continuous(1e-3, 1.0, scale="log"),
    "n": hpo.Integer(1, 5),
    "k": hpo.Categorical(["a", 1, True, None]),
    "c": hpo.Continuous(0, 1, when={"k": ["a", None], "n": [1, 2, 3]}),
}


def tuner_at(path: Path, **arguments: Any) -> hpo.Tuner:
    """Return the tuner that the file's own script has."""
    stop_when = [hpo.TargetReached(-1.0), hpo.NotImproving(50), hpo.Converged()]
    strategy = hpo.Hyperband(max_resource=9, search="random")
    return hpo.Tuner(
        SPACE, hpo.Minimize("loss"), strategy=strategy, max_trials=40, stop_when=stop_when, storage=path, seed=0,
        progress=False, points_to_evaluate=[{"x": 0.5}], **arguments,
    )  # fmt: skip


def make(path: Path) -> None:
    """Store a study, with trials in every state."""
    tuner = tuner_at(path, notes={"by": "me"})
    for _ in range(24):
        trial = tuner.ask()
        for epoch in range(1, 10):
            if trial.report(epoch, {"loss": trial["x"] + 1 / epoch, "lr": 0.1}):
                break
        if trial.number == 5:
            trial.save(lambda path: path.write_text("state"))
        elif trial.number == 7:
            trial.fail("no luck")
        else:
            trial.end()
    tuner.enqueue({"n": 3})
    tuner.enqueue({"x": 0.25, "k": "a"})
    tuner.annotate(3, note="odd", tags=["check"])
    tuner.annotate(note="of the study")


def change_definition(path: Path, rng: random.Random) -> str:
    """Change one node of the definition."""
    with sqlite3.connect(path) as connection:
        definition = json.loads(connection.execute("SELECT definition FROM hpo_studies").fetchone()[0])
        node, where = definition, "definition"
        while True:
            key = rng.choice(list(node) if isinstance(node, dict) else range(len(node)))
            where += f".{key}"
            if not isinstance(node[key], dict | list) or not node[key] or rng.random() < 0.3:
                break
            node = node[key]
        value = rng.choice([value for value in VALUES if not isinstance(value, bytes)])
        if rng.random() < 0.2:
            del node[key]
        elif rng.random() < 0.1 and isinstance(node, dict):
            node["new"] = value
        else:
            node[key] = value
        connection.execute("UPDATE hpo_studies SET definition = ?", (json.dumps(definition),))
    connection.close()
    return f"{where} = {str(value)[:40]!r}"


def change_row(path: Path, rng: random.Random) -> str:
    """Change one column of one row, or delete or repeat a row."""
    with sqlite3.connect(path) as connection:
        table = rng.choice(["hpo_trials", "hpo_reports", "hpo_studies", "hpo_meta", "hpo_points", "hpo_actions"])
        key = "revision" if table == "hpo_reports" else "rowid"
        columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
        (row,) = rng.choice(connection.execute(f"SELECT {key} FROM {table}").fetchall())  # noqa: S608 - a table of ours
        column, value = rng.choice(columns), rng.choice(VALUES)
        value = json.dumps(value) if isinstance(value, list | dict) else value
        value = 2**62 if isinstance(value, int) and abs(value) >= 2**63 else value
        try:
            if rng.random() < 0.1:
                connection.execute(f"DELETE FROM {table} WHERE {key} = ?", (row,))  # noqa: S608
            else:
                connection.execute(f"UPDATE {table} SET {column} = ? WHERE {key} = ?", (value, row))  # noqa: S608
        except (sqlite3.Error, UnicodeEncodeError):  # the database itself refuses it
            pass
    connection.close()
    return f"{table}.{column} = {value!r}"[:80]


def flip(path: Path, rng: random.Random) -> str:
    """Flip bits of the file."""
    data = bytearray(path.read_bytes())
    places = [rng.randrange(len(data)) for _ in range(rng.choice([1, 3, 30]))]
    for place in places:
        data[place] ^= 1 << rng.randrange(8)
    path.write_bytes(data)
    return f"bits at {places[:3]}"


CHANGES = {"definition": change_definition, "row": change_row, "bits": flip}


def use(path: Path) -> str:
    """Copy a study, learn from it, open, read, continue and delete it; return the outcome."""
    for name, study in hpo.studies(path).items():
        repr(study)
        copied = study.copy(path.with_suffix(".copy"), name=name, force=True)
        copied.delete(force=True)
    tuner_at(path.with_suffix(".child"), warm_start=[path]).ask()
    for opened in (hpo.Tuner.load, tuner_at):
        tuner = opened(path)
        for trial in tuner.trials:
            repr((trial, dict(trial.metrics), dict(trial.seconds)))
        tuner.summary()
        repr((tuner.actions, tuner.annotations))
        if tuner.best_trial is not None:
            str(tuner.best_trial.value)
        while not tuner.done and (trial := tuner.ask()) is not None:
            trial.report(max(trial.start_epoch, 9), {tuner.objective.metric: 1.0})
            trial.end()
    for study in hpo.studies(path).values():
        study.delete(force=True)
    return "read"


def outcome(path: Path) -> str:
    """Return what comes of using a file."""

    def late(*_: object) -> None:
        raise TimeoutError

    signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        return use(path)
    except hpo.NothingReported:
        return "read"
    except hpo.HpoError as error:
        return "refused" if str(path) in str(error) or "default" in str(error) else f"refused without a name: {error}"
    except TimeoutError:
        return "no answer"
    except Exception as error:  # noqa: BLE001 - this is what is looked for
        return f"{type(error).__name__}: {error}"[:120]
    finally:
        signal.alarm(0)


def main() -> None:
    """Print how many files of each kind had which outcome."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--show", type=int, default=30, help="how many of the bad ones to show")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    counts: dict[str, Counter[str]] = {kind: Counter() for kind in CHANGES}
    bad = []
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "whole.db"
        maker = multiprocessing.get_context("spawn").Process(target=make, args=(whole,))
        maker.start()
        maker.join()  # its connections are closed: the file is whole without its log
        for number in range(arguments.files):
            kind = list(CHANGES)[number % len(CHANGES)]
            path = Path(folder) / f"{number}.db"
            shutil.copy(whole, path)
            change = CHANGES[kind](path, random.Random(f"{arguments.seed} {number}"))  # noqa: S311
            found = outcome(path)
            counts[kind][found if found in ("read", "refused", "no answer") else "another error"] += 1
            if found not in ("read", "refused"):
                bad.append(f"{change}: {found}")
            for left in Path(folder).glob(f"{number}.*"):
                left.unlink() if left.is_file() else shutil.rmtree(left)
    print("| change | read | refused | another error | no answer |\n|---|---|---|---|---|")
    for kind, count in counts.items():
        cells = [str(count[name]) for name in ("read", "refused", "another error", "no answer")]
        print(f"| {kind} | {' | '.join(cells)} |")
    for line in bad[: arguments.show]:
        print(line)
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
