"""The command line, on a stored study and on what is none."""

import ast
import csv
import io
import json
import re
import sqlite3
import subprocess
import sys

import pytest
from click.testing import CliRunner

import hpo_plugins as hpo
from hpo_plugins.cli.main import main
from hpo_plugins.view.plots import KINDS

from .conftest import searched


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    path = tmp_path_factory.mktemp("cli") / "tuning.db"
    searched(path, name="one", trials=12)
    hpo.Tuner({"x": hpo.Continuous(0, 1)}, hpo.Minimize("loss"), storage=path, name="two")
    return str(path)


def run(*arguments, code=0):
    ended = CliRunner().invoke(main, arguments)
    assert ended.exit_code == code, ended.output
    return ended.output


def test_list_names_all_studies(stored):
    lines = run("list", stored).splitlines()
    assert [line.split()[:2] for line in lines] == [["study", "trials"], ["one", "12/12"], ["two", "0"]]
    assert list(hpo.studies(stored)) == ["one", "two"]


def test_show_is_the_summary_and_advice(stored):
    output = run("show", stored, "--name", "one")
    assert "Study 'one' is complete" in output
    assert "is second with" in output


def test_best_can_be_read_by_programs(stored):
    best = hpo.Tuner.load(stored, "one").best_trial
    assert json.loads(run("best", stored, "-n", "one", "--format", "json")) == best.params
    assert ast.literal_eval(run("best", stored, "-n", "one", "--format", "python")) == best.params
    assert f"trial {best.number}:" in run("best", stored, "-n", "one")


def test_trials_are_listed_and_chosen(stored):
    assert len(run("trials", stored, "-n", "one").splitlines()) == 13
    top = run("trials", stored, "-n", "one", "--top", "3").splitlines()
    assert int(top[1].split()[0]) == hpo.Tuner.load(stored, "one").best_trial.number
    assert all(
        " stopped " in line for line in run("trials", stored, "-n", "one", "--state", "stopped").splitlines()[1:]
    )
    assert run("trials", stored, "-n", "two") == "No trials.\n"


def test_simulate_prints_a_table_and_draws(stored, tmp_path):
    arguments = ["--max-trials", "4", "--repeats", "1", "--workers", "1", "--workers", "2"]
    output = run("simulate", stored, "-n", "one", *arguments, "-o", str(tmp_path / "a.png"))
    assert "Random()" in output
    assert (tmp_path / "a.png").stat().st_size > 10_000
    assert "at least two trials" in run("simulate", stored, "-n", "two", code=1)


def test_exports_are_tables(stored, tmp_path):
    rows = list(csv.DictReader(io.StringIO(run("export", stored, "-n", "one"))))
    trials = hpo.Tuner.load(stored, "one").trials
    assert [float(row["value"]) for row in rows] == [t.value for t in trials]
    curves = json.loads(run("export", stored, "-n", "one", "--format", "json", "--curves"))
    assert len(curves) == sum(t.epochs for t in trials)
    request = json.loads(run("export", stored, "-n", "one", "--format", "sagemaker"))
    assert request["HyperParameterTuningJobConfig"]["Strategy"] == "Hyperband"
    assert "needs --output" in run("export", stored, "-n", "one", "--format", "parquet", code=2)
    run("export", stored, "-n", "one", "-o", str(tmp_path / "trials.csv"))
    assert (tmp_path / "trials.csv").read_text().count("\n") == 13
    run("export", stored, "-n", "one", "-o", str(tmp_path / "trials.json"))
    assert len(json.loads((tmp_path / "trials.json").read_text())) == 12


@pytest.mark.parametrize("kind", KINDS)
def test_every_figure_can_be_drawn(kind, stored, tmp_path):
    run("plot", kind, stored, "-n", "one", "-o", str(tmp_path / "figure.pdf"))
    assert (tmp_path / "figure.pdf").read_bytes().startswith(b"%PDF")


def test_figure_for_browsers_is_written(stored, tmp_path):
    run("plot", "curves", stored, "-n", "one", "-o", str(tmp_path / "curves.html"))
    assert "plotly" in (tmp_path / "curves.html").read_text()


def test_report_is_written(stored, tmp_path):
    assert "Wrote" in run("report", stored, "-n", "one", "-o", str(tmp_path / "r.html"))
    assert (tmp_path / "r.html").read_text().startswith("<!doctype html>")


def test_watch_ends_with_the_search(stored):
    assert "one: 12 of 12 trials" in run("watch", stored, "-n", "one")


