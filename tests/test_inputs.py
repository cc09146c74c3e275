"""Arguments of every wrong kind are refused by name when they are given; numbers and types of numpy are accepted."""

import json
import logging
import math
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import hpo_plugins as hpo
from hpo_plugins.sagemaker import request_from_tuner

LONE = "\ud800"  # half of a surrogate pair: no text that can be stored


def tuner(space=None, objective=None, **arguments):
    return hpo.Tuner(
        space or {"x": hpo.Continuous(0, 1)}, objective or hpo.Minimize("loss"), **{"seed": 0, **arguments}
    )


def reported(epoch, metrics, **arguments):
    trial = tuner(**arguments).ask()
    trial.report(epoch, metrics)
    return trial


REFUSED = {
    "epoch": lambda path: reported(2**63, {"loss": 1.0}, storage=path),
    "epoch ": lambda path: reported(3.0, {"loss": 1.0}),
    "notes": lambda path: tuner(notes={"a": {1, 2}}),
    "notes ": lambda path: tuner(notes={"a": math.nan}),
    "notes  ": lambda path: tuner(notes=[1]),
    "notes   ": lambda path: tuner(notes={"a": LONE}),
    "checkpoint_dir": lambda path: tuner(checkpoint_dir=1.0),
    "checkpoint_dir ": lambda path: tuner(checkpoint_dir=b"x"),
    "name": lambda path: tuner(name=LONE),
    "name ": lambda path: tuner(name="a\0"),
    "parameter's name": lambda path: tuner({LONE: hpo.Continuous(0, 1)}),
    "values": lambda path: hpo.Categorical([LONE]),
    "metrics": lambda path: reported(1, {"loss": 1.0, LONE: 2.0}),
    "storage": lambda path: tuner(storage=f"{path}\0"),
    "value": lambda path: hpo.TargetReached(10**400),
    "max_runtime": lambda path: tuner(max_runtime=10**400),
    "high": lambda path: hpo.Continuous(0, 10**400),
    "high ": lambda path: hpo.Integer(0, 10**400),
    "write": lambda path: reported(1, {"loss": 1.0}).save("not callable"),
    "suffix": lambda path: reported(1, {"loss": 1.0}).save(print, suffix="/../../x"),
    "n": lambda path: next(tuner().ask().folds(10**30)),
    "path": lambda path: tuner().to_html(5),
    "epoch  ": lambda path: reported("1", {"loss": 1.0}),
    "checkpoint_dir  ": lambda path: hpo.Tuner.load(tuner(storage=path) and path, checkpoint_dir=1),
    "checkpoint_dir   ": lambda path: tuner(checkpoint_dir="a" * 300),
    "name  ": lambda path: hpo.Tuner.load(tuner(storage=path) and path, 2**64),
    "storage ": lambda path: hpo.Tuner.load("a" * 300),
    "subject": lambda path: reported(1, {"loss": 1.0}).plugin.warn_once([], "message"),
    "suffix ": lambda path: reported(1, {"loss": 1.0}).save(print, suffix="a\0"),
    "points_to_evaluate": lambda path: tuner(points_to_evaluate=np.array(1)),
    "points_to_evaluate ": lambda path: tuner(points_to_evaluate=tuner().ask()),
    "values ": lambda path: hpo.Categorical(np.array(1)),
    "max_resource": lambda path: hpo.Hyperband(max_resource=10**400),
    "max_resource ": lambda path: hpo.Bayesian(max_resource=2**54),
    "tuner": lambda path: request_from_tuner("study", job_name="job"),
    "train": lambda path: hpo.simulate(tuner(), train=1),
    "report could not be written": lambda path: tuner().to_html(path / "no" / "folder.html"),
    "loss": lambda path: reported(1, {"loss": 10**400}),
}


@pytest.mark.parametrize("argument", REFUSED)
def test_bad_arguments_are_refused_by_name(argument, tmp_path):
    with pytest.raises(hpo.HpoError, match=argument.strip()):
        REFUSED[argument](tmp_path / "a.db")


ACCEPTED = {
    "epoch": lambda path: reported(np.int64(3), {"loss": np.float32(1)}, storage=path),
    "last epoch": lambda path: reported(2**53, {"loss": 1.0}, storage=path),
    "target": lambda path: tuner(stop_when=[hpo.TargetReached(np.float32(1))], storage=path),
    "delta": lambda path: tuner(stop_when=[hpo.NotImproving(np.int64(3), min_delta=np.float32(0.5))], storage=path),
    "limits": lambda path: tuner(
        max_trials=np.int64(9), max_runtime=np.float32(9), max_parallel=np.uint8(2), storage=path
    ),
    "seed": lambda path: tuner(seed=np.uint64(2**63), storage=path),
    "bounds": lambda path: tuner({"x": hpo.Continuous(np.float32(0), np.int64(1))}, storage=path),
    "integers": lambda path: tuner({"x": hpo.Integer(np.int8(0), np.uint8(3))}, storage=path),
    "categories": lambda path: tuner({"x": hpo.Categorical(np.array(["a", "b"]))}, storage=path),
    "resource": lambda path: tuner(strategy=hpo.Hyperband(max_resource=np.int64(9)), storage=path),
    "name": lambda path: tuner(name="Größe-调参-🙂", storage=path),
    "error": lambda path: tuner(storage=path).ask().fail(f"a{LONE}\0"),
    "number": lambda path: tuner(storage=path).ask().fail(5),
}


