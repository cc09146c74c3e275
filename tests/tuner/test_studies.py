"""Studies as objects: ``hpo.studies(storage)``, copying, renaming and deleting."""

import sqlite3
from pathlib import Path

import pytest
from support import release

import hpo_plugins as hpo
from hpo_plugins.storage import open_storage

SPACE = {"x": hpo.Continuous(0, 1), "kind": hpo.Categorical(["<b>", True, 1, None])}
PAUSING = hpo.Hyperband(max_resource=4, reduction_factor=2, pause=True, search="random")


def tuner_of(storage, name="first", **arguments):
    given = {"strategy": PAUSING, "max_trials": 6, "seed": 0, "progress": "off"}
    return hpo.Tuner(SPACE, hpo.Minimize("loss"), storage=storage, name=name, **(given | arguments))


def train(trial, until=4):
    if trial.resume_from is not None:
        assert Path(trial.resume_from).read_text() == f"{trial.number} {trial.start_epoch}"
    for epoch in range(trial.start_epoch + 1, until + 1):
        stop = trial.report(epoch, {"loss": trial["x"] + 1 / epoch, "odd": float("nan")})
        if trial.save_is_due:
            trial.save(lambda path, text=f"{trial.number} {epoch}": path.write_text(text))
        if stop:
            break


def half_done(storage):
    """A study with paused trials, of which nobody trains one."""
    tuner = tuner_of(storage, points_to_evaluate=[{"x": 0.5}])
    tuner.enqueue({"x": 0.25})
    for _ in range(4):
        train(trial := tuner.ask())
        trial.end()
    return tuner


def place(kind, tmp_path, request):
    return tmp_path / "a.db" if kind == "sqlite" else request.getfixturevalue("postgres_url")


def test_studies_have_names_and_states(tmp_path):
    started = len(half_done(tmp_path / "a.db").trials)
    tuner_of(tmp_path / "a.db", "<second>")
    found = hpo.studies(tmp_path / "a.db")
    assert list(found) == ["first", "<second>"]
    assert "first" in found
    assert found["first"].n_trials == started
    assert sum(found["first"].counts.values()) == started
    assert found["first"].counts["paused"] >= 1
    assert found["<second>"].counts == {}
    assert found["first"].running == ()
    assert found["first"].load().name == "first"
    assert f"Study('first': {started} trials: " in repr(found)
    html = found._repr_html_()
    assert "&lt;second&gt;" in html
    assert "<second>" not in html


@pytest.mark.parametrize("way", ["sqlite to sqlite", "sqlite to postgresql", "postgresql to sqlite"])
def test_copy_loses_nothing_and_goes_on(way, tmp_path, request, monkeypatch):
    monkeypatch.chdir(tmp_path)  # checkpoints of a server's studies
    source, target = way.split(" to ")
    start = place(source, tmp_path, request)
    original = half_done(start)
    end = tmp_path / "b.db" if target == "sqlite" else place(target, tmp_path, request)
    copied = hpo.studies(start)["first"].copy(end, name="copy")
    assert copied.counts == hpo.studies(start)["first"].counts
    before = original.trials
    again = tuner_of(end, "copy", points_to_evaluate=[{"x": 0.5}])
    for ours, theirs in zip(before, again.trials, strict=True):
        assert (ours.params, ours.curve, ours.state, ours.point) == (
            theirs.params,
            theirs.curve,
            theirs.state,
            theirs.point,
        )
        assert repr(ours.metrics) == repr(theirs.metrics)
    again.run(train)
    assert len(again.trials) == 6
    assert max(trial.epochs for trial in again.trials) == 4
    assert [trial.point for trial in again.trials][:2] == [0, 1]
    assert original.trials == before
    original.run(train)  # the original goes on, too, from its own checkpoints
    assert [trial.curve for trial in original.trials] == [trial.curve for trial in again.trials]


def test_copy_into_another_space_has_what_fits_and_goes_on(tmp_path, caplog):
    space = {"x": hpo.Continuous(0, 1), "k": hpo.Categorical(["a", "b"])}
    arguments = {"strategy": hpo.Hyperband(max_resource=4), "max_trials": 8, "seed": 3, "progress": "off"}
    tuner = hpo.Tuner(space, hpo.Minimize("loss"), storage=tmp_path / "a.db", name="a", **arguments)
    for trial in tuner:
        for epoch in range(1, 5):
            if trial.report(epoch, {"loss": trial["x"] + 1 / epoch, "more": epoch}):
                break
    new = {"x": hpo.Continuous(0.25, 4), "k": hpo.Categorical(["a", "b", "c"])}
    fits = [record for record in tuner.trials if record.params["x"] >= 0.25]
    assert 0 < len(fits) < 8
    copied = hpo.studies(tmp_path / "a.db")["a"].copy(tmp_path / "b.db", space=new).load()
    for ours, theirs in zip(copied.trials, fits, strict=True):
        assert (ours.params, ours.curve, ours.value, ours.state, ours.stop_rule) == (
            theirs.params, theirs.curve, theirs.value, theirs.state, theirs.stop_rule,
        )  # fmt: skip
        assert ours.metrics == theirs.metrics
    left_out = next(record.number for record in tuner.trials if record.params["x"] < 0.25)
    assert f"Trial {left_out} was left out: x must be between 0.25 and 4" in caplog.text
    more = hpo.Tuner(new, hpo.Minimize("loss"), storage=tmp_path / "b.db", name="a", **arguments)
    for trial in more:
        trial.report(1, {"loss": trial["x"]})
    assert len(more.trials) == 8
    assert len(tuner.trials) == 8