def test_doctor_tells_versions_and_what_waits(stored):
    output = run("doctor", stored)
    assert f"hpo-plugins {hpo.__version__}" in output
    assert "one: 12 trials, 0 are being trained" in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("show", "none.db"), "Error: No storage at none.db: there is no such file"),
        (("show", "{stored}"), "Error: name must say which study to load"),
        (("show", "{stored}", "-n", "tow"), "Error: No study 'tow'"),
        (("best", "{stored}", "-n", "two"), "Error: No trial of study 'two' has a value"),
        (("plot", "history", "{stored}", "-n", "one", "-o", "figure.xyz"), "must be a .png, .pdf, .svg or .html file"),
    ],
)
def test_mistakes_are_one_sentence(arguments, message, stored, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    output = run(*(each.format(stored=stored) for each in arguments), code=1)
    assert message in output
    assert "Traceback" not in output
    assert list(tmp_path.iterdir()) == []


def test_damaged_file_is_one_sentence(tmp_path):
    (tmp_path / "a.db").write_text("something else, and long enough to be taken for a database" * 20)
    assert "The file is something else" in run("list", str(tmp_path / "a.db"), code=1)


def test_damaged_study_can_be_deleted_by_force(stored, tmp_path):
    run("copy", stored, str(tmp_path / "b.db"), "-n", "one")
    connection = sqlite3.connect(tmp_path / "b.db")
    connection.execute("update hpo_studies set definition = '{'")
    connection.commit()
    connection.close()
    assert re.search(r"one +damaged", listed := run("list", str(tmp_path / "b.db")))
    assert "its definition cannot be used" in listed
    assert "its definition cannot be used" in run("doctor", str(tmp_path / "b.db"))
    assert "its definition cannot be used" in run("delete", str(tmp_path / "b.db"), "-n", "one", "-y", code=1)
    assert "Deleted 'one'" in run("delete", str(tmp_path / "b.db"), "-n", "one", "-y", "--force")


def test_copy_is_the_same_study(stored, tmp_path):
    run("copy", stored, str(tmp_path / "b.db"), "-n", "one")
    assert hpo.Tuner.load(tmp_path / "b.db").trials == hpo.Tuner.load(stored, "one").trials
    assert "has a study 'one' already" in run("copy", stored, str(tmp_path / "b.db"), "-n", "one", code=1)
    run("copy", str(tmp_path / "b.db"), str(tmp_path / "b.db"), "--as", "two")
    assert list(hpo.studies(tmp_path / "b.db")) == ["one", "two"]


def test_rename_is_the_same_study(stored, tmp_path):
    path = str(tmp_path / "b.db")
    run("copy", stored, path, "-n", "one")
    run("rename", path, "one", "another")
    assert hpo.Tuner.load(path, "another").trials == hpo.Tuner.load(stored, "one").trials
    assert "No study 'one'" in run("rename", path, "one", "two", code=1)


def test_delete_asks_and_spares_what_is_trained(stored, tmp_path):
    path = str(tmp_path / "b.db")
    run("copy", stored, path, "-n", "one")
    assert list(hpo.studies(path)) == ["one"]
    assert "Aborted" in CliRunner().invoke(main, ["delete", path, "-n", "one"], input="n\n").output
    run("delete", path, "-n", "one", "--yes")
    assert len(hpo.studies(path)) == 0
    tuner = hpo.Tuner({"x": hpo.Continuous(0, 1)}, hpo.Minimize("loss"), storage=path, name="running")
    trial = tuner.ask()
    assert "must not be deleted while workers train its trials 0" in run(
        "delete", path, "-n", "running", "--yes", code=1
    )
    run("delete", path, "-n", "running", "--yes", "--force")
    with pytest.raises(hpo.StudyNotFound, match="The study was deleted from"):
        tuner.trials  # noqa: B018 - it reads the storage
    assert not trial.report(1, {"loss": 1.0})  # a training of hours does not end for this


def test_every_command_has_an_example():
    for name in main.commands:
        assert f"Example: hpo-plugins {name}" in run(name, "--help")


def test_command_is_installed(stored):
    command = [sys.executable, "-m", "hpo_plugins.cli.main", "list", stored]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "one" in ended.stdout


def test_goals_are_shown_and_weights_choose(tmp_path):
    path = str(tmp_path / "goals.db")
    tuner = hpo.Tuner(
        {"x": hpo.Continuous(0, 1)},
        [hpo.Minimize("loss"), hpo.Minimize("ms, mean=")],
        max_trials=6,
        seed=0,
        storage=path,
    )
    for trial in tuner:
        trial.report(1, {"loss": trial["x"], "ms, mean=": 1 - trial["x"]})
    shown = CliRunner().invoke(main, ["show", path]).output
    assert "Pareto front: 6 of 6 trials; the knee is marked." in shown
    first = CliRunner().invoke(main, ["best", path, "--weights", "loss=1,ms, mean==0", "--format", "json"])
    assert json.loads(first.output) == min((t.params for t in tuner.trials), key=lambda params: params["x"])
    assert f"trial {tuner.best().number}:" in CliRunner().invoke(main, ["best", path]).output
    assert "ms, mean=" in CliRunner().invoke(main, ["trials", path, "--top", "3"]).output
    for bad, message in (("loss", "METRIC=NUMBER"), ("loss=x", "METRIC=NUMBER"), ("size=1", "weights must be a dict")):
        found = CliRunner().invoke(main, ["best", path, "--weights", bad])
        assert found.exit_code != 0
        assert message in found.output
