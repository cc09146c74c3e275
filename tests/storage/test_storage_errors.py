"""A storage that cannot serve says its path, what is wrong and the way out."""

import sqlite3
import subprocess
import sys
import textwrap
import threading
import time

import pytest
from support import store_of

import hpo_plugins as hpo
from hpo_plugins.storage import retry, sqlite


def open_at(storage):
    return hpo.Tuner({"x": hpo.Continuous(0, 1)}, hpo.Minimize("loss"), storage=storage, seed=0)


def test_directory(tmp_path):
    with pytest.raises(hpo.StorageError, match=f"{tmp_path} is a directory. Add a file name"):
        open_at(tmp_path)


def test_missing_directory(tmp_path):
    with pytest.raises(hpo.StorageError, match="the directory .*/no does not exist. Create it first"):
        open_at(tmp_path / "no" / "a.db")


def test_file_that_is_something_else(tmp_path):
    (tmp_path / "a.db").write_text("epoch,loss\n" * 200)
    with pytest.raises(
        hpo.StorageError, match="a.db could not be opened: file is not a database. The file is something else"
    ):
        open_at(tmp_path / "a.db")
    assert (tmp_path / "a.db").read_text().startswith("epoch,loss")


def test_newer_version(tmp_path):
    open_at(tmp_path / "a.db")
    with sqlite3.connect(tmp_path / "a.db") as connection:
        connection.execute("UPDATE hpo_meta SET value = '99'")
    connection.close()
    with pytest.raises(hpo.StorageError, match=r"newer version of hpo-plugins \(format 99; .* pip install -U"):
        open_at(tmp_path / "a.db")


def test_read_only_file(tmp_path):
    open_at(tmp_path / "a.db").ask()
    with pytest.raises(hpo.StorageError, match="readonly database. Make the file and its directory writable"):
        open_at(f"sqlite:///file:{tmp_path}/a.db?mode=ro&uri=true").ask()


