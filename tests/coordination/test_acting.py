"""What a person does to a study reaches its trials, in this process or another one, and is logged."""

import math
import sqlite3
import subprocess
import sys

import pytest

import hpo_plugins as hpo
from hpo_plugins.coordination.acting import FAILED, MAX_NOTE, STOPPED
from hpo_plugins.records import Annotation, TrialState

SPACE = {"x": hpo.Continuous(0, 1), "k": hpo.Categorical(["a", "b", "c"])}


def tuner_of(storage, **arguments):
    arguments = {"max_trials": 3, "seed": 0, "progress": False} | arguments
    return hpo.Tuner(SPACE, hpo.Minimize("loss"), storage=storage, **arguments)


def kinds(tuner):
    return [(row.action, row.trial, row.details) for row in tuner.actions]


# Stop.


def test_stopped_trial_ends_at_its_next_report(storage):
    tuner = tuner_of(storage)
    trial = tuner.ask()
    assert not trial.report(1, {"loss": 1.0})
    tuner.stop_trial(0, "diverges: \u2603")
    assert trial.report(2, {"loss": 0.5})
    trial.end()
    record = tuner.trials[0]
    assert (record.state, record.stop_reason, record.value) == (
        TrialState.STOPPED,
        "stopped by a person: diverges: \u2603",
        0.5,
    )
    assert kinds(tuner) == [("stop", 0, {"note": "diverges: \u2603"})]
    assert tuner.actions[0].at <= record.ended_at


def test_other_tuner_stops_a_trial(tmp_path):
    tuner = tuner_of(tmp_path / "a.db")
    trial = tuner.ask()
    trial.report(1, {"loss": 1.0})
    hpo.Tuner.load(tmp_path / "a.db").stop_trial(0)
    assert trial.report(2, {"loss": 0.5})
    trial.end()
    assert tuner.trials[0].stop_reason == STOPPED


def test_stop_reaches_a_worker_in_another_process(tmp_path):
    """The worker waits at a pipe between its reports."""
    path = tmp_path / "a.db"
    tuner_of(path)
    script = f"""
import sys, hpo_plugins as hpo
trial = hpo.Tuner.load({str(path)!r}).ask()
print(trial.report(1, {{"loss": 1.0}}), flush=True)
sys.stdin.readline()
print(trial.report(2, {{"loss": 0.5}}), flush=True)
trial.end()
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as worker:
        assert worker.stdout.readline() == "False\n"
        hpo.Tuner.load(path).stop_trial(0, "enough")
        worker.stdin.write("\n")
        worker.stdin.flush()
        assert worker.stdout.readline() == "True\n"
        assert worker.wait(timeout=600) == 0
    assert hpo.Tuner.load(path).trials[0].stop_reason == "stopped by a person: enough"


def test_trial_of_a_killed_worker_ends_at_once(tmp_path):
    path = tmp_path / "a.db"
    tuner_of(path)
    script = f"""
import os, signal, hpo_plugins as hpo
hpo.Tuner.load({str(path)!r}).ask().report(1, {{"loss": 1.0}})
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", script], timeout=600, check=False).returncode < 0
    tuner = hpo.Tuner.load(path)
    tuner.stop_trial(0)
    assert (tuner.trials[0].state, tuner.trials[0].stop_reason) == (TrialState.STOPPED, STOPPED)


def test_trial_whose_worker_dies_after_a_stop_ends_stopped(tmp_path):
    """The stop is stored before the worker is killed; whoever takes the trial over carries it out."""
    path = tmp_path / "a.db"
    tuner_of(path)
    script = f"""
import sys, hpo_plugins as hpo
trial = hpo.Tuner.load({str(path)!r}).ask()
print(trial.report(1, {{"loss": 1.0}}), flush=True)
sys.stdin.readline()
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as worker:
        assert worker.stdout.readline() == "False\n"
        hpo.Tuner.load(path).stop_trial(0, "enough")
        worker.kill()
    tuner = hpo.Tuner.load(path)
    assert tuner.ask().number == 1
    assert (tuner.trials[0].state, tuner.trials[0].stop_reason) == (
        TrialState.STOPPED,
        "stopped by a person: enough",
    )


def test_many_actions_at_once_are_all_logged(tmp_path):
    """Two processes act while a third trains; no action and no report is lost."""
    path = tmp_path / "a.db"
    tuner = tuner_of(path, max_trials=40)
    script = f"""
import hpo_plugins as hpo
tuner = hpo.Tuner.load({str(path)!r})
for n in range(40):
    tuner.annotate(note=str(n))
