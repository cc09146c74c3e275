"""A study's files: logs that are deleted, other names, locks of other programs, power cuts, temporary folders."""

import logging
import multiprocessing
import os
import pickle
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support import history_of, release, session_of

import hpo_plugins as hpo
from hpo_plugins.storage import sql_study, sqlite, temporary

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows deletes, links and kills otherwise")
X = {"x": hpo.Continuous(0, 1)}


def new_tuner(storage, **arguments):
    return hpo.Tuner(X, hpo.Minimize("loss"), max_trials=6, storage=storage, seed=0, **arguments)


def curves(storage):
    return [list(trial.curve) for trial in hpo.Tuner.load(storage).trials]


def load_elsewhere(path):
    """What another process sees: the curves, and whether it can train another trial."""
    script = """
import sys, hpo_plugins as hpo
tuner = hpo.Tuner.load(sys.argv[1])
print([list(trial.curve) for trial in tuner.trials])
trial = tuner.ask()
trial.report(1, {"loss": 1.0})
trial.end()
"""
    ended = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()


@pytest.mark.parametrize("deleted", [["-wal"], ["-shm"], ["-wal", "-shm"]], ids=" ".join)
def test_what_a_deleted_log_contained_is_written_back(deleted, tmp_path, caplog):
    path = tmp_path / "a.db"
    tuner = new_tuner(path)
    for epochs in (3, 2):
        trial = tuner.ask()
        for epoch in range(1, epochs + 1):
            trial.report(epoch, {"loss": 1.0})
    for suffix in deleted:
        Path(f"{path}{suffix}").unlink()
    trial.report(3, {"loss": 1.0})
    assert "was deleted while it was in use; what it contained was written to" in caplog.text
    assert load_elsewhere(path) == "[[1, 2, 3], [1, 2, 3]]"
    trial.report(4, {"loss": 1.0})
    trial.end()
    assert [list(trial.curve) for trial in tuner.trials] == [[1, 2, 3], [1, 2, 3, 4], [1]]
    del tuner, trial
    assert curves(path) == [[1, 2, 3], [1, 2, 3, 4], [1]]
    assert sqlite3.connect(path).execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_log_that_another_process_has_made_again_is_an_error(tmp_path):
    path = tmp_path / "a.db"
    tuner = new_tuner(path)
    trial = tuner.ask()
    trial.report(1, {"loss": 1.0})
    log = Path(f"{path}-wal")
    content = log.read_bytes()
    log.unlink()
    log.write_bytes(content)
    with pytest.raises(hpo.StorageError, match=r"a.db-wal was replaced by another file while it was in use"):
        trial.end()


def test_earlier_state_of_a_study_is_an_error(tmp_path):
    path = tmp_path / "a.db"
    new_tuner(path).ask().report(1, {"loss": 1.0})
    source = sqlite3.connect(path)
    backup = sqlite3.connect(tmp_path / "backup.db")
    source.backup(backup)
    tuner = new_tuner(path)
    trial = tuner.ask()
    trial.report(1, {"loss": 1.0})
    backup.backup(source)  # in place: the file is the same one
    with pytest.raises(hpo.StorageError, match=r"is an earlier state of it: it has \d+ writes, and this process"):
        _ = tuner.trials


def test_symlink_is_the_same_study(tmp_path):
    path = tmp_path / "a.db"
    tuner = new_tuner(path, strategy=hpo.Hyperband(max_resource=9, pause=True, search="random"))
    trial = tuner.ask()
    assert trial.report(1, {"loss": 1.0})
    assert trial.save(lambda path: path.write_text("state"))
    trial.end()
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere" / "b.db"
    link.symlink_to(path)
    for name in (link, f"sqlite:///{link}"):
        other = hpo.Tuner.load(name)
        assert other.trials[0].checkpoint == tuner.trials[0].checkpoint
        assert session_of(other).checkpoints.root == session_of(tuner).checkpoints.root
    assert not Path(f"{link}-wal").exists()