def test_damaged_file(tmp_path):
    tuner = open_at(tmp_path / "a.db")
    for _ in range(50):
        tuner.ask()
    store_of(tuner)._database.close()
    data = bytearray((tmp_path / "a.db").read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    (tmp_path / "a.db").write_bytes(data)
    with pytest.raises(hpo.StorageError, match="malformed. The file is damaged"):
        hpo.Tuner.load(tmp_path / "a.db")


def test_locked_file(tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite, "LOCK_TIMEOUT", 0.01)
    monkeypatch.setattr(retry, "MAX_OUTAGE_SECONDS", 0.0)
    tuner = open_at(tmp_path / "a.db")
    other = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(hpo.StorageError, match="database is locked. Another program holds it"):
        tuner.ask()
    other.execute("ROLLBACK")
    other.close()
    assert tuner.ask().number == 0


@pytest.mark.parametrize("what", ["deleted", "replaced by another file"])
def test_file_that_vanishes_is_noticed_at_the_next_report(what, tmp_path, caplog):
    path = tmp_path / "a.db"
    tuner = open_at(path)
    trial = tuner.ask()
    trial.report(1, {"loss": 1.0})
    path.rename(tmp_path / "moved.db")
    if what != "deleted":
        open_at(path)
    assert not trial.report(2, {"loss": 0.5})  # the training goes on
    assert f"a.db was {what} while it was in use, and nothing is recorded any more. Put the file" in caplog.text
    with pytest.raises(hpo.StorageError, match=what):
        tuner.ask()
    assert path.exists() == (what != "deleted")  # no new file was made
    if what == "deleted":
        (tmp_path / "moved.db").replace(path)
        trial.report(3, {"loss": 0.4})
        assert list(tuner.trials[0].curve) == [1, 2, 3]


@pytest.mark.parametrize(
    ("url", "error", "message"),
    [
        ("", hpo.StorageError, "storage must be a path or a URL, but got an empty string"),
        ("sqlite://", hpo.StorageError, "Omit storage to keep the study in memory"),
        ("nodb://host/x", hpo.StorageError, "a database that SQLAlchemy knows, but got 'nodb'"),
        ("oracle+oracledb://host/x", hpo.MissingDependency, "oracle.* needs the package 'oracledb'"),
        ("://", hpo.StorageError, "storage must be a path or a URL like"),
    ],
)
def test_bad_urls(url, error, message):
    with pytest.raises(error, match=message):
        open_at(url)


@pytest.mark.skipif(sys.platform == "win32", reason="limits the size of files by setrlimit")
def test_full_disk_keeps_reports_and_lets_trainings_continue(tmp_path):
    """The kernel refuses to let the file grow: the same error path as a full disk."""
    script = """
    import resource, signal, sys
    import hpo_plugins as hpo
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    tuner = hpo.Tuner({"x": hpo.Continuous(0, 1)}, hpo.Minimize("loss"), storage=sys.argv[1], seed=0)
    trial = tuner.ask()
    resource.setrlimit(resource.RLIMIT_FSIZE, (120_000, resource.RLIM_INFINITY))
    answers = [trial.report(epoch, {"loss": 1 / epoch}) for epoch in range(1, 1201)]
    assert answers == [False] * 1200
    try:
        trial.end()
    except hpo.StorageError as error:
        print(error)
    """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), tmp_path / "a.db"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr[-500:]
    assert "what was recorded before is safe" in result.stdout
    assert "is not written yet" in result.stderr
    curve = hpo.Tuner.load(tmp_path / "a.db").trials[0].curve
    assert 10 < len(curve) < 1200
    assert list(curve) == list(range(1, len(curve) + 1))


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://user:hunter2@127.0.0.1:1/none",
        "postgresql+psycopg://user:hunter2/@127.0.0.1:1/none",
        "postgresql+psycopg://user@127.0.0.1:1/none?password=hunter2",
        "postgresql+psycopg://user@127.0.0.1:1/none?sslmode=disable&sslpassword=hunter2",
        "postgresql+psycopg//user:hunter2@127.0.0.1:1/none",
        "postgresql+psycopg:user:hunter2@127.0.0.1:1/none",
        "nodb://user:hunter2@127.0.0.1/none",
        "://user:hunter2@127.0.0.1/none",
        "sqlite://user:hunter2@127.0.0.1/none/a.db",
    ],
)
def test_password_is_nowhere(url, monkeypatch, caplog, tmp_path):
    pytest.importorskip("psycopg", reason="needs a driver to get as far as connecting")
    monkeypatch.setattr(retry, "MAX_OUTAGE_SECONDS", 0.001)
    monkeypatch.chdir(tmp_path)
    for use in (open_at, hpo.Tuner.load, hpo.studies):
        with pytest.raises(hpo.StorageError) as caught:
            use(url)
        shown = [str(caught.value), repr(caught.value), caplog.text]
        assert "hunter2" not in "".join(shown)


def test_many_that_make_one_new_file_at_once_are_all_let_in(tmp_path):
    """SQLite refuses all but one of them the write-ahead log, at once."""

    def make(path, start, opened):
        start.wait()
        opened.append(hpo.Tuner({"x": hpo.Continuous(0, 1)}, hpo.Minimize("loss"), storage=path, seed=0))

    for number in range(25):
        start, opened = threading.Barrier(6), []
        arguments = (tmp_path / f"{number}.db", start, opened)
        threads = [threading.Thread(target=make, args=arguments) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(opened) == 6


def test_outage_may_end_in_another_thread_at_any_time(monkeypatch):
    outage = retry.Outage("the storage")
    monkeypatch.setattr(retry.logger, "warning", lambda *_: outage.end())  # while wait() runs
    assert outage.wait(retry.Unreachable("away"), time.monotonic(), 5.0)
    assert outage.seconds == 0.0