@pytest.mark.parametrize("argument", ACCEPTED)
def test_numbers_of_numpy_and_any_text_are_accepted_and_read_back(argument, tmp_path):
    ACCEPTED[argument](tmp_path / "a.db")
    loaded = hpo.Tuner.load(tmp_path / "a.db")
    assert len(repr(loaded.trials)) >= 2
    assert hpo.Tuner.load(tmp_path / "a.db").ask() is not None


def test_home_is_where_it_is_everywhere(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    trial = reported(1, {"loss": 1.0}, storage="~/a.db", checkpoint_dir="~/checkpoints")
    trial.save(lambda path: path.write_text("state"))
    loaded = hpo.Tuner.load("~/a.db", checkpoint_dir="~/checkpoints")
    loaded.to_html("~/report.html")
    assert list(hpo.studies("~/a.db")) == ["default"]
    assert {path.name for path in tmp_path.iterdir()} >= {"a.db", "checkpoints", "report.html"}


def changed(path, statement, *values):
    with sqlite3.connect(path) as connection:
        connection.execute(statement, values)
    connection.close()


DAMAGES = {
    "Object missing required field `metric` - at `\\$.objective`": lambda d: d["objective"].pop("metric"),
    "Expected `int . null`, got `str` - at `\\$.max_trials`": lambda d: d.update(max_trials="9"),
    "Object contains unknown field `other`": lambda d: d.update(other=1),
    "low must be .* high": lambda d: d["space"]["x"].update(low=5.0),
    "'Annealing' is not known": lambda d: d["strategy"].update(name="Annealing"),
    "Hyperband has no argument 'temperature'": lambda d: d["strategy"].update(temperature=1),
    "NotImproving needs the argument 'trials'": lambda d: d["stop_when"][0].pop("trials"),
}


@pytest.fixture
def study(tmp_path):
    strategy = hpo.Hyperband(max_resource=9, search="random")
    stored = tuner(strategy=strategy, stop_when=[hpo.NotImproving(9)], storage=tmp_path / "a.db")
    trial = stored.ask()
    trial.report(1, {"loss": 1.0})
    trial.end()
    return tmp_path / "a.db"


@pytest.mark.parametrize("message", DAMAGES)
def test_damaged_definition_is_refused_with_file_study_and_field(message, study):
    connection = sqlite3.connect(study)
    definition = json.loads(connection.execute("SELECT definition FROM hpo_studies").fetchone()[0])
    connection.close()
    DAMAGES[message](definition)
    changed(study, "UPDATE hpo_studies SET definition = ?", json.dumps(definition))
    with pytest.raises(hpo.StorageError, match=f"study 'default' in .*a.db cannot be used: .*{message}"):
        hpo.Tuner.load(study)


def test_study_that_is_older_than_an_argument_has_its_default(study):
    connection = sqlite3.connect(study)
    definition = json.loads(connection.execute("SELECT definition FROM hpo_studies").fetchone()[0])
    connection.close()
    del definition["strategy"]["cost"]
    changed(study, "UPDATE hpo_studies SET definition = ?", json.dumps(definition))
    same = {"stop_when": [hpo.NotImproving(9)], "storage": study}
    with pytest.raises(hpo.StudyMismatch, match="cost"):
        tuner(strategy=hpo.Hyperband(max_resource=9, search="random", cost="epochs"), **same)
    continued = tuner(strategy=hpo.Hyperband(max_resource=9, search="random"), **same)
    assert continued.study.strategy.cost == "auto"
    assert len(continued.trials) == 1


@pytest.mark.parametrize(
    ("table", "column", "value", "message"),
    [
        ("hpo_trials", "state", "asleep", "trial 0 cannot be used: Invalid enum value 'asleep'"),
        ("hpo_trials", "params", "[]", "trial 0 cannot be used: Expected `object`, got `array`"),
        ("hpo_trials", "params", '{"x": 2.0}', "configuration of trial 0 .*x must be between 0 and 1"),
        ("hpo_trials", "number", 7, "trial 7 is there, but trial 0 is not"),
        ("hpo_reports", "number", 7, "a report is of trial 7, which does not exist"),
        ("hpo_reports", "epoch", 2**62, "a report of trial 0, epoch 4611686018427387904"),
        ("hpo_reports", "metrics", '{"loss": "much"}', "a report of trial 0, epoch 1"),
        ("hpo_studies", "revision", "x", "its row cannot be used"),
        ("hpo_meta", "value", "x", "no version that can be read: 'x'"),
    ],
)
def test_damaged_row_is_refused_with_file_study_and_row(table, column, value, message, study):
    changed(study, f"UPDATE {table} SET {column} = ?", value)  # noqa: S608 - tables of ours
    with pytest.raises(hpo.StorageError, match=f"a.db.*{message}"):
        _ = hpo.Tuner.load(study).trials


def test_crafted_and_damaged_files_load_or_are_refused():
    """A few of the files that ``tests/stress/strangers.py`` makes; it exits with 1 after any other outcome."""
    script = Path(__file__).parent / "stress" / "strangers.py"
    ended = subprocess.run([sys.executable, script, "--files", "45"], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="has no modes")
def test_checkpoints_of_a_study_in_memory_are_private():
    trial = reported(1, {"loss": 1.0})
    assert trial.save(lambda path: path.write_text("state"))
    assert trial.checkpoint_dir.parent.parent.stat().st_mode & 0o777 == 0o700
    logging.getLogger("hpo_plugins").debug("%s", trial)
