"""XGBoost training runs in several calls, in folds, with schedules, and inside scikit-learn."""

import contextlib
import shutil
import subprocess
import sys

import joblib
import numpy as np
import pytest
from sklearn.datasets import load_wine
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score
from support import save_always

import hpo_plugins as hpo

xgboost = pytest.importorskip("xgboost")
from hpo_plugins.integrations.xgboost import TrialCallback  # noqa: E402

SPACE = {"eta": hpo.Continuous(0.01, 0.5, scale="log")}
FIXED = {"objective": "multi:softprob", "num_class": 3, "nthread": 1, "max_depth": 2}
METRIC = hpo.Minimize("validation-mlogloss")


@pytest.fixture(scope="module")
def data():
    x, y = load_wine(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    return x[order], y[order]


@pytest.fixture(scope="module")
def matrices(data):
    x, y = data
    return [xgboost.DMatrix(x[part], y[part], nthread=1) for part in (slice(120), slice(120, None))]


class Rounds(xgboost.callback.TrainingCallback):
    """Which rounds other callbacks see; dies after some."""

    def __init__(self, die_after=None):
        self.seen, self.die_after = [], die_after

    def before_iteration(self, model, epoch, evals_log):
        if self.die_after is not None and len(self.seen) == self.die_after:
            self.die_after = None
            raise KeyboardInterrupt
        return False

    def after_iteration(self, model, epoch, evals_log):
        self.seen.append(epoch)
        return False


def train(matrices, rounds, *callbacks, params=None, **arguments):
    dtrain, dvalid = matrices
    return xgboost.train(
        FIXED | (params or {}), dtrain, rounds, evals=[(dvalid, "validation")], verbose_eval=False,
        callbacks=list(callbacks), **arguments
    )  # fmt: skip


def predict(booster, matrices):
    return booster.predict(matrices[1])


def interrupted(path, script, monkeypatch, die_after):
    """Run a script of one trial that dies after some rounds and is started again."""
    save_always(monkeypatch)
    rounds = Rounds(die_after)
    for _ in range(2):
        tuner = hpo.Tuner(SPACE, METRIC, max_trials=1, seed=0, storage=path)
        try:
            for trial in tuner:
                result = script(TrialCallback(trial), rounds)
        except KeyboardInterrupt:
            pass
    assert tuner.trials[0].state is hpo.TrialState.COMPLETED
    return result, rounds.seen, tuner.trials[0]


def test_total_is_that_of_the_given_model_plus_num_boost_round(matrices, tmp_path, monkeypatch):
    base = train(matrices, 10)

    def script(*callbacks):
        return train(matrices, 8, *callbacks, xgb_model=base)

    expected = script()
    found, seen, record = interrupted(tmp_path / "a.db", script, monkeypatch, die_after=6)
    assert found.num_boosted_rounds() == expected.num_boosted_rounds() == 18
    assert seen == list(range(8))
    assert list(record.curve) == list(range(11, 19))
    np.testing.assert_array_equal(predict(found, matrices), predict(expected, matrices))


@pytest.mark.parametrize("place", [0, 1], ids=["before ours", "after ours"])
def test_schedule_and_early_stopping_see_the_rounds_of_the_whole_training(matrices, tmp_path, monkeypatch, place):
    def script(*ours):
        callbacks = list(ours)
        callbacks.insert(place, xgboost.callback.LearningRateScheduler(lambda epoch: 0.3 / (1 + epoch)))
        callbacks.insert(place, xgboost.callback.EarlyStopping(rounds=30, save_best=True))
        result = {}
        return train(matrices, 40, *callbacks, evals_result=result), result

    expected, expected_result = script()
    (found, result), seen, _ = interrupted(tmp_path / "a.db", script, monkeypatch, die_after=17)
    assert seen == list(range(40))
    assert found.best_iteration == expected.best_iteration
    assert result == expected_result
    np.testing.assert_array_equal(predict(found, matrices), predict(expected, matrices))


@pytest.mark.parametrize("die_after", [2, 5, 6, 7, 14])
def test_chunks_are_phases(matrices, tmp_path, monkeypatch, die_after):
    def script(*callbacks):
        booster, losses = None, []
        for _ in range(3):
            result = {}
            booster = train(matrices, 5, *callbacks, xgb_model=booster, evals_result=result)
            losses += result["validation"]["mlogloss"]
        return booster, losses

    expected, expected_losses = script()
    (found, losses), _, record = interrupted(tmp_path / "a.db", script, monkeypatch, die_after)
    assert list(record.curve) == list(range(1, 16))
    assert losses == expected_losses == list(record.curve.values())
    np.testing.assert_array_equal(predict(found, matrices), predict(expected, matrices))


def test_chunks_that_are_paused_train_every_round_once(matrices):
    tuner = hpo.Tuner(SPACE, METRIC, strategy=hpo.Hyperband(max_resource=9, pause=True), max_trials=9, seed=0)
    for trial in tuner:
        booster = None
        for _ in range(3):
            booster = train(matrices, 3, TrialCallback(trial), params=trial.params, xgb_model=booster)
        assert booster.num_boosted_rounds() == tuner.trials[trial.number].epochs
    for record in tuner.trials:
        assert list(record.curve) == list(range(1, record.epochs + 1))
    assert any(t.attempts > 1 for t in tuner.trials)
    assert any(t.epochs == 9 for t in tuner.trials)


def test_phase_that_trains_nothing_returns_the_model_of_the_one_before(matrices):
    tuner = hpo.Tuner(SPACE, METRIC, strategy=hpo.Hyperband(max_resource=3), max_trials=1)
    for trial in tuner:
        first = train(matrices, 3, TrialCallback(trial))
        stopping = xgboost.callback.EarlyStopping(rounds=5, save_best=True)
        second = train(matrices, 5, TrialCallback(trial), stopping, xgb_model=first)
    np.testing.assert_array_equal(predict(first, matrices), predict(second, matrices))


def test_folds_of_estimators(data):
    x, y = data
    tuner = hpo.Tuner(
        SPACE, hpo.Minimize("validation_0-mlogloss"), strategy=hpo.Hyperband(max_resource=9), max_trials=9
    )
    for trial in tuner:
        for fold, (train_rows, rows) in zip(trial.folds(3), StratifiedKFold(3).split(x, y), strict=False):
            model = xgboost.XGBClassifier(
                n_estimators=9, learning_rate=trial["eta"], n_jobs=1, callbacks=[TrialCallback(fold)]
            )
            model.fit(x[train_rows], y[train_rows], eval_set=[(x[rows], y[rows])], verbose=False)
    best = tuner.best_trial
    assert best.state is hpo.TrialState.COMPLETED
    assert best.value == pytest.approx(np.mean([curve[9] for curve in best.folds]))
    assert best.std == pytest.approx(np.std([curve[9] for curve in best.folds]))
    assert {len(t.folds) for t in tuner.trials} >= {1, 3}


def estimator(trial):
    return xgboost.XGBClassifier(n_estimators=4, n_jobs=1, callbacks=[TrialCallback(trial)])


@pytest.mark.filterwarnings("ignore:One or more of the test scores are non-finite")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.FitFailedWarning")
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_scikit_learn_swallows_the_error_but_the_trial_fails(data, n_jobs, tmp_path):
    """Folds cannot be told apart there: the callback says so, and no fold's value stands for all."""
    x, y = data
    tuner = hpo.Tuner(SPACE, hpo.Minimize("validation_0-mlogloss"), max_trials=1, storage=tmp_path / "a.db")
    for trial in tuner:
        model = xgboost.XGBClassifier(n_estimators=4, n_jobs=1, callbacks=[TrialCallback(trial)])
        search = GridSearchCV(model, {"max_depth": [2, 3]}, cv=2, n_jobs=n_jobs, error_score=np.nan, refit=False)
        with contextlib.suppress(ValueError):  # scikit-learn's own, if no fit was the first, as with two processes
            search.fit(x, y, eval_set=[(x, y)], verbose=False)
    (record,) = tuner.trials
    assert record.state is hpo.TrialState.FAILED
    assert record.value is None


def test_cross_val_score_says_what_to_write(data):
    x, y = data
    tuner = hpo.Tuner(SPACE, hpo.Minimize("validation_0-mlogloss"), max_trials=1)
    with pytest.raises(hpo.InvalidReport, match=r"in scikit-learn's cross_val_score .* write that loop instead"):
        for trial in tuner:
            cross_val_score(
                estimator(trial), x, y, cv=2, error_score="raise", params={"eval_set": [(x, y)], "verbose": False}
            )
    assert tuner.trials[0].state is hpo.TrialState.FAILED


def test_what_cannot_be_restored_is_said_at_once_and_once(matrices, caplog):
    strategy = hpo.Hyperband(max_resource=9, pause=True)
    for trial in hpo.Tuner(SPACE, METRIC, strategy=strategy, max_trials=3, seed=0):
        train(matrices, 9, TrialCallback(trial), params={"subsample": 0.5, "colsample_bynode": 1})
    assert caplog.text.count("XGBoost cannot save the generator of its random draws (subsample=0.5)") == 1


def test_names_of_sagemaker_are_found(matrices):
    tuner = hpo.Tuner(SPACE, hpo.Minimize("validation:mlogloss"), max_trials=1)
    for trial in tuner:
        train(matrices, 3, TrialCallback(trial))
    assert set(tuner.trials[0].metrics[3]) == {"validation:mlogloss"}
    assert len(tuner.trials[0].curve) == 3
    request = hpo.sagemaker.request_from_tuner(tuner, job_name="wine")
    objective = request["HyperParameterTuningJobConfig"]["HyperParameterTuningJobObjective"]
    assert objective["MetricName"] == "validation:mlogloss"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda tuner, trial: tuner, "which yields the trials. Write: for trial in tuner"),
        (lambda tuner, trial: tuner.trials[0], "the record of a trial that is over"),
        (lambda tuner, trial: trial.params, "pass the trial itself, not trial.params"),
        (lambda tuner, trial: None, r"tuner.ask\(\) returns None when there is nothing to train"),
        (lambda tuner, trial: 7, "but got int: 7"),
    ],
)
def test_callback_says_what_it_must_be_given(given, message):
    tuner = hpo.Tuner(SPACE, METRIC)
    with pytest.raises(hpo.InvalidArgument, match=message):
        TrialCallback(given(tuner, tuner.ask()))


