import contextlib
import dataclasses
import logging
import sqlite3

import pytest

import hpo_plugins as hpo

X = {"x": hpo.Continuous(0, 1)}
LOSS = hpo.Minimize("loss")


def test_trials_carry_plain_values_and_records_are_frozen(storage, space, train):
    tuner = hpo.Tuner(space, LOSS, strategy=hpo.Random(), max_trials=4, storage=storage, seed=0)
    for trial in tuner:
        assert trial["eta"] == trial.params["eta"]
        assert {type(v) for v in trial.params.values()} <= {float, int, str, bool, type(None)}
        assert (trial.start_epoch, trial.resume_from) == (0, None)
        assert trial.checkpoint_dir.is_dir()
        train(trial)
    record = tuner.trials[2]
    assert record.number == 2
    assert record.attempts == 1
    assert record.started_at <= record.ended_at
    with pytest.raises(dataclasses.FrozenInstanceError):
        record.value = 0.0
    assert tuner.best_trial.value == min(t.value for t in tuner.trials)


def test_complete_study_says_so_and_yields_nothing(tmp_path, train):
    for _ in range(2):
        tuner = hpo.Tuner(X, LOSS, strategy=hpo.Random(), max_trials=3, storage=tmp_path / "a.db", seed=0)
        handed = [trial.number for trial in tuner if trial.report(1, {"loss": 1.0}) is False]
    assert handed == []
    assert tuner.done
    assert tuner.summary().startswith("Study 'default' is complete (max_trials=3 have been started): 3 of 3 trials")


def test_more_trials_extend_a_stored_study(tmp_path):
    for most in (2, 5):
        tuner = hpo.Tuner(X, LOSS, strategy=hpo.Random(), max_trials=most, storage=tmp_path / "a.db", seed=0)
        for trial in tuner:
            trial.report(1, {"loss": 1.0})
    assert len(tuner.trials) == 5
    assert hpo.Tuner.load(tmp_path / "a.db").done


def test_load_reads_everything_back(tmp_path, space, train):
    strategy = hpo.Hyperband(max_resource=27)
    tuner = hpo.Tuner(
        space, hpo.Maximize("loss", at="last"), strategy=strategy, max_trials=9, storage=tmp_path / "a.db"
    )
    for trial in tuner:
        train(trial)
    loaded = hpo.Tuner.load(tmp_path / "a.db")
    assert loaded.trials == tuner.trials
    assert (dict(loaded.space), loaded.objective, loaded.strategy) == (dict(tuner.space), tuner.objective, strategy)
    assert loaded.seed == tuner.seed
    assert loaded.summary() == tuner.summary()
    assert loaded.trials[0].metrics == tuner.trials[0].metrics


