"""What differs on Windows and macOS, simulated as far as that can be done here."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

import hpo_plugins as hpo
from hpo_plugins.storage import checkpoints, places
from hpo_plugins.storage.checkpoints import folder_name
from hpo_plugins.storage.engine import url_of

WITHOUT_POSIX = """
import os, select, signal, socket, sys
for module, names in {
    os: ("fork", "forkpty", "register_at_fork", "getuid", "geteuid", "sched_getaffinity"),
    signal: ("SIGHUP", "pthread_sigmask", "SIG_BLOCK", "SIG_SETMASK"),
    socket: ("AF_UNIX",),
}.items():
    for name in names:
        if hasattr(module, name):
            delattr(module, name)

import pickle
import hpo_plugins as hpo
from hpo_plugins.storage.proxy import connect, serve

def train(trial):
    for epoch in range(trial.start_epoch + 1, 4):
        must_stop = trial.report(epoch, {"loss": trial["x"] / epoch})
        trial.save(lambda path: path.write_text("x"))
        if must_stop:
            break

space = {"x": hpo.Continuous(0, 1)}
for storage in (None, sys.argv[1]):
    strategy = hpo.Hyperband(max_resource=3, pause=True)
    tuner = hpo.Tuner(space, hpo.Minimize("loss"), strategy=strategy, max_trials=4, storage=storage, seed=0)
    for trial in tuner:
        train(trial)
    print(len(tuner.trials), tuner.best_trial.value > 0)
assert isinstance(serve([]).socket, tuple)  # a port instead of a path
"""


@pytest.mark.process
def test_searches_run_without_forks_hangups_users_and_unix_sockets(tmp_path):
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", WITHOUT_POSIX, tmp_path / "a.db"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.stdout, ended.returncode) == ("4 True\n4 True\n", 0), ended.stderr


@pytest.mark.process
def test_search_runs_where_sigterm_cannot_be_handled(tmp_path):
    """As in an embedded interpreter, or in a thread that is not the main one."""
    script = """
import signal, sys, threading
import hpo_plugins as hpo

def search():
    tuner = hpo.Tuner({"x": hpo.Continuous(0, 1)}, hpo.Minimize("loss"), max_trials=2, storage=sys.argv[1], seed=0)
    for trial in tuner:
        trial.report(1, {"loss": trial["x"]})
    print(len(tuner.trials))

thread = threading.Thread(target=search)
thread.start()
thread.join()
assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
"""
    command = [sys.executable, "-c", script, tmp_path / "a.db"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.stdout, ended.returncode) == ("2\n", 0), ended.stderr


@pytest.mark.parametrize("path", [r"C:\data\tuning.db", "C:/data/tuning.db", "C://data/tuning.db", "tuning.db", "a:b"])
def test_drive_letter_is_no_scheme(path):
    assert not places.is_url(path)


@pytest.mark.parametrize("url", ["sqlite:///a.db", "postgresql+psycopg://host/db", "http://host:7777", "s3://bucket"])
def test_schemes_are_told_from_drive_letters(url):
    assert places.is_url(url)


def test_url_of_sqlite_may_hold_a_drive_letter(monkeypatch):
    monkeypatch.setattr(os.path, "realpath", lambda path: path)  # Windows' own function leaves such a path alone
    for path in (r"C:\data\tuning.db", "C:/data/tuning.db"):
        assert url_of(f"sqlite:///{path}").database == path
        assert url_of(path).database == path
        assert url_of(url_of(path).render_as_string()).database == path


@pytest.mark.parametrize(
    ("one", "other"), [("Churn", "churn"), ("A/B", "a/b"), ("end", "end."), ("con", "Con"), ("ÄRGER", "ärger")]
)
def test_studies_whose_names_differ_in_case_have_folders_of_their_own(one, other, monkeypatch):
    monkeypatch.setattr(checkpoints, "_IGNORES_CASE", True)
    assert folder_name(one).casefold().rstrip(".") != folder_name(other).casefold().rstrip(".")


@pytest.mark.parametrize("name", ["con", "NUL", "aux.txt", "com1", "ends."])
def test_folder_has_no_name_that_windows_refuses(name, monkeypatch):
    monkeypatch.setattr(checkpoints, "_IGNORES_CASE", True)
    found = folder_name(name)
    assert found[0] == "_" or not checkpoints._DEVICE.match(found)
    assert not found.endswith(".")


def test_names_in_urls_are_the_same_on_every_system(monkeypatch):
    names = ["Churn", "con", "plain", "ends."]
    here = [folder_name(name, is_local=False) for name in names]
    monkeypatch.setattr(checkpoints, "_IGNORES_CASE", True)
    assert [folder_name(name, is_local=False) for name in names] == here


@pytest.mark.parametrize("times", [1, 3])
def test_checkpoint_that_another_program_holds_open_is_written(times, tmp_path, monkeypatch):
    """A virus scanner opens new files of Windows for a moment."""
    refusals, rename = [], Path.replace

    def refuse(path, target):
        if len(refusals) < times:
            refusals.append(path)
            raise PermissionError(errno.EACCES, "The process cannot access the file", str(path))
        return rename(path, target)

    monkeypatch.setattr(Path, "replace", refuse)
    monkeypatch.setattr(places, "_PAUSES", (0.0, 0.0, 0.0))
    found = checkpoints.Checkpoints(tmp_path).write(0, 1, 3, lambda path: path.write_text("weights"), "")
    assert (tmp_path / found).read_text() == "weights"
    assert len(refusals) == times


def test_file_that_stays_held_is_an_error_and_leaves_nothing(tmp_path, monkeypatch):
    def refuse(path, target):
        raise PermissionError(errno.EACCES, "The process cannot access the file", str(path))

    monkeypatch.setattr(Path, "replace", refuse)
    monkeypatch.setattr(places, "_PAUSES", (0.0,))
    with pytest.raises(PermissionError, match="cannot access"):
        checkpoints.Checkpoints(tmp_path).write(0, 1, 3, lambda path: path.write_text("weights"), "")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_study_is_renamed_where_files_cannot_have_two_names(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    path = tmp_path / "a.db"
    tuner = hpo.Tuner({"x": hpo.Continuous(0, 1)}, hpo.Minimize("loss"), max_trials=2, storage=path, checkpoints="keep")
    for trial in tuner:
        trial.report(1, {"loss": trial["x"]})
    folder = Path(f"{path}.checkpoints/default/trial-00000")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "epoch-000001.1").write_text("weights")
    monkeypatch.setattr(os, "link", refuse)
    hpo.studies(path)["default"].rename("new")
    assert [study.name for study in hpo.studies(path).values()] == ["new"]
    assert Path(f"{path}.checkpoints/new/trial-00000/epoch-000001.1").read_text() == "weights"
    assert not Path(f"{path}.checkpoints/default").exists()


def test_link_to_a_missing_file_stays_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="gone"):
        places.link_or_copy(str(tmp_path / "gone"), str(tmp_path / "new"))
