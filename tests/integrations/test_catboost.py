import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, make_regression
from support import expire_lease, save_always

import hpo_plugins as hpo

catboost = pytest.importorskip("catboost")
from hpo_plugins.integrations.catboost import TrialCallback, load_model, snapshot, train_in_chunks  # noqa: E402

SPACE = {"learning_rate": hpo.Categorical([0.3, 1e-6])}
METRIC = "validation-Logloss"


@pytest.fixture(scope="module")
def data():
    x, y = load_breast_cancer(return_X_y=True)
    return (x[:400], y[:400]), (x[400:], y[400:])


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # CatBoost writes catboost_info there


def tuner_for(metric=METRIC, strategy=None, **arguments):
    return hpo.Tuner(SPACE, hpo.Minimize(metric), **{"strategy": strategy or hpo.Grid(), "seed": 0} | arguments)


def model_of(trial, rounds=12, **params):
    fixed = {"iterations": rounds, "depth": 3, "thread_count": 1, "verbose": False, "random_seed": 0}
    return catboost.CatBoostClassifier(**fixed | trial.params | {"use_best_model": False} | params)


def train(trial, data, rounds=12, *, saves=True, others=(), fit=None, **params):
    arguments = {"callbacks": [TrialCallback(trial), *others], "eval_set": data[1]} | (fit or {})
    return model_of(trial, rounds, **params).fit(*data[0], **arguments, **(snapshot(trial, 0) if saves else {}))


class Pausing(hpo.Random):
    """Pauses every trial after epoch 5, once."""

    pause = True

    @property
    def pauses(self):
        return True

    @property
    def max_resource(self):
        return 12

    def on_report(self, history, number, epoch):
        from hpo_plugins.extending import Decision, TrialState

        if epoch == 5 and history[number].row.attempts == 1:
            return Decision(TrialState.PAUSED, "pausing", "after 5 rounds")
        return None

    def next_action(self, history, seed, **arguments):
        from hpo_plugins.extending import Resume

        return Resume(history.paused[0]) if history.paused else super().next_action(history, seed, **arguments)


class Show:
    def __init__(self, act=lambda info: True):
        self.seen, self.act = [], act

    def after_iteration(self, info):
        self.seen.append(info.iteration)
        return self.act(info)


def paused(data, **arguments):
    """Train one trial that is paused after round 5; return both models and its record."""
    models, tuner = [], hpo.Tuner(SPACE, hpo.Minimize(METRIC), strategy=Pausing(), max_trials=1, seed=0)
    for trial in tuner:
        models.append(train(trial, data, **arguments))
    return *models, tuner.trials[0]


def test_every_round_is_recorded_with_all_metrics(data):
    tuner = tuner_for()
    for trial in tuner:
        train(trial, data, 4, custom_metric=["AUC"])
    assert set(tuner.trials[0].metrics[1]) == {"learn-Logloss", METRIC, "validation-AUC"}
    assert list(tuner.trials[0].curve) == [1, 2, 3, 4]


def test_several_eval_sets_have_catboosts_names(data):
    tuner = tuner_for("validation_1-Logloss")
    for trial in tuner:
        train(trial, data, 3, fit={"eval_set": [data[0], data[1]]})
    assert {"validation_0-Logloss", "validation_1-Logloss"} <= set(tuner.trials[0].metrics[1])


def test_regressor_is_tuned_by_its_own_metric():
    x, y = make_regression(80, 4, random_state=0)
    tuner = tuner_for("validation-RMSE")
    for trial in tuner:
        model = catboost.CatBoostRegressor(iterations=3, verbose=False, thread_count=1, **trial.params)
        model.fit(x[:60], y[:60], eval_set=(x[60:], y[60:]), callbacks=[TrialCallback(trial)])
    assert tuner.best_trial.params == {"learning_rate": 0.3}


def test_metrics_of_skipped_rounds_count_not_at_all(data):
    tuner = tuner_for()
    for trial in tuner:
        train(trial, data, 6, metric_period=2)
    assert list(tuner.trials[0].curve) == [1, 3, 5, 6]


def test_all_callbacks_see_every_round_of_a_stopped_training(data):
    tuner = tuner_for(strategy=hpo.Hyperband(max_resource=3), max_trials=1)
    before, after = Show(), Show()
    for trial in tuner:
        model = model_of(trial).fit(
            *data[0], eval_set=data[1], callbacks=[before, TrialCallback(trial), after], **snapshot(trial)
        )
    assert before.seen == after.seen == [1, 2, 3]
    assert model.tree_count_ == 3