def test_folds_in_processes_of_joblib(data, tmp_path):
    def train_fold(x, y, fold, rows):  # local, so that joblib sends its code: the processes cannot import tests
        model = xgboost.XGBClassifier(n_estimators=4, n_jobs=1, callbacks=[TrialCallback(fold)])
        model.fit(np.delete(x, rows, 0), np.delete(y, rows), eval_set=[(x[rows], y[rows])], verbose=False)
        return model.evals_result()["validation_0"]["mlogloss"]

    x, y = data
    tuner = hpo.Tuner(SPACE, hpo.Minimize("validation_0-mlogloss"), max_trials=2, storage=tmp_path / "a.db")
    for trial in tuner:
        losses = joblib.Parallel(n_jobs=2)(
            joblib.delayed(train_fold)(x, y, fold, rows)
            for fold, (_, rows) in zip(trial.folds(3), StratifiedKFold(3).split(x, y), strict=False)
        )
        assert [list(curve.values()) for curve in tuner.trials[trial.number].folds] == losses
    assert [t.state for t in tuner.trials] == [hpo.TrialState.COMPLETED] * 2


DUMP = """
import sys, joblib, xgboost, numpy as np, hpo_plugins as hpo
from hpo_plugins.integrations.xgboost import TrialCallback
path, model_path = sys.argv[1:]
tuner = hpo.Tuner({"eta": hpo.Continuous(0, 1)}, hpo.Minimize("validation_0-rmse"), storage=path, max_trials=1)
x = np.arange(20.0).reshape(-1, 1)
for trial in tuner:
    model = xgboost.XGBRegressor(n_estimators=3, n_jobs=1, callbacks=[TrialCallback(trial)])
    model.fit(x, x[:, 0], eval_set=[(x, x[:, 0])], verbose=False)
    joblib.dump(model, model_path)
"""


