"""Make the stored files of one version: PYTHONPATH=CHECKOUT_OF_THAT_VERSION python make.py FOLDER.

Each archive beside this file was made by running this with the code of its time, before anything here could read it:
format-5 with d0a024d~1, format-6 with version 0.2.0 (6aa56f4), format-7 with 19af19d. It holds ``tuning.db``, the
checkpoints beside it, and ``expected.json``: the trials as that version itself read them.
"""

import inspect
import json
import multiprocessing
import os
import sqlite3
import sys
import tarfile
from pathlib import Path

import hpo_plugins as hpo

EPOCHS = 9
SPACE = {"lr": hpo.Continuous(1e-3, 1.0, scale="log"), "depth": hpo.Integer(1, 8)}
NESTED = {
    "optimizer": hpo.Categorical(["adam", "sgd"]),
    "momentum": hpo.Continuous(0.5, 0.99, when={"optimizer": "sgd"}),
}
OF_RECORDS = [
    *("number", "params", "state", "value", "epochs", "curve", "metrics", "checkpoint", "stop_reason", "error"),
    *("started_at", "ended_at", "attempts", "folds", "point", "best_epoch", "best_checkpoint"),
]


def searches() -> dict[str, dict]:
    """Return the arguments of each search that this version knows, by its name."""
    loss = hpo.Minimize("loss")
    found = {
        "finished": {"space": SPACE, "objective": loss, "strategy": hpo.Random(), "early_stopping": hpo.MedianRule()},
        "paused": {"space": SPACE, "objective": loss, "strategy": hpo.Hyperband(max_resource=EPOCHS, pause=True)},
        "folds": {"space": SPACE, "objective": hpo.Maximize("accuracy"), "strategy": hpo.Random()},
        "conditional": {"space": NESTED, "objective": loss, "strategy": hpo.Bayesian(max_resource=EPOCHS)},
        "failed": {"space": SPACE, "objective": loss, "strategy": hpo.Random()},
        "killed": {"space": SPACE, "objective": loss, "strategy": hpo.Random()},
    }
    known = inspect.signature(hpo.Tuner).parameters
    if "points_to_evaluate" in known:
        found["points"] = found["killed"] | {"points_to_evaluate": [{"lr": 0.1}]}
    if "constraints" in known:
        found["limited"] = found["killed"] | {"constraints": [hpo.AtMost("latency", 20)]}
    return {name: {**given, "max_trials": 8, "seed": 1} for name, given in found.items()}


def search(storage: Path, name: str, trials: int) -> None:
    """Train some trials of a search."""
    tuner = hpo.Tuner(storage=str(storage), name=name, progress="off", **searches()[name])
    if name == "points" and not tuner.trials:
        tuner.enqueue({"depth": 3})
    for trial in tuner:
        if name == "folds":
            for index, fold in enumerate(trial.folds(2)):
                train(fold, trial, name, index)
        else:
            train(trial, trial, name, 0)
        if trial.number >= trials - 1:
            break


def train(run, trial, name: str, fold: int) -> None:
    """Report a curve and save checkpoints."""
    level = trial.params.get("depth", 4) + 10 * trial.params.get("lr", trial.params.get("momentum", 0.7))
    for epoch in range(run.start_epoch + 1, EPOCHS + 1):
        loss = level / epoch + fold
        if name == "failed" and trial.number == 1:
            loss = float("nan")
        if name == "killed" and trial.number == 2 and epoch == 4 and run.start_epoch == 0:
            os._exit(1)
        must_stop = run.report(epoch, {"loss": loss, "accuracy": 1 / loss, "latency": 3.0 * trial.number})
        run.save(lambda path, epoch=epoch: path.write_text(str(epoch)))
        if must_stop:
            return


def record(storage: Path, name: str) -> list[dict]:
    """Return a study's trials as this version reads them."""
    trials = hpo.Tuner.load(str(storage), name).trials
    return [{field: getattr(trial, field) for field in OF_RECORDS if hasattr(trial, field)} for trial in trials]


def main(folder: Path) -> None:
    """Write ``folder/format-N.tar.xz``."""
    storage = folder / "tuning.db"
    for name in searches():  # in a process each, so that one can be killed
        process = multiprocessing.get_context("spawn").Process(target=search, args=(storage, name, 5))
        process.start()
        process.join()
    text = json.dumps({name: record(storage, name) for name in searches()}, default=dict)
    (folder / "expected.json").write_text(text.replace(f"{folder}/", ""))
    with sqlite3.connect(storage) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (version,) = connection.execute("SELECT value FROM hpo_meta").fetchone()
    connection.close()
    with tarfile.open(folder / f"format-{version}.tar.xz", "w:xz") as archive:
        for name in ("tuning.db", "tuning.db.checkpoints", "expected.json"):
            archive.add(folder / name, name)


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