@pytest.mark.parametrize("name", ["a?b.db", "a#b.db", "a%20b.db", "a b.db"])
def test_path_reaches_the_same_study_after_a_fork_and_a_pickle(name, tmp_path):
    tuner = new_tuner(tmp_path / name)
    trial = tuner.ask()
    pickle.loads(pickle.dumps(tuner)).ask().report(1, {"loss": 1.0})
    forked = multiprocessing.get_context("fork").Process(target=lambda: trial.report(1, {"loss": 1.0}))
    forked.start()
    forked.join()
    assert [list(trial.curve) for trial in tuner.trials] == [[1], [1]]
    assert {path.name.removesuffix("-wal").removesuffix("-shm") for path in tmp_path.iterdir()} == {name}


def test_training_continues_while_another_program_holds_the_lock(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(sql_study, "REPORT_PATIENCE", 0.2)
    path = tmp_path / "a.db"
    tuner = new_tuner(path)
    trial = tuner.ask()
    trial.report(1, {"loss": 1.0})
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    started = time.monotonic()
    for epoch in range(2, 50):
        assert not trial.report(epoch, {"loss": 1.0})
    assert time.monotonic() - started < sqlite.LOCK_TIMEOUT  # 48 reports, of which only the first one waits
    assert curves(path) == [[1]]
    other.execute("ROLLBACK")
    trial.end()
    assert curves(path) == [list(range(1, 50))]
    warnings = [record for record in caplog.records if "is not written yet" in record.getMessage()]
    assert [record.levelno for record in warnings] == [logging.WARNING]


@pytest.mark.parametrize(("url", "n_synced"), [("sqlite:///{}", 2), ("sqlite:///{}?synchronous=full", 5)])
def test_saves_or_all_commits_wait_for_the_disk(url, n_synced, tmp_path, monkeypatch):
    tuner, levels = new_tuner(url.format(tmp_path / "a.db")), []

    def begin(driver, timeout, begin=sqlite._begin_immediately):
        levels.append(driver.execute("PRAGMA synchronous").fetchone()[0])
        begin(driver, timeout)

    monkeypatch.setattr(sqlite, "_begin_immediately", begin)
    trial = tuner.ask()
    for epoch in (1, 2):
        trial.report(epoch, {"loss": 1.0})
        trial.save(lambda path: path.write_text("state"))
    assert len(levels) == 5
    assert levels.count(2) == n_synced  # FULL


def test_synchronous_is_normal_or_full(tmp_path):
    with pytest.raises(hpo.StorageError, match="synchronous must be NORMAL or FULL in a URL of SQLite, but got 'OFF'"):
        new_tuner(f"sqlite:///{tmp_path}/a.db?synchronous=off")


# Copies, renames and deletions that are killed.


def saved(path, name="a", state="state"):
    """A study with one trial, which is saved and released."""
    tuner = new_tuner(path, name=name)
    trial = tuner.ask()
    trial.report(1, {"loss": 1.0})
    trial.save(lambda place: place.write_text(state))
    release(trial)
    return tuner


def killed(action, at, monkeypatch):
    """Do something in a forked child that is killed when it calls ``at``, an owner and an attribute of it."""
    child = os.fork()
    if not child:
        monkeypatch.setattr(*at, lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
        action()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def resumed(path, name):
    """The state that the study's trial resumes from."""
    trial = hpo.Tuner.load(path, name).ask()
    return trial.start_epoch, Path(trial.resume_from).read_text()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a fork")
@pytest.mark.parametrize("at", ["copytree", "rename", "rmtree"])
def test_rename_that_is_killed_leaves_one_whole_study(at, tmp_path, monkeypatch):
    path = tmp_path / "a.db"
    saved(path)
    owner = hpo.studies(path)["a"]._storage if at == "rename" else shutil
    study = hpo.studies(path)["a"]
    killed(lambda: study.rename("b"), (type(owner) if at == "rename" else owner, at), monkeypatch)
    (name,) = hpo.studies(path)
    assert resumed(path, name) == (1, "state")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a fork")
def test_rename_onto_what_a_killed_copy_has_left(tmp_path, monkeypatch):
    path = tmp_path / "a.db"
    saved(path)
    study = hpo.studies(path)["a"]
    killed(lambda: study.copy(path, name="b"), (type(study._storage), "copy"), monkeypatch)
    hpo.studies(path)["a"].rename("b")
    assert resumed(path, "b") == (1, "state")
    assert sorted(entry.name for entry in (tmp_path / "a.db.checkpoints").iterdir()) == ["b"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a fork")
def test_files_that_a_killed_deletion_has_left_are_nobodys(tmp_path, monkeypatch):
    path = tmp_path / "a.db"
    saved(path, "a", "state of a")
    saved(path, "b", "state of b")
    study = hpo.studies(path)["b"]
    killed(study.delete, (shutil, "rmtree"), monkeypatch)
    hpo.studies(path)["a"].rename("b")
    assert resumed(path, "b") == (1, "state of a")


def test_copy_while_a_worker_saves_can_resume(tmp_path, monkeypatch):
    path = tmp_path / "a.db"
    tuner = new_tuner(path, name="a")
    trial = tuner.ask()
    trial.report(1, {"loss": 1.0})
    trial.save(lambda place: place.write_text("1"))
    storage = type(hpo.studies(path)["a"]._storage)
    copy = storage.copy

    def save_between(*arguments):
        trial.report(2, {"loss": 1.0})
        trial.save(lambda place: place.write_text("2"))
        copy(*arguments)
        trial.report(3, {"loss": 1.0})
        trial.save(lambda place: place.write_text("3"))  # the file of epoch 2 is gone

    monkeypatch.setattr(storage, "copy", save_between)
    hpo.studies(path)["a"].copy(tmp_path / "c.db", force=True)
    assert resumed(tmp_path / "c.db", "a") == (1, "1")


# Temporary folders.

FORKS = """
import multiprocessing, hpo_plugins as hpo

def work(tuner, queue):
    numbers = []
    for trial in tuner:
        numbers.append(trial.number)
        trial.report(1, {"loss": trial["x"]})
    queue.put(numbers)

tuner = hpo.Tuner({"x": hpo.Continuous(0, 1)}, hpo.Minimize("loss"), max_trials=6, seed=0)
context = multiprocessing.get_context("fork")
queue = context.Queue()
children = [context.Process(target=work, args=(tuner, queue)) for _ in range(2)]
for child in children:
    child.start()
numbers = sum((queue.get() for _ in children), [])
print(sorted(numbers), len(tuner.trials))
"""


@pytest.mark.parametrize("folder", ["t" * 110, "missing"])
def test_forks_share_a_study_in_memory_wherever_temporary_files_are(folder, tmp_path):
    place = tmp_path / folder
    if folder != "missing":
        place.mkdir()
    environment = os.environ | {"TMPDIR": str(place)}
    ended = subprocess.run(
        [sys.executable, "-c", FORKS], env=environment, capture_output=True, text=True, check=False, timeout=600
    )
    assert (ended.stdout.strip(), ended.stderr) == ("[0, 1, 2, 3, 4, 5] 6", "")


def test_forked_child_says_that_it_cannot_reach_a_study_in_memory(monkeypatch):
    tuner = new_tuner(None)
    monkeypatch.setattr("hpo_plugins.storage.memory.serve", refuse)
    receive, send = multiprocessing.get_context("fork").Pipe(duplex=False)
    child = multiprocessing.get_context("fork").Process(target=lambda: send.send(error_of(tuner.ask)))
    child.start()
    assert "forked process cannot reach the study in its parent's memory: no place. Give the Tuner" in receive.recv()
    child.join()
    assert len(history_of(tuner)) == 0


def refuse(_):
    raise OSError("no place")


def error_of(call):
    try:
        return repr(call())
    except hpo.StorageError as error:
        return str(error)


KILLED = """
import os, pickle, signal, hpo_plugins as hpo
tuner = hpo.Tuner({"x": hpo.Continuous(0, 1)}, hpo.Minimize("loss"), max_trials=1, seed=0)
trial = tuner.ask()
pickle.dumps(trial)  # makes a socket
trial.report(1, {"loss": 1.0})
trial.save(lambda path: path.write_text("state"))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_temporary_folders_of_a_killed_process_are_removed_by_the_next(tmp_path):
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    alive = tmp_path / temporary.new_folder().name  # of this process
    alive.mkdir()
    subprocess.run([sys.executable, "-c", KILLED], env=environment, check=False)
    assert len(list(tmp_path.iterdir())) > 1
    ended = subprocess.run(
        [sys.executable, "-c", KILLED.replace("os.kill", "print")], env=environment, capture_output=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert list(tmp_path.iterdir()) == [alive]