def test_one_storage_holds_many_studies(tmp_path):
    for name in ("a", "b"):
        hpo.Tuner(X, LOSS, strategy=hpo.Random(), storage=tmp_path / "a.db", name=name).ask()
    assert len(hpo.Tuner.load(tmp_path / "a.db", "b").trials) == 1
    with pytest.raises(hpo.StudyNotFound, match="name must say which study to load; .* holds 'a', 'b'"):
        hpo.Tuner.load(tmp_path / "a.db")
    with pytest.raises(hpo.StudyNotFound, match="No study 'c' in .* Its studies: 'a', 'b'"):
        hpo.Tuner.load(tmp_path / "a.db", "c")
    with pytest.raises(hpo.StudyNotFound, match="there is no such file"):
        hpo.Tuner.load(tmp_path / "b.db")
    assert not (tmp_path / "b.db").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"space": {"x": hpo.Continuous(0, 2)}}, r"space.x.high is 2.0 \(stored 1.0\)"),
        ({"space": {"x": hpo.Integer(0, 1)}}, r"space.x.kind is 'integer' \(stored 'continuous'\)"),
        (
            {"space": {"y": hpo.Continuous(0, 1)}},
            "space.x is missing .* space.y is new|space.y is new .* space.x is missing",
        ),
        ({"objective": hpo.Maximize("loss")}, r"objective.direction is 'Maximize' \(stored 'Minimize'\)"),
        (
            {"strategy": hpo.Hyperband(max_resource=3)},
            r"strategy.name is 'Hyperband' \(stored 'Random'\); strategy.min_resource is new .*; strategy.max_resource",
        ),
        ({"early_stopping": None}, "early_stopping is None"),
        ({"seed": 1}, r"seed is 1 \(stored 0\)"),
    ],
)
def test_other_definition_is_an_error_that_lists_differences(tmp_path, change, message):
    given = {"space": X, "objective": LOSS, "strategy": hpo.Random(), "early_stopping": hpo.MedianRule(), "seed": 0}

    def make(space, objective, **arguments):
        return hpo.Tuner(space, objective, storage=tmp_path / "a.db", **arguments)

    make(**given).ask()
    changed = given | change
    if "strategy" in change:
        changed["early_stopping"] = None
    with pytest.raises(hpo.StudyMismatch, match=message):
        make(**changed)
    assert len(make(**given).trials) == 1
    assert make(**given | {"seed": None}).seed == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_trials": 0}, "max_trials must be a whole number of at least 1"),
        ({"max_trials": 2.0}, "max_trials must be a whole number of at least 1"),
        ({"seed": -1}, "seed must be a whole number of at least 0"),
        ({"retries": -1}, "retries must be a whole number of at least 0"),
        ({"name": ""}, "name must be a non-empty string"),
        ({"strategy": hpo.Random}, r"strategy must be .* Create an instance: add \(\)"),
        (
            {"strategy": "random"},
            r"strategy must be Bayesian\(...\), Grid\(\), Hyperband\(...\) or Random\(...\), but got strategy='random'",
        ),
        ({"early_stopping": "median"}, "early_stopping must be MedianRule"),
        ({"strategy": hpo.Hyperband()}, "Hyperband must know max_resource"),
        ({"strategy": hpo.Grid()}, r"Grid needs categorical parameters, but got space\['x'\]=Continuous"),
        ({"objective": "loss"}, r"objective must be Minimize\(metric\) or Maximize\(metric\)"),
        ({"storage": 3}, "storage must be a path, a URL or None, but got storage=3"),
    ],
)
def test_bad_arguments_are_named_before_anything_starts(arguments, message):
    with pytest.raises(hpo.InvalidArgument, match=message):
        hpo.Tuner(X, **{"objective": LOSS, "strategy": hpo.Random()} | arguments)


@pytest.mark.parametrize("most", [5, 7])
def test_grid_refuses_a_number_that_is_not_its_own(most):
    grid = {"a": hpo.Categorical([1, 2, 3]), "b": hpo.Categorical([1, 2])}
    with pytest.raises(hpo.InvalidArgument, match=f"must be the number of combinations, 6, .* max_trials={most}"):
        hpo.Tuner(grid, LOSS, strategy=hpo.Grid(), max_trials=most)
    tuner = hpo.Tuner(grid, LOSS, strategy=hpo.Grid(), max_trials=6)
    assert [tuner.ask().params for _ in range(3)] == [{"a": 1, "b": 1}, {"a": 1, "b": 2}, {"a": 2, "b": 1}]


def test_stop_ends_the_loop_here(train):
    tuner = hpo.Tuner(X, LOSS, strategy=hpo.Random(), max_trials=9)
    for trial in tuner:
        trial.report(1, {"loss": 1.0})
        if trial.number == 2:
            tuner.stop()
    assert len(tuner.trials) == 3
    assert tuner.done
    assert tuner.stop_reason == "stop() was called"


def test_ask_and_tell_holds_many_trials(storage):
    tuner = hpo.Tuner(X, LOSS, strategy=hpo.Random(), max_trials=3, storage=storage)
    trials = [tuner.ask() for _ in range(3)]
    assert tuner.ask() is None
    assert not tuner.done
    for trial in reversed(trials):
        trial.report(1, {"loss": float(trial.number)})
        trial.end()
    assert tuner.done
    assert tuner.best_trial.number == 0


def test_dataframe_has_a_row_a_trial(train, space):
    pytest.importorskip("pandas")
    tuner = hpo.Tuner(space, LOSS, strategy=hpo.Random(), max_trials=3)
    for trial in tuner:
        train(trial)
    frame = tuner.to_dataframe()
    assert list(frame["number"]) == [0, 1, 2]
    assert list(frame.columns[:4]) == ["number", "state", "value", "epochs"]
    assert {"params_eta", "params_depth", "params_kind", "stop_reason", "error"} <= set(frame.columns)


def test_summary_tells_what_was_found_and_what_it_cost(space, train, caplog):
    caplog.set_level(logging.INFO, "hpo_plugins")
    tuner = hpo.Tuner(space, LOSS, strategy=hpo.Hyperband(max_resource=27), max_trials=20, seed=0)
    assert "not complete: 0 of 20" in tuner.summary()
    epochs = sum(train(trial) for trial in tuner)
    summary = tuner.summary()
    assert f"Best: trial {tuner.best_trial.number}, loss = {tuner.best_trial.value:.6g} at epoch 27" in summary
    assert f"Epochs: {epochs} were trained; 20 full training runs of 27 would have been 540" in summary
    assert "completed: reached max_resource=27" in summary
    assert "stopped: not among the best at rung 1" in summary
    assert sum("trial" in message for message in caplog.messages) == 20