def test_dumped_estimator_loads_where_the_study_is_not(tmp_path):
    study, dumped = tmp_path / "studies" / "secret.db", tmp_path / "model.joblib"
    study.parent.mkdir()
    subprocess.run([sys.executable, "-c", DUMP, study, dumped], check=True)
    shutil.rmtree(study.parent)
    assert b"secret" not in dumped.read_bytes()
    model = joblib.load(dumped)
    x = np.arange(20.0).reshape(-1, 1)
    assert model.predict(x).shape == (20,)
    assert not study.parent.exists()
    with pytest.raises(hpo.StorageError, match="remove TrialCallback"):
        model.fit(x, x[:, 0], eval_set=[(x, x[:, 0])], verbose=False)
    model.set_params(callbacks=None).fit(x, x[:, 0])


def paused_at(rounds, total=60):
    strategy = hpo.Hyperband(min_resource=rounds, max_resource=total, reduction_factor=total, pause=True)
    return hpo.Tuner(SPACE, METRIC, strategy=strategy, max_trials=1, seed=0)


def stopping_early(**arguments):
    return xgboost.callback.EarlyStopping(rounds=3, **arguments)


@pytest.mark.parametrize("place", [0, 1], ids=["before ours", "after ours"])
def test_early_stopping_at_the_round_of_a_pause_completes_the_trial(matrices, place):
    expected = train(matrices, 60, stopping_early(save_best=True), params={"eta": 2.0})
    tuner, rounds = paused_at(expected.best_iteration + 4), Rounds()
    for trial in tuner:
        callbacks = [rounds, TrialCallback(trial)]
        callbacks.insert(1 + place, stopping_early(save_best=True))
        found = train(matrices, 60, *callbacks, params={"eta": 2.0})
    (record,) = tuner.trials
    assert (record.state, record.attempts) == (hpo.TrialState.COMPLETED, 1)
    assert rounds.seen == list(range(record.epochs)) == list(range(expected.best_iteration + 4))
    np.testing.assert_array_equal(predict(found, matrices), predict(expected, matrices))