"""
    actors = [subprocess.Popen([sys.executable, "-c", script]) for _ in range(2)]
    for trial in tuner:
        for epoch in (1, 2, 3):
            trial.report(epoch, {"loss": 1.0})
    assert [actor.wait(timeout=600) for actor in actors] == [0, 0]
    assert [row.number for row in tuner.actions] == list(range(80))
    assert [record.epochs for record in tuner.trials] == [3] * 40


def test_paused_trial_ends_at_once(storage):
    tuner = tuner_of(storage, strategy=hpo.Hyperband(max_resource=9, pause=True), max_trials=9)
    while not any(record.state is TrialState.PAUSED for record in tuner.trials):
        trial = tuner.ask()
        for epoch in range(trial.start_epoch + 1, 10):
            if trial.report(epoch, {"loss": trial.number + 1.0}):
                break
        trial.end()
    number = next(record.number for record in tuner.trials if record.state is TrialState.PAUSED)
    tuner.stop_trial(number, "not worth it")
    assert tuner.trials[number].state is TrialState.STOPPED
    assert tuner.trials[number].stop_reason == "stopped by a person: not worth it"


@pytest.mark.parametrize("moment", ["before the decision is written", "before the trial is paused"])
def test_stop_is_not_lost_to_a_pause(moment, tmp_path):
    """Between a report and the pause that its epoch brings, a person stops the trial."""
    path = tmp_path / "a.db"
    tuner = tuner_of(path, strategy=hpo.Hyperband(max_resource=9, pause=True), max_trials=9)
    store, other = tuner._loop.session.store, hpo.Tuner.load(path)
    update, done = store.update, []

    def updating(number, attempt, **fields):
        name = "decision" if moment == "before the decision is written" else "state"
        if fields.get(name) is TrialState.PAUSED and not done:
            done.append(number)
            other.stop_trial(number)
        return update(number, attempt, **fields)

    store.update = updating
    while not done:
        trial = tuner.ask()
        for epoch in range(trial.start_epoch + 1, 10):
            if trial.report(epoch, {"loss": trial.number + 1.0}):
                break
        trial.end()
    record = tuner.trials[done[0]]
    assert (record.state, record.stop_reason) == (TrialState.STOPPED, STOPPED)


def test_loop_trains_the_next_trial_after_a_stop(storage):
    tuner, seen = tuner_of(storage), []
    for trial in tuner:
        for epoch in range(1, 6):
            if trial.number == 1 and epoch == 3:
                tuner.stop_trial(1)
            seen.append((trial.number, epoch))
            if trial.report(epoch, {"loss": 1.0 / epoch}):
                break
    assert [epoch for number, epoch in seen if number == 1] == [1, 2, 3]
    assert [record.state for record in tuner.trials] == ["completed", "stopped", "completed"]


def test_all_folds_end(storage):
    tuner = tuner_of(storage, max_trials=1)
    n_folds = 0
    for trial in tuner:
        for fold in trial.folds(3):
            n_folds += 1
            fold.report(1, {"loss": 1.0})
            tuner.stop_trial(0)
            assert fold.report(2, {"loss": 1.0})
    assert n_folds == 1
    assert tuner.trials[0].stop_reason == STOPPED


# Fail and restart.


def test_failed_trial_is_over_at_once_and_its_worker_goes_on(storage):
    tuner = tuner_of(storage)
    for trial in tuner:
        trial.report(1, {"loss": 1.0})
        if trial.number == 0:
            tuner.fail_trial(0, "hangs")
            assert tuner.trials[0].state is TrialState.FAILED
            assert trial.report(2, {"loss": 0.5})
    record = tuner.trials[0]
    assert (record.state, record.error, record.stop_rule) == (TrialState.FAILED, "failed by a person: hangs", FAILED)
    assert (record.epochs, [r.state for r in tuner.trials[1:]]) == (1, ["completed"] * 2)


STRATEGIES = [
    hpo.Random(),
    hpo.Bayesian(),
    hpo.Bayesian(max_resource=4, pause=True),
    hpo.Hyperband(max_resource=4),
    hpo.Hyperband(max_resource=4, pause=True),
]


@pytest.mark.parametrize("strategy", STRATEGIES, ids=repr)
def test_failed_trial_is_retried_under_its_number(strategy, tmp_path):
    tuner, attempts = tuner_of(tmp_path / "a.db", strategy=strategy, max_trials=6), []

    def train(trial):
        attempts.append(trial.number)
        is_bad = trial.number == 1 and attempts.count(1) == 1
        for epoch in range(trial.start_epoch + 1, 5):
            if trial.report(epoch, {"loss": math.nan if is_bad else trial["x"] + 1 / epoch}):
                return

    for trial in tuner:
        train(trial)
    assert tuner.trials[1].state is TrialState.FAILED
    assert tuner.done
    hpo.Tuner.load(tmp_path / "a.db").restart(1)
    assert not tuner.done
    for trial in tuner:
        train(trial)
    record = tuner.trials[1]
    assert record.state in (TrialState.COMPLETED, TrialState.STOPPED)
    assert record.error is None
    assert record.value is not None
    assert (len(tuner.trials), sorted(set(attempts))) == (6, list(range(6)))
    assert kinds(tuner) == [("restart", 1, {})]
    assert len(list(tuner.history.final_losses())) == 6


def test_retried_trial_counts_once_among_those_that_have_ended(storage):
    tuner = tuner_of(storage, max_trials=2)
    for trial in tuner:
        trial.fail("no luck") if trial.number == 0 else trial.report(1, {"loss": 1.0})
    assert list(tuner.history.final_losses()) == [1.0]
    tuner.restart(0)
    assert list(tuner.history.final_losses()) == [1.0]
    for trial in tuner:
        trial.report(1, {"loss": 0.5})
    assert list(tuner.history.final_losses()) == [1.0, 0.5]


def test_result_is_never_given_up(storage):
    tuner = tuner_of(storage, max_trials=1)
    for trial in tuner:
        trial.report(1, {"loss": 1.0})
    for act in (tuner.stop_trial, tuner.fail_trial, tuner.restart):
        with pytest.raises(hpo.InvalidArgument, match="trial 0 is completed. Its result is kept"):
            act(0)
    assert tuner.actions == ()


@pytest.mark.parametrize("number", [-1, 3, 1.5, "0", None, True, 10**30])
def test_unknown_trial_is_one_sentence(number, storage):
    tuner = tuner_of(storage)
    tuner.ask()
    for act in (tuner.stop_trial, tuner.fail_trial, tuner.restart):
        with pytest.raises(hpo.InvalidArgument, match="number must be"):
            act(number)
    assert tuner.actions == ()


# Notes and tags.


def test_last_note_and_tags_count(storage):
    tuner = tuner_of(storage)
    tuner.ask()
    tuner.annotate(note="the first week", tags=["draft", "draft", " mine "])
    tuner.annotate(0, tags=["baseline"])
    tuner.annotate(0, note="looks good")
    tuner.annotate(note="the second week")
    assert tuner.annotations == {
        None: Annotation("the second week", ("draft", "mine")),
        0: Annotation("looks good", ("baseline",)),
    }
    tuner.annotate(0, note="", tags=[])
    assert 0 not in tuner.annotations
    assert len(tuner.actions) == 7


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"note": 1},
        {"note": "a\0"},
        {"note": "\ud800"},
        {"note": "x" * (MAX_NOTE + 1)},
        {"tags": "a"},
        {"tags": [""]},
        {"tags": [1]},
        {"tags": ["a\nb"]},
        {"tags": ["x" * 61]},
        {"tags": [str(n) for n in range(21)]},
        {"tags": 1},
        {"trial": 5, "note": "x"},
    ],
)
def test_wrong_annotation_is_one_sentence(given, storage):
    tuner = tuner_of(storage)
    with pytest.raises(hpo.InvalidArgument, match="must be|needs note= or tags="):
        tuner.annotate(**given)
    assert tuner.actions == ()


def test_database_without_a_log_gets_one_with_the_first_action(tmp_path):
    """Databases that were made before there was a log are read, copied and deleted without it."""
    path = tmp_path / "a.db"
    tuner = tuner_of(path)
    trial = tuner.ask()
    trial.report(1, {"loss": 1.0})
    trial.end()
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE hpo_actions")
    connection.close()
    assert hpo.Tuner.load(path).actions == ()
    study = hpo.studies(path)["default"]
    study.copy(path, name="copy").delete()
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'hpo_actions'").fetchone() == (1,)
        connection.execute("DROP TABLE hpo_actions")
    connection.close()
    tuner.annotate(0, note="old")
    assert hpo.Tuner.load(path).annotations == {0: Annotation("old")}


def test_copy_and_rename_keep_notes(tmp_path):
    path = tmp_path / "a.db"
    tuner = tuner_of(path)
    tuner.annotate(note="kept")
    study = hpo.studies(path)["default"]
    study.copy(tmp_path / "b.db")
    study.rename("other")
    assert hpo.Tuner.load(path, "other").annotations == {None: Annotation("kept")}
    assert hpo.Tuner.load(tmp_path / "b.db").annotations == {None: Annotation("kept")}


def test_damaged_log_is_one_sentence(tmp_path):
    path = tmp_path / "a.db"
    tuner = tuner_of(path)
    tuner.annotate(note="x")
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE hpo_actions SET details = '[1'")
    connection.close()
    with pytest.raises(hpo.StorageError, match="action 0"):
        _ = tuner.actions


def test_annotations_leave_a_search_as_it_is(tmp_path):
    def search(path, *, acts):
        tuner = tuner_of(path, strategy=hpo.Hyperband(max_resource=4), max_trials=8)
        for trial in tuner:
            if acts:
                tuner.annotate(trial.number, note="x", tags=["y"])
            for epoch in range(1, 5):
                if trial.report(epoch, {"loss": trial["x"] + 1 / epoch}):
                    break
        return [(record.params, record.curve, record.state) for record in tuner.trials]

    assert search(tmp_path / "a.db", acts=True) == search(tmp_path / "b.db", acts=False)