def test_another_callback_that_ends_the_training_completes_the_trial(data):
    tuner = tuner_for()
    for trial in tuner:
        train(trial, data, others=[Show(lambda info: info.iteration < 4)])
    assert {record.epochs for record in tuner.trials} == {4}
    assert {record.state for record in tuner.trials} == {hpo.TrialState.COMPLETED}


def test_result_is_the_same_as_without_the_callback(data):
    trial = tuner_for().ask()
    plain = model_of(trial).fit(*data[0], eval_set=data[1])
    assert np.array_equal(plain.predict_proba(data[1][0]), train(trial, data).predict_proba(data[1][0]))
    assert "_set_trained_model_attributes" not in vars(plain)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, RuntimeError])
def test_exception_of_a_report_is_raised_as_it_is(error, data, monkeypatch):
    from hpo_plugins.coordination.training import Training

    def report(self, epoch, metrics, **arguments):
        raise error("on purpose")

    trial = tuner_for().ask()
    monkeypatch.setattr(Training, "report", report)
    with pytest.raises(error, match="on purpose"):
        train(trial, data)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"boosting_type": "Ordered"},
        {"bootstrap_type": "Bernoulli", "subsample": 0.5},
        {"use_best_model": True, "early_stopping_rounds": 3},
        {"rsm": 0.5, "grow_policy": "Lossguide"},
    ],
    ids=str,
)
def test_paused_training_is_bit_identical(change, data):
    *_, model, record = paused(data, **change)
    trial = tuner_for(max_trials=2).ask()
    trial.params = record.params
    whole = train(trial, data, **change)
    assert np.array_equal(model.predict_proba(data[1][0]), whole.predict_proba(data[1][0]))
    assert model.get_evals_result() == whole.get_evals_result()
    assert model.get_best_iteration() == whole.get_best_iteration()
    assert record.attempts == 2
    assert list(record.curve) == list(range(1, record.epochs + 1))


def test_categorical_features_are_continued_exactly():
    x, y = load_breast_cancer(return_X_y=True)
    x = np.column_stack([x[:, :4].astype(object), (x[:, 4] * 100).astype(int).astype(str)])
    data = (x[:400], y[:400]), (x[400:], y[400:])
    *_, model, record = paused(data, cat_features=[4])
    trial = tuner_for(max_trials=2).ask()
    trial.params = record.params
    assert np.array_equal(model.predict_proba(x[400:]), train(trial, data, cat_features=[4]).predict_proba(x[400:]))


def test_pause_without_a_snapshot_is_refused_at_the_first_round(data):
    tuner = hpo.Tuner(SPACE, hpo.Minimize(METRIC), strategy=Pausing(), max_trials=1)
    with pytest.raises(hpo.InvalidArgument, match=r"\*\*snapshot\(trial\)"):
        train(tuner.ask(), data, saves=False)


def test_crash_without_a_snapshot_starts_over(data, tmp_path, monkeypatch):
    save_always(monkeypatch)
    first = tuner_for(storage=tmp_path / "study.db")
    with pytest.raises(catboost.CatBoostError, match="on purpose"):
        train(first.ask(), data, others=[Show(_fail_at_4)])
    expire_lease(first, 0)
    tuner = tuner_for(storage=tmp_path / "study.db")
    trial = tuner.ask()
    assert trial.start_epoch == 3
    train(trial, data, saves=False)
    trial.end()
    assert list(tuner.trials[0].curve) == list(range(1, 13))


def _fail_at_4(info):
    if info.iteration == 4:
        raise RuntimeError("on purpose")
    return True


def test_snapshot_of_another_training_is_refused(data, tmp_path):
    other = tmp_path / "other.snapshot"
    saving = {"save_snapshot": True, "snapshot_file": str(other)}
    trial = tuner_for().ask()
    model_of(trial, 4).fit(*data[0], eval_set=data[1], **saving)
    with pytest.raises(hpo.InvalidArgument, match="is new, but its training resumes after round 4"):
        train(trial, data, saves=False, fit=saving)