def test_lost_storage_costs_no_training_and_no_report(tmp_path, caplog):
    """The disk refuses writes for a while: the training run continues, and its reports are written later."""
    tuner = hpo.Tuner(X, LOSS, strategy=hpo.Random(), max_trials=2, storage=tmp_path / "a.db")
    trial = tuner.ask()
    trial.report(1, {"loss": 3.0})
    with sqlite3.connect(tmp_path / "a.db") as connection:
        connection.execute("ALTER TABLE hpo_reports RENAME TO elsewhere")
    assert not trial.report(2, {"loss": 2.0})
    assert "epoch 2 is not written yet" in caplog.text
    with pytest.raises(hpo.StorageError, match="could not be written"):
        trial.end()
    with sqlite3.connect(tmp_path / "a.db") as connection:
        connection.execute("ALTER TABLE elsewhere RENAME TO hpo_reports")
    connection.close()
    assert not trial.report(3, {"loss": 1.0})
    trial.end()
    assert hpo.Tuner.load(tmp_path / "a.db").trials[0].curve == {1: 3.0, 2: 2.0, 3: 1.0}


@contextlib.contextmanager
def out_of_order(path, table):
    """The storage refuses writes to a table."""
    with sqlite3.connect(path) as connection:
        connection.execute(f"CREATE TRIGGER no BEFORE UPDATE ON {table} BEGIN SELECT RAISE(ABORT, 'no'); END")
    connection.close()
    try:
        yield
    finally:
        with sqlite3.connect(path) as connection:
            connection.execute("DROP TRIGGER no")
        connection.close()


@pytest.mark.parametrize("end", [lambda t: t.end(), lambda t: t.fail("no luck"), lambda t: t._lease.release()])
def test_end_that_cannot_be_written_is_written_before_the_next_trial(end, tmp_path):
    path = tmp_path / "a.db"
    tuner = hpo.Tuner(X, LOSS, strategy=hpo.Random(), max_trials=2, storage=path, seed=0)
    trial = tuner.ask()
    trial.report(1, {"loss": 1.0})
    with out_of_order(path, "hpo_trials"), pytest.raises(hpo.StorageError):
        end(trial)
    following = tuner.ask()
    state = tuner.trials[0].state
    assert (following.number, state) in [(1, "completed"), (1, "failed"), (0, "running")]
    assert tuner.trials[0].attempts == 1 + (state == "running")


def test_loop_goes_on_after_an_end_that_could_not_be_written(tmp_path):
    path = tmp_path / "a.db"
    tuner = hpo.Tuner(X, LOSS, strategy=hpo.Random(), max_trials=2, storage=path, seed=0)
    with pytest.raises(hpo.StorageError), contextlib.ExitStack() as trouble:
        for trial in tuner:
            trial.report(1, {"loss": 1.0})
            trouble.enter_context(out_of_order(path, "hpo_trials"))
    for trial in tuner:
        trial.report(1, {"loss": 1.0})
    assert [(t.state, t.attempts) for t in tuner.trials] == [("completed", 1)] * 2


@pytest.mark.parametrize("loss", [float("nan"), 1.0])
def test_decision_that_cannot_be_written_is_kept(loss, tmp_path, caplog):
    path = tmp_path / "a.db"
    strategy = hpo.Bayesian(max_resource=9) if loss != loss else Thawing()
    tuner = hpo.Tuner(X, LOSS, strategy=strategy, max_trials=1, storage=path, seed=0)
    trial = tuner.ask()
    trial.report(1, {"loss": 1.0})
    with out_of_order(path, "hpo_trials"):
        assert trial.report(2, {"loss": loss})
    trial.end()
    assert tuner.trials[0].state == ("failed" if loss != loss else "paused")


class Thawing(hpo.Random):
    """Pauses at epoch 2 and continues the better of two: the coordinator's part in pausing."""

    def on_report(self, history, number, epoch):
        from hpo_plugins.strategies import Decision

        return Decision(hpo.TrialState.PAUSED, "waits") if epoch == 2 else None

    def next_action(self, history, seed, *, may_start):
        from hpo_plugins.strategies import Resume

        paused = [t for t in history if t.state is hpo.TrialState.PAUSED and t.row.attempts == 1]
        if may_start or not paused:
            return super().next_action(history, seed, may_start=may_start)
        return Resume(min(paused, key=lambda t: t.curve.loss(at="best")).row.number)