def test_rounds_of_each_phase_are_all_trained_over_pauses(matrices):
    strategy = hpo.Hyperband(max_resource=9, pause=True)
    tuner, trained = hpo.Tuner(SPACE, METRIC, strategy=strategy, max_trials=12, seed=0), {}
    for trial in tuner:
        booster, rounds = None, trained.setdefault(trial.number, [Rounds() for _ in range(3)])
        for n, phase in zip((4, 3, 2), rounds, strict=True):
            booster = train(matrices, n, TrialCallback(trial), phase, params=trial.params, xgb_model=booster)
    assert any(t.attempts > 1 and t.epochs == 9 for t in tuner.trials)
    for record in tuner.trials:
        e = record.epochs
        counts = [len(phase.seen) for phase in trained[record.number]]
        assert counts == [min(e, 4), max(0, min(e - 4, 3)), max(0, e - 7)]


def test_rounds_of_phases_in_folds_are_all_trained_over_pauses(data):
    x, y = data
    tuner = hpo.Tuner(SPACE, METRIC, strategy=hpo.Hyperband(max_resource=9, pause=True), max_trials=9, seed=0)
    trained = {}
    for trial in tuner:
        for fold, (one, other) in zip(trial.folds(2), StratifiedKFold(2).split(x, y), strict=False):
            parts = [xgboost.DMatrix(x[rows], y[rows], nthread=1) for rows in (one, other)]
            booster, rounds = None, trained.setdefault((trial.number, fold.number), [Rounds(), Rounds()])
            for n, phase in zip((4, 5), rounds, strict=True):
                booster = train(parts, n, TrialCallback(fold), phase, params=trial.params, xgb_model=booster)
    assert any(t.attempts > 1 and t.epochs == 9 for t in tuner.trials)
    for record in tuner.trials:
        for number, curve in enumerate(record.folds):
            counts = [len(phase.seen) for phase in trained[record.number, number]]
            assert counts == [min(len(curve), 4), max(0, len(curve) - 4)]


def test_phase_that_early_stopping_has_ended_is_over_when_a_script_left_at_the_pause(matrices):
    """The script asks whether to stop after its first phase, whose early stopping fired at the pause."""

    def script(callbacks, rounds, stops=lambda: False):
        first = train(matrices, 60, rounds[0], *callbacks(), stopping_early(save_best=True), params={"eta": 2.0})
        return first if stops() else train(matrices, 5, rounds[1], *callbacks(), xgb_model=first)

    alone = [Rounds(), Rounds()]
    expected = script(list, alone)
    tuner, rounds = paused_at(len(alone[0].seen)), [Rounds(), Rounds()]
    for trial in tuner:
        found = script(lambda trial=trial: [TrialCallback(trial)], rounds, lambda trial=trial: trial.should_stop)
    assert trial.attempt == 2
    assert [each.seen for each in rounds] == [each.seen for each in alone]
    np.testing.assert_array_equal(predict(found, matrices), predict(expected, matrices))