def test_damaged_checkpoint_is_an_error_and_the_trial_stays(data):
    tuner = hpo.Tuner(SPACE, hpo.Minimize(METRIC), strategy=Pausing(), max_trials=1)
    train(trial := tuner.ask(), data)
    trial.end()
    trial = tuner.ask()
    Path(trial.resume_from).write_bytes(b"nothing")
    with pytest.raises(hpo.CheckpointError, match="damaged or not written by CatBoost"):
        snapshot(trial)


def test_nothing_is_saved_where_nobody_could_resume():
    assert snapshot(tuner_for().ask()) == {}


def test_best_checkpoint_without_a_snapshot_has_the_model(data):
    tuner = tuner_for(checkpoints="best")
    for trial in tuner:
        model = train(trial, data, saves=False, use_best_model=True)
    best = load_model(tuner.best_trial)
    assert best.tree_count_ == tuner.best_trial.best_epoch
    assert type(best) is type(model)


def test_model_of_a_completed_search_is_loaded_without_asking_for_it(data, tmp_path):
    tuner = tuner_for(storage=tmp_path / "study.db", strategy=hpo.Hyperband(max_resource=6), max_trials=2)
    for trial in tuner:
        train(trial, data, 6)
    assert load_model(tuner.best_trial).tree_count_ == tuner.best_trial.best_epoch


def test_folds_resume_in_their_fold(data, tmp_path, monkeypatch):
    save_always(monkeypatch)
    path = tmp_path / "study.db"

    def folds(trial, crash=()):
        for fold in trial.folds(2):
            train(fold, data, 5, others=crash if fold.number == 1 else ())

    first = tuner_for(storage=path)
    with pytest.raises(catboost.CatBoostError, match="on purpose"):
        folds(first.ask(), [Show(_fail_at_4)])
    expire_lease(first, 0)
    tuner = tuner_for(storage=path)
    trial = tuner.ask()
    folds(trial)
    trial.end()
    assert [list(curve) for curve in tuner.trials[0].folds] == [[1, 2, 3, 4, 5]] * 2
    assert tuner.trials[0].folds[0] == tuner.trials[0].folds[1]


def test_killed_training_that_was_complete_is_continued_by_its_second_phase(data, tmp_path, monkeypatch):
    save_always(monkeypatch)
    path = tmp_path / "study.db"

    def phases(trial, die=False):
        first = train(trial, data, 4, others=[Show(lambda info: True)])
        if die:
            raise RuntimeError("between")
        return train(trial, data, 3, fit={"init_model": first})

    whole = tuner_for()
    expected = phases(whole.ask())
    before = tuner_for(storage=path)
    with pytest.raises(RuntimeError, match="between"):
        phases(before.ask(), die=True)
    expire_lease(before, 0)
    tuner = tuner_for(storage=path)
    trial = tuner.ask()
    model = phases(trial)
    trial.end()
    assert tuner.trials[0].curve == whole.trials[0].curve
    assert np.array_equal(model.predict_proba(data[1][0]), expected.predict_proba(data[1][0]))


def test_cloned_estimators_report_to_the_same_trial(data):
    tuner = tuner_for()
    for trial in tuner:
        clone(model_of(trial, 3)).fit(*data[0], eval_set=data[1], callbacks=[TrialCallback(trial)])
    assert {record.epochs for record in tuner.trials} == {3}


def test_chunks_train_the_model_of_one_fit(data):
    tuner = tuner_for()
    for trial in tuner:
        model = train_in_chunks(trial, model_of(trial, 11), *data[0], chunk=4, eval_set=data[1])
        plain = model_of(trial, 11).fit(*data[0], eval_set=data[1])
        assert np.array_equal(model.predict_proba(data[1][0]), plain.predict_proba(data[1][0]))
    assert list(tuner.trials[0].curve) == [4, 8, 11]
    assert tuner.trials[0].state is hpo.TrialState.COMPLETED


def test_chunks_stop_and_pause_between(data):
    tuner = tuner_for(strategy=hpo.Hyperband(max_resource=12, min_resource=4, reduction_factor=3, pause=True,
                                             search="random"), max_trials=6)  # fmt: skip
    attempts = []
    for trial in tuner:
        train_in_chunks(trial, model_of(trial, 12), *data[0], chunk=4, eval_set=data[1])
        attempts.append(trial.attempt)
    assert max(record.epochs for record in tuner.trials) == 12
    assert max(attempts) > 1
    assert all(list(record.curve) == list(range(4, record.epochs + 1, 4)) for record in tuner.trials)