def test_copy_into_a_space_that_fits_nothing_is_refused_and_leaves_nothing(tmp_path):
    half_done(tmp_path / "a.db")
    study = hpo.studies(tmp_path / "a.db")["first"]
    with pytest.raises(hpo.InvalidArgument, match="space must fit at least one trial of the study, but: "):
        study.copy(tmp_path / "b.db", space={"other": hpo.Continuous(0, 1)})
    with pytest.raises(hpo.InvalidArgument, match=r"space must be a dict of parameters, but got space=\[\]"):
        study.copy(tmp_path / "b.db", space=[])
    assert list(hpo.studies(tmp_path / "b.db")) == []


def test_copy_to_a_name_that_exists_is_refused(tmp_path):
    half_done(tmp_path / "a.db")
    study = hpo.studies(tmp_path / "a.db")["first"]
    with pytest.raises(hpo.StorageError, match="has a study 'first' already"):
        study.copy(tmp_path / "a.db")
    with pytest.raises(hpo.InvalidArgument, match="name must be"):
        study.copy(tmp_path / "a.db", name="")


def test_renamed_study_goes_on(tmp_path):
    started = len(half_done(tmp_path / "a.db").trials)
    renamed = hpo.studies(tmp_path / "a.db")["first"].rename("b/c")
    assert list(hpo.studies(tmp_path / "a.db")) == ["b/c"]
    assert renamed.n_trials == started
    tuner = tuner_of(tmp_path / "a.db", "b/c", points_to_evaluate=[{"x": 0.5}])
    tuner.run(train)
    assert len(tuner.trials) == 6
    tuner_of(tmp_path / "a.db", "other")
    with pytest.raises(hpo.StorageError, match="has a study 'other' already"):
        renamed.rename("other")
    with pytest.raises(hpo.InvalidArgument, match="name must be"):
        renamed.rename(3)


def test_delete_takes_the_checkpoints_with_it(tmp_path):
    half_done(tmp_path / "a.db")
    tuner_of(tmp_path / "a.db", "other").run(train)
    folder = Path(open_storage(tmp_path / "a.db").checkpoint_root("first"))
    assert folder.exists()
    hpo.studies(tmp_path / "a.db")["first"].delete()
    assert list(hpo.studies(tmp_path / "a.db")) == ["other"]
    assert not folder.exists()
    assert Path(open_storage(tmp_path / "a.db").checkpoint_root("other")).exists()


@pytest.mark.parametrize("action", ["delete", "rename", "copy"])
def test_studies_that_are_worked_on_are_spared(action, tmp_path):
    tuner = half_done(tmp_path / "a.db")
    trial = tuner.ask()
    study = hpo.studies(tmp_path / "a.db")["first"]
    arguments = {"delete": (), "rename": ("b",), "copy": (tmp_path / "b.db",)}[action]
    with pytest.raises(hpo.StorageError, match=f"while workers train its trials {trial.number}"):
        getattr(study, action)(*arguments)
    with pytest.raises(hpo.InvalidArgument, match="force must be"):
        getattr(study, action)(*arguments, force="yes")
    getattr(study, action)(*arguments, force=True)
    if action == "copy":  # there, nobody trains it
        copy = tuner_of(tmp_path / "b.db", points_to_evaluate=[{"x": 0.5}])
        assert copy.ask().number == trial.number
    if action != "delete":
        release(trial)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("update hpo_trials set params = '['", "trial 0"),
        ("update hpo_studies set definition = '{'", "its definition"),
        ("update hpo_studies set definition = '{}'", "required field"),
    ],
)
def test_damaged_study_can_be_deleted_by_force(damage, message, tmp_path):
    half_done(tmp_path / "a.db")
    with sqlite3.connect(tmp_path / "a.db") as connection:
        connection.execute(damage)
    connection.close()
    study = hpo.studies(tmp_path / "a.db")["first"]
    with pytest.raises(hpo.StorageError, match=message):
        study.delete()
    study.delete(force=True)
    assert len(hpo.studies(tmp_path / "a.db")) == 0


def test_wrong_storages(tmp_path):
    with pytest.raises(hpo.StudyNotFound, match="no such file"):
        hpo.studies(tmp_path / "missing.db")
    with pytest.raises(KeyError):
        hpo.studies(half_done(tmp_path / "a.db") and tmp_path / "a.db")["none"]


# In a notebook.


def test_tuner_and_record_show_themselves(tmp_path):
    tuner = tuner_of(None, "<i>")
    assert "<table>" not in tuner._repr_html_()
    tuner.run(train)
    html = tuner._repr_html_()
    assert html.count("<tr>") == 6
    assert "<i>" not in html
    shown = tuner.best_trial._repr_html_()
    assert f"<td>{tuner.best_trial.number}</td>" in shown
    assert f"at epoch {tuner.best_trial.best_epoch}" in shown
    for trial in tuner.trials:
        assert "<td><b></td>" not in trial._repr_html_()


def test_copy_of_a_damaged_study_names_what_is_damaged(tmp_path):
    half_done(tmp_path / "a.db")
    with sqlite3.connect(tmp_path / "a.db") as connection:
        connection.execute("update hpo_reports set seconds = 'x' where number = 1")
    connection.close()
    with pytest.raises(hpo.StorageError, match=r"a\.db is damaged.* the column seconds of hpo_reports .* 'x'"):
        hpo.studies(tmp_path / "a.db")["first"].copy(tmp_path / "b.db", force=True)
    assert len(hpo.studies(tmp_path / "b.db")) == 0