def test_paused_trial_resumes_from_its_epoch(storage):
    tuner = hpo.Tuner(X, LOSS, strategy=Thawing(), max_trials=2, storage=storage, seed=0)
    seen = []
    for trial in tuner:
        seen.append((trial.number, trial.start_epoch))
        for epoch in range(trial.start_epoch + 1, 5):
            if trial.report(epoch, {"loss": 1.0 - trial.number + 1 / epoch}):
                break
    assert seen == [(0, 0), (1, 0), (1, 2), (0, 2)]
    assert [t.epochs for t in tuner.trials] == [4, 4]
    assert [t.attempts for t in tuner.trials] == [2, 2]
    assert {t.state for t in tuner.trials} == {hpo.TrialState.COMPLETED}


def test_unwanted_paused_trials_are_stopped_at_the_end(storage):
    class Freezing(Thawing):
        def next_action(self, history, seed, *, may_start):
            return hpo.Random.next_action(self, history, seed, may_start=may_start)

    tuner = hpo.Tuner(X, LOSS, strategy=Freezing(), max_trials=2, storage=storage)
    for trial in tuner:
        for epoch in range(1, 5):
            if trial.report(epoch, {"loss": 1.0}):
                break
    assert [(t.state, t.stop_reason) for t in tuner.trials] == [(hpo.TrialState.STOPPED, "waits")] * 2
    assert tuner.done


class Stumbling(hpo.Random):
    """Raises when it is asked to judge."""

    def on_report(self, history, number, epoch):
        raise ZeroDivisionError("a defect of ours")


def test_defective_stopping_rule_ends_no_training(caplog, train):
    tuner = hpo.Tuner(X, LOSS, strategy=Stumbling(), max_trials=1)
    for trial in tuner:
        assert not trial.report(1, {"loss": 1.0})
    assert tuner.trials[0].state is hpo.TrialState.COMPLETED
    assert "trial 0 continues: Stumbling failed to judge epoch 1" in caplog.text
    caplog.clear()


def take_first(tuner):
    return next(iter(tuner))


def break_at_once(tuner):
    for first in tuner:
        trial = first
        break
    return trial


@pytest.mark.parametrize("take", [take_first, break_at_once])
def test_trial_whose_loop_was_left_says_what_to_write(take, storage):
    tuner = hpo.Tuner(X, LOSS, max_trials=2, storage=storage)
    trial = take(tuner)
    with pytest.raises(hpo.InvalidReport, match=r"Trial 0 was given back .* trial = tuner.ask\(\), and end it"):
        trial.report(1, {"loss": 1.0})
    for again in tuner:  # nothing is lost: it is trained like the others
        again.report(1, {"loss": 1.0})
    assert [t.state for t in tuner.trials] == [hpo.TrialState.COMPLETED] * 2


def test_iterator_that_is_kept_may_be_asked_by_hand(storage):
    trials = iter(hpo.Tuner(X, LOSS, max_trials=2, storage=storage))
    assert not next(trials).report(1, {"loss": 1.0})
    assert not next(trials).report(1, {"loss": 2.0})
    with pytest.raises(StopIteration):
        next(trials)


@pytest.mark.parametrize("target", [":memory:", "sqlite://", "sqlite:///:memory:"])
def test_database_in_memory_is_refused_with_the_way_to_get_it(target, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(hpo.StorageError, match="Omit storage to keep the study in memory"):
        hpo.Tuner(X, LOSS, storage=target)
    assert list(tmp_path.iterdir()) == []


def test_restart_takes_the_trial_from_a_worker_that_still_trains_it(tmp_path, caplog):
    def make():
        return hpo.Tuner({"x": hpo.Continuous(0, 1)}, hpo.Minimize("loss"), storage=tmp_path / "a.db", seed=0)

    trial, other = make().ask(), make()
    trial.report(1, {"loss": 1.0})
    assert trial.save(lambda path: path.write_text("state"))
    other.restart(0)
    assert trial.report(2, {"loss": 1.0})  # told to stop
    assert not trial.save(lambda path: path.write_text("late"))
    assert "trial 0 was ended, or taken over by another worker" in caplog.text
    again = other.ask()
    assert (again.number, again.start_epoch, again.resume_from) == (0, 0, None)
    trial.end()
    assert other.trials[0].state is hpo.TrialState.RUNNING