def test_chunks_end_where_early_stopping_ends(data):
    tuner = tuner_for(checkpoints="best")
    for trial in tuner:
        arguments = {"eval_set": data[1], "early_stopping_rounds": 2}
        model = train_in_chunks(trial, model_of(trial, 60, learning_rate=1.0), *data[0], chunk=4, **arguments)
        plain = model_of(trial, 60, learning_rate=1.0).fit(*data[0], **arguments)
        assert np.array_equal(model.predict_proba(data[1][0]), plain.predict_proba(data[1][0]))
        assert model.tree_count_ < 60
    assert load_model(tuner.best_trial).tree_count_ == tuner.best_trial.best_epoch


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"chunk": 0}, "chunk must be a whole number"),
        ({"callbacks": []}, "sets itself"),
        ({"init_model": None}, "sets itself"),
    ],
)
def test_bad_arguments_of_chunks_are_named(change, message, data):
    trial = tuner_for().ask()
    with pytest.raises(hpo.InvalidArgument, match=message):
        train_in_chunks(trial, model_of(trial), *data[0], **change)


def test_chunks_need_a_learning_rate_and_an_untrained_model(data):
    trial = tuner_for().ask()
    with pytest.raises(hpo.InvalidArgument, match="must have a learning_rate"):
        train_in_chunks(trial, catboost.CatBoostClassifier(), *data[0])
    with pytest.raises(hpo.InvalidArgument, match="must be untrained"):
        train_in_chunks(trial, model_of(trial, 2).fit(*data[0]), *data[0])
    with pytest.raises(hpo.InvalidArgument, match="must be a model of CatBoost"):
        train_in_chunks(trial, {"iterations": 3}, *data[0])


@pytest.mark.parametrize("seconds", [-1, 0.5, True, None])
def test_bad_seconds_are_named(seconds):
    with pytest.raises(hpo.InvalidArgument, match="seconds must be a whole number"):
        snapshot(tuner_for().ask(), seconds)


SCRIPT = """
    import sys, os, signal
    import catboost, numpy as np
    import hpo_plugins as hpo
    from hpo_plugins.integrations.catboost import TrialCallback, snapshot
    from hpo_plugins.storage.checkpoints import SaveTimer
    from sklearn.datasets import load_breast_cancer

    SaveTimer.is_due = lambda self: True
    x, y = load_breast_cancer(return_X_y=True)

    class Kill:
        def after_iteration(self, info):
            if len(sys.argv) > 1 and info.iteration == 5:
                os.kill(os.getpid(), getattr(signal, sys.argv[1]))
            return True

    tuner = hpo.Tuner({"depth": hpo.Categorical([2, 3])}, hpo.Minimize("validation-Logloss"), strategy=hpo.Grid(),
                      storage="study.db", seed=0)
    for trial in tuner:
        print("from", trial.start_epoch, flush=True)
        model = catboost.CatBoostClassifier(iterations=8, verbose=False, thread_count=1, **trial.params)
        model.fit(x[:400], y[:400], eval_set=(x[400:], y[400:]), callbacks=[Kill(), TrialCallback(trial)],
                  **snapshot(trial, 0))
    print(tuner.trials)
"""


@pytest.mark.process
@pytest.mark.parametrize("name", ["SIGKILL", *(pytest.param(n, marks=pytest.mark.full) for n in ("SIGTERM", "SIGINT"))])
def test_killed_script_resumes_and_repeats_no_round(name, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT), encoding="utf-8")

    def run(*arguments):
        return subprocess.run([sys.executable, str(script), *arguments], capture_output=True, text=True, check=False)

    died = run(name)
    assert died.returncode in (-getattr(signal, name), 128 + getattr(signal, name), 1, 130), died.stderr
    assert "from 0" in died.stdout
    again = run()
    assert again.returncode == 0, again.stderr
    assert "from 4" in again.stdout or "from 3" in again.stdout or "from 5" in again.stdout
    tuner = hpo.Tuner.load(tmp_path / "study.db")
    assert [list(record.curve) for record in tuner.trials] == [list(range(1, 9))] * 2
    assert not list(tmp_path.rglob("catboost.*.snapshot"))
    assert {record.state for record in tuner.trials} == {hpo.TrialState.COMPLETED}
