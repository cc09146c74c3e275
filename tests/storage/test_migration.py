"""Databases of older formats, as the code of their time wrote them (``old/make.py``): read unchanged, and migrated."""

import importlib.util
import json
import os
import sqlite3
import subprocess
import sys
import tarfile
import threading
from hashlib import sha256
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner

import hpo_plugins as hpo
from hpo_plugins.cli.main import main
from hpo_plugins.storage import migration, open_storage, schema
from hpo_plugins.storage.engine import Database

OLD = Path(__file__).parent / "old"
FORMATS = [5, 6, 7]
OLDER = [5, 6]
_spec = importlib.util.spec_from_file_location("make_old", OLD / "make.py")
make = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(make)


def unpack(version, folder):
    """The path of a stored database, and what the version that wrote it read."""
    with tarfile.open(OLD / f"format-{version}.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder / "tuning.db", json.loads((folder / "expected.json").read_text())


def content(path):
    """Everything in a SQLite file, read by another program, as text."""
    connection = sqlite3.connect(path)
    try:
        return "\n".join(connection.iterdump())
    finally:
        connection.close()


def version_in(path):
    return int(sqlite3.connect(path).execute("SELECT value FROM hpo_meta").fetchone()[0])


def read(path, name):
    """A study's trials in the form of ``expected.json``."""
    return json.loads(json.dumps(make.record(path, name), default=dict).replace(f"{path.parent}/", ""))


def is_as_written(path, name, written):
    """Whether a study's trials have all that the version that wrote them knew."""
    return all(now.items() >= then.items() for now, then in zip(read(path, name), written, strict=True))


def write_to(path):
    hpo.Tuner.load(path, "finished").annotate(note="a write")


def start_of_stored_run(path):
    """Pretend that a process of the older version trains trial 2 now."""
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE hpo_trials SET lease_until = 4e9 WHERE state = 'running'")


@pytest.mark.parametrize("version", FORMATS)
def test_old_file_reads_as_it_was_written_and_stays_as_it_is(version, tmp_path):
    path, expected = unpack(version, tmp_path)
    before = sha256(path.read_bytes()).digest()
    assert list(hpo.studies(path)) == list(expected)
    for name, trials in expected.items():
        assert is_as_written(path, name, trials)
    for command in ("list", "show", "trials", "best", "doctor"):
        arguments = [command, str(path)] + ([] if command in ("list", "doctor") else ["--name", "finished"])
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 0, result.output
    assert sha256(path.read_bytes()).digest() == before
    assert not list(tmp_path.glob("*.bak*"))


@pytest.mark.parametrize("version", FORMATS)
def test_migration_keeps_every_trial(version, tmp_path):
    path, expected = unpack(version, tmp_path)
    write_to(path)
    assert version_in(path) == schema.SCHEMA_VERSION
    for name, trials in expected.items():
        assert is_as_written(path, name, trials)


@pytest.mark.parametrize("version", FORMATS)
def test_every_old_study_continues_to_its_end(version, tmp_path):
    path, expected = unpack(version, tmp_path)
    for name, before in expected.items():
        make.search(path, name, 99)
        trials = hpo.Tuner.load(path, name).trials
        assert [trial.number for trial in trials] == list(range(8))
        assert all(trial.state in (*make_final(), hpo.TrialState.PAUSED) for trial in trials)
        ended = [old for old in before if old["state"] in ("completed", "stopped", "failed")]
        assert [read(path, name)[old["number"]]["metrics"] for old in ended] == [old["metrics"] for old in ended]


def make_final():
    return [state for state in hpo.TrialState if state.is_final]


@pytest.mark.parametrize("version", OLDER)
def test_paused_and_killed_trials_resume_from_their_old_checkpoints(version, tmp_path):
    path, expected = unpack(version, tmp_path)
    tuner = hpo.Tuner(storage=path, name="killed", progress="off", **make.searches()["killed"])
    trial = tuner.ask()
    assert (trial.number, trial.start_epoch) == (2, 3)
    assert Path(trial.resume_from).read_text() == "3"
    make.search(path, "paused", 99)
    resumed = [trial for trial in hpo.Tuner.load(path, "paused").trials if trial.attempts > 1]
    assert {trial.number for trial in resumed} >= {4}
    assert read(path, "paused")[4]["metrics"].items() >= expected["paused"][4]["metrics"].items()


@pytest.mark.parametrize("version", OLDER)
def test_copy_is_what_the_file_was_and_none_is_overwritten(version, tmp_path):
    path, _ = unpack(version, tmp_path)
    before = content(path)
    earlier = tmp_path / f"tuning.db.bak-{version}"
    earlier.write_text("of last year")
    write_to(path)
    assert earlier.read_text() == "of last year"
    assert content(tmp_path / f"tuning.db.bak-{version}-2") == before
    assert version_in(path) == schema.SCHEMA_VERSION
    write_to(path)
    assert len(list(tmp_path.glob("tuning.db.bak*"))) == 2


def test_log_says_what_was_done_and_where_the_copy_is(tmp_path, caplog):
    path, _ = unpack(6, tmp_path)
    write_to(path)
    assert f"{path} was migrated from format 6 to 7. The file before it is {path}.bak-6." in caplog.text


def test_current_file_is_neither_copied_nor_changed_in_form(tmp_path):
    path, _ = unpack(7, tmp_path)
    write_to(path)
    assert not list(tmp_path.glob("*.bak*"))


KILLED = """
import os, signal, sys
from hpo_plugins.storage import migration
import hpo_plugins as hpo

def kill(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def after(name):
    function = getattr(migration, name)
    setattr(migration, name, lambda *given: (function(*given), kill()))

if sys.argv[2] == "copying":  # the copy is there under its first name, and not yet under its own
    migration.Path.replace = kill
else:
    after(sys.argv[2])
hpo.Tuner.load(sys.argv[1], "finished").annotate(note="a write")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
@pytest.mark.process
@pytest.mark.parametrize("moment", ["copying", "_copy", "_change", "migrate", "report"])
def test_kill_leaves_the_old_file_or_the_new_one(moment, tmp_path):
    path, expected = unpack(6, tmp_path)
    before = content(path)
    killed = subprocess.run([sys.executable, "-c", KILLED, path, moment], check=False, capture_output=True)
    assert killed.returncode == -9, killed.stderr
    if moment == "report":  # it was committed
        assert version_in(path) == schema.SCHEMA_VERSION
    else:
        assert content(path) == before
    write_to(path)  # the next process finishes
    assert version_in(path) == schema.SCHEMA_VERSION
    assert is_as_written(path, "paused", expected["paused"])
    assert content(tmp_path / "tuning.db.bak-6") == before
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.process
def test_of_processes_that_open_a_file_together_one_migrates(tmp_path):
    path, _ = unpack(6, tmp_path)
    script = """
import sys, hpo_plugins as hpo
study = hpo.Tuner.load(sys.argv[1], "finished")
print("ready", flush=True)
sys.stdin.readline()
study.annotate(note="a write")
"""
    command = [sys.executable, "-c", script, path]
    together = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, **together) for _ in range(2)]
    for process in processes:
        process.stdout.readline()
    for process in processes:
        process.stdin.close()
    for process in processes:
        process.stdout.close()
    assert [process.wait() for process in processes] == [0] * 2
    assert [file.name for file in tmp_path.glob("*.bak*")] == ["tuning.db.bak-6"]
    assert len(hpo.Tuner.load(path, "finished").actions) == 2


def test_second_process_waits_for_the_first(tmp_path, monkeypatch):
    path, _ = unpack(6, tmp_path)
    is_copied, may_go_on = threading.Event(), threading.Event()
    change = migration._change

    def slowly(connection):
        is_copied.set()
        may_go_on.wait()
        change(connection)

    monkeypatch.setattr(migration, "_change", slowly)
    first = threading.Thread(target=write_to, args=(path,))
    first.start()
    is_copied.wait()
    impatient = Database(path)
    with pytest.raises(hpo.StorageError, match="locked"):
        impatient.write(lambda connection: None, patience=0.0)
    assert read(path, "paused")  # readers do not wait
    second = threading.Thread(target=write_to, args=(path,))
    second.start()
    may_go_on.set()
    first.join()
    second.join()
    assert len(list(tmp_path.glob("*.bak*"))) == 1
    assert len(hpo.Tuner.load(path, "finished").actions) == 2


def test_reader_that_was_there_before_the_migration_reads_on(tmp_path):
    path, expected = unpack(6, tmp_path)
    reader = hpo.Tuner.load(path, "paused")
    assert len(reader.trials) == len(expected["paused"])
    write_to(path)
    make.search(path, "paused", 99)
    assert len(reader.trials) == 8
    assert any("rung" in (trial.stop_reason or "") for trial in reader.trials)


def test_living_process_of_the_older_version_is_not_cut_off(tmp_path):
    path, _ = unpack(6, tmp_path)
    start_of_stored_run(path)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE hpo_trials SET worker = 'another-machine/1/2-3' WHERE state = 'running'")
    with pytest.raises(hpo.StorageError, match=r"older version of hpo-plugins trains trial 2 .*another-machine.*End"):
        write_to(path)
    assert version_in(path) == 6
    assert not list(tmp_path.glob("*.bak*"))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere a dead process cannot be told")
def test_dead_process_of_this_machine_is_not_waited_for(tmp_path):
    from hpo_plugins.storage.processes import name_of

    path, _ = unpack(6, tmp_path)
    start_of_stored_run(path)
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    name = name_of(os.getpid()).replace(f"/{os.getpid()}/", f"/{int(ended.stdout)}/")
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE hpo_trials SET worker = ? WHERE state = 'running'", [f"{name}-0"])
    write_to(path)
    assert version_in(path) == schema.SCHEMA_VERSION


def test_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    path, _ = unpack(6, tmp_path)
    before = content(path)

    def full(*_):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(migration, "_copy", full)
    with pytest.raises(hpo.StorageError, match="Free space on the disk"):
        write_to(path)
    assert content(path) == before


@pytest.mark.parametrize("version", OLDER)
def test_study_of_an_old_file_is_copied_without_changing_the_file(version, tmp_path):
    path, expected = unpack(version, tmp_path)
    before = content(path)
    hpo.studies(path)["paused"].copy(tmp_path / "new.db")
    assert content(path) == before
    assert version_in(tmp_path / "new.db") == schema.SCHEMA_VERSION
    found = read(tmp_path / "new.db", "paused")
    assert [trial["metrics"] for trial in found] == [trial["metrics"] for trial in expected["paused"]]
    assert [trial["stop_reason"] for trial in found] == [trial["stop_reason"] for trial in expected["paused"]]


@pytest.mark.parametrize("version", OLDER)
def test_migrate_says_what_it_would_do_and_does_it(version, tmp_path):
    path, _ = unpack(version, tmp_path)
    before = content(path)
    plan = CliRunner().invoke(main, ["migrate", "--dry-run", str(path)])
    assert plan.exit_code == 0, plan.output
    assert f"has format {version}" in plan.output
    assert f"format 6 to 7: {migration.STEPS[6]}" in plan.output
    assert f"{path}.bak-{version}" in plan.output
    assert content(path) == before
    done = CliRunner().invoke(main, ["migrate", str(path)])
    assert done.exit_code == 0, done.output
    assert version_in(path) == schema.SCHEMA_VERSION
    again = CliRunner().invoke(main, ["migrate", str(path)])
    assert again.output == f"{path} has format 7, the current one: there is nothing to do.\n"


@pytest.mark.parametrize(
    ("version", "message"), [(4, "older version .*format 4.*Finish its studies"), (99, "newer version.*Upgrade")]
)
@pytest.mark.parametrize("command", [["migrate"], ["migrate", "--dry-run"], ["list"]], ids=" ".join)
def test_other_formats_are_refused(command, version, message, tmp_path):
    path, _ = unpack(6, tmp_path)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE hpo_meta SET value = ?", [str(version)])
    result = CliRunner().invoke(main, [*command, str(path)])
    assert result.exit_code == 1
    with pytest.raises(hpo.StorageError, match=message):
        hpo.studies(path)


def test_pickled_database_knows_its_format(tmp_path):
    import pickle

    path, expected = unpack(5, tmp_path)
    store = pickle.loads(pickle.dumps(open_storage(path).open("paused", None)))
    assert len(store.changes(0).trials) == len(expected["paused"])
    store.log("note", None, {})
    assert version_in(path) == schema.SCHEMA_VERSION


def moved_to(url, path):
    """Write the tables of a SQLite file, as they are, to a server."""
    source, target, tables = sa.create_engine(f"sqlite:///{path}"), sa.create_engine(url), sa.MetaData()
    tables.reflect(source)
    tables.create_all(target)
    with source.connect() as reading, target.begin() as writing:
        for table in tables.sorted_tables:
            if rows := [dict(row._mapping) for row in reading.execute(sa.select(table))]:
                writing.execute(table.insert(), rows)
    source.dispose()
    target.dispose()


def columns_of(url):
    engine = sa.create_engine(url)
    try:
        return {column["name"] for column in sa.inspect(engine).get_columns("hpo_trials")}
    finally:
        engine.dispose()


@pytest.mark.parametrize("version", OLDER)
def test_postgresql_is_read_unchanged_and_migrated_in_one_transaction(version, postgres_url, tmp_path, monkeypatch):
    pytest.importorskip("psycopg")
    path, expected = unpack(version, tmp_path)
    moved_to(postgres_url, path)
    monkeypatch.chdir(tmp_path)
    for name in ("finished", "paused", "killed"):
        found = hpo.Tuner.load(postgres_url, name).trials
        assert [trial.stop_reason for trial in found] == [trial["stop_reason"] for trial in expected[name]]
        assert [trial.value for trial in found] == [trial["value"] for trial in expected[name]]
    assert "stop_reason" in columns_of(postgres_url)
    plan = CliRunner().invoke(main, ["migrate", "--dry-run", postgres_url])
    assert "make a backup of the database first" in plan.output, plan.output

    def fail(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(schema, "create_tables", fail)  # after the columns were changed
        with pytest.raises(KeyboardInterrupt):
            hpo.Tuner.load(postgres_url, "finished").annotate(note="a write")
    assert "stop_reason" in columns_of(postgres_url)
    reader = hpo.Tuner.load(postgres_url, "finished")
    before = reader.trials
    writers = [
        threading.Thread(target=lambda: hpo.Tuner.load(postgres_url, "finished").annotate(note="a write"))
        for _ in range(3)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert {"rule", "detail"} <= columns_of(postgres_url)
    assert reader.trials == before
    assert len(reader.actions) == 3