def test_chunks_of_early_stopping_with_the_best_model_resume_with_it(matrices):
    """The second phase begins with the best rounds of the first, also when it is paused."""

    def script(callbacks):
        first = train(matrices, 60, *callbacks(), stopping_early(save_best=True), params={"eta": 2.0})
        return train(matrices, 6, *callbacks(), xgb_model=first)

    first = train(matrices, 60, stopping_early(), params={"eta": 2.0})
    expected = script(list)
    for extra in (0, 2):  # at the end of the first phase, and within the second
        for trial in paused_at(first.num_boosted_rounds() + extra):
            found = script(lambda trial=trial: [TrialCallback(trial)])
        assert trial.attempt == 2
        np.testing.assert_array_equal(predict(found, matrices), predict(expected, matrices))


@pytest.mark.parametrize("interval", [1, 3])
def test_files_of_training_checkpoint_are_those_of_an_uninterrupted_training(matrices, tmp_path, interval):
    def script(folder, *callbacks):
        folder.mkdir(exist_ok=True)
        saving = xgboost.callback.TrainingCheckPoint(folder, interval=interval)
        train(matrices, 12, *callbacks, saving)
        return {path.name: xgboost.Booster(model_file=path).num_boosted_rounds() for path in folder.iterdir()}

    expected = script(tmp_path / "whole")
    for trial in paused_at(5, total=12):
        found = script(tmp_path / "paused", TrialCallback(trial))
    assert trial.attempt == 2
    assert found == expected


CONSTRAINED = [
    {"monotone_constraints": {"f1": 1, "f3": -1}},
    {"interaction_constraints": [["f0", "f1"], ["f2", "f3", "f4"]]},
    [("eval_metric", "merror"), ("eval_metric", "mlogloss"), ("monotone_constraints", {"f1": 1})],
    {"eval_metric": ["merror", "mlogloss"], "monotone_constraints": (0, 1), "interaction_constraints": "[[0, 1]]"},
]


@pytest.mark.parametrize("parameters", CONSTRAINED, ids=["monotone", "interaction", "pairs", "metrics"])
def test_parameters_are_prepared_on_resume_as_xgboost_does(data, parameters):
    x, y = data
    names = [f"f{n}" for n in range(5)]
    parts = [xgboost.DMatrix(x[r, :5], y[r], nthread=1, feature_names=names) for r in (slice(120), slice(120, None))]
    fixed = list(FIXED.items()) + parameters if isinstance(parameters, list) else FIXED | parameters

    def script(*callbacks):
        evals, log = [(parts[1], "validation")], {}
        xgboost.train(fixed, parts[0], 9, evals=evals, verbose_eval=False, callbacks=callbacks, evals_result=log)
        return log

    for trial in paused_at(3, total=9):
        found = script(TrialCallback(trial))
    assert trial.attempt == 2
    assert found == script()


def test_checkpoint_of_other_features_is_an_error_that_leaves_the_trial(data):
    x, y = data
    tuner = paused_at(3, total=9)
    with pytest.raises(hpo.CheckpointError, match=r"is of another model: .*'f0'.*'g0'.* tuner.restart\(0\)"):
        for letter, trial in zip("fg", tuner, strict=False):
            names = [f"{letter}{n}" for n in range(x.shape[1])]
            parts = [xgboost.DMatrix(x[r], y[r], nthread=1, feature_names=names) for r in (slice(120), slice(120, 170))]
            train(parts, 9, TrialCallback(trial))
    assert not tuner.trials[0].state.is_final


@pytest.mark.parametrize("shared", [True, False])
def test_folder_of_several_trials_is_said_once(matrices, tmp_path, shared, caplog):
    strategy = hpo.Hyperband(max_resource=3, pause=True)
    for trial in hpo.Tuner(SPACE, METRIC, strategy=strategy, max_trials=3, seed=0):
        folder = tmp_path / ("all" if shared else str(trial.number))
        folder.mkdir(exist_ok=True)
        train(matrices, 3, TrialCallback(trial), xgboost.callback.TrainingCheckPoint(folder, interval=1))
    assert caplog.text.count("TrainingCheckPoint writes to") == shared
