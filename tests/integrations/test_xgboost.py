import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer
from support import save_always, session_of

import hpo_plugins as hpo

xgboost = pytest.importorskip("xgboost")
from hpo_plugins.integrations.xgboost import TrialCallback  # noqa: E402

FIXED = {"objective": "binary:logistic", "nthread": 1, "max_depth": 3}
SPACE = {"eta": hpo.Categorical([0.3, 1e-6])}


@pytest.fixture(scope="module")
def data():
    x, y = load_breast_cancer(return_X_y=True)
    return (x[:400], y[:400]), (x[400:], y[400:])


@pytest.fixture(scope="module")
def matrices(data):
    return [xgboost.DMatrix(*part, nthread=1) for part in data]


class Spy(xgboost.callback.TrainingCallback):
    """Another callback, after ours: must see every round and the end."""

    def __init__(self):
        self.rounds, self.ended = [], False

    def after_iteration(self, model, epoch, evals_log):
        self.rounds.append(epoch)
        return False

    def after_training(self, model):
        self.ended = True
        return model


def tuner_for(metric="validation-logloss", strategy=None, objective=hpo.Minimize, **arguments):
    strategy = strategy or hpo.Grid()
    return hpo.Tuner(SPACE, objective(metric), strategy=strategy, seed=0, **arguments)


def train(trial, matrices, rounds=12, **arguments):
    dtrain, dvalid = matrices
    callbacks = [TrialCallback(trial), *arguments.pop("after", [])]
    parameters = FIXED | trial.params | arguments.pop("params", {})
    evals = [(dtrain, "train"), (dvalid, "validation")]
    return xgboost.train(parameters, dtrain, rounds, evals=evals, verbose_eval=False, callbacks=callbacks, **arguments)


def test_every_round_is_recorded_with_all_metrics(matrices):
    tuner = tuner_for()
    for trial in tuner:
        result = {}
        train(trial, matrices, evals_result=result, params={"eval_metric": ["logloss", "auc"]})
        record = tuner.trials[trial.number]
        assert list(record.curve) == list(range(1, 13))
        assert list(record.curve.values()) == result["validation"]["logloss"]
        assert set(record.metrics[1]) == {"train-logloss", "train-auc", "validation-logloss", "validation-auc"}
    assert {t.state for t in tuner.trials} == {hpo.TrialState.COMPLETED}
    assert tuner.trials[0].stop_reason == "the training ended by itself at epoch 12"


def test_stop_returns_the_partial_model_after_a_whole_round(matrices):
    tuner = tuner_for(strategy=hpo.Hyperband(max_resource=5))
    trial, result, spy = tuner.ask(), {}, Spy()
    booster = train(trial, matrices, evals_result=result, after=[spy])
    trial.end()
    assert booster.num_boosted_rounds() == 5
    assert spy.rounds == [0, 1, 2, 3, 4]
    assert spy.ended
    assert len(result["validation"]["logloss"]) == 5
    assert tuner.trials[0].stop_reason == "reached max_resource=5"


def test_own_early_stopping_beside_it_keeps_working(matrices):
    tuner = tuner_for(strategy=hpo.Hyperband(max_resource=50))
    trial = tuner.ask()
    booster = train(trial, matrices, rounds=50, params={"eta": 1.0}, early_stopping_rounds=2)
    trial.end()
    assert booster.best_iteration == tuner.trials[0].epochs - 3
    assert tuner.trials[0].state is hpo.TrialState.COMPLETED


def test_continued_training_counts_on(matrices):
    first = xgboost.train(FIXED, matrices[0], 4)
    tuner = tuner_for(strategy=hpo.Hyperband(max_resource=7))
    trial = tuner.ask()
    booster = train(trial, matrices, xgb_model=first)
    assert list(tuner.trials[0].curve) == [5, 6, 7]
    assert booster.num_boosted_rounds() == 7


@pytest.mark.parametrize("booster", [{"booster": "dart"}, {"num_parallel_tree": 3}, {"booster": "gblinear"}])
def test_rounds_are_counted_for_every_booster(booster, matrices):
    tuner = tuner_for(strategy=hpo.Hyperband(max_resource=3))
    parameters = FIXED | booster | ({} if booster.get("booster") != "gblinear" else {"max_depth": 3})
    parameters = {
        k: v for k, v in parameters.items() if not (booster.get("booster") == "gblinear" and k == "max_depth")
    }
    first = xgboost.train(parameters, matrices[0], 1)
    trial = tuner.ask()
    xgboost.train(
        parameters, matrices[0], 9, evals=[(matrices[1], "validation")], verbose_eval=False, xgb_model=first,
        callbacks=[TrialCallback(trial)],
    )  # fmt: skip
    assert list(tuner.trials[0].curve) == [2, 3]


def test_cv_reports_the_mean_and_keeps_the_deviation(matrices):
    tuner = tuner_for("test-logloss", strategy=hpo.Hyperband(max_resource=4))
    trial = tuner.ask()
    table = xgboost.cv(FIXED | trial.params, matrices[0], 9, nfold=3, seed=0, callbacks=[TrialCallback(trial)])
    record = tuner.trials[0]
    assert len(table) == 4
    assert list(record.curve.values()) == pytest.approx(list(table["test-logloss-mean"]), abs=1e-12)
    deviations = [record.metrics[e]["test-logloss-std"] for e in record.curve]
    assert deviations == pytest.approx(list(table["test-logloss-std"]), abs=1e-12)
    assert min(deviations) > 0


def test_sklearn_class_takes_it_in_the_constructor(data):
    tuner = tuner_for("validation_0-logloss", strategy=hpo.Hyperband(max_resource=4))
    trial = tuner.ask()
    model = xgboost.XGBClassifier(n_estimators=9, n_jobs=1, callbacks=[TrialCallback(trial)], **trial.params)
    model.fit(*data[0], eval_set=[data[1]], verbose=False)
    trial.end()
    assert model.get_booster().num_boosted_rounds() == 4
    assert list(tuner.trials[0].curve.values()) == model.evals_result()["validation_0"]["logloss"]


def test_cloned_and_pickled_estimators_report_to_the_same_trial(data):
    tuner = tuner_for("validation_0-logloss")
    trial = tuner.ask()
    model = clone(xgboost.XGBClassifier(n_estimators=3, n_jobs=1, callbacks=[TrialCallback(trial)]))
    model.fit(*data[0], eval_set=[data[1]], verbose=False)
    assert tuner.trials[0].epochs == 3
    back = pickle.loads(pickle.dumps(model))
    assert np.array_equal(back.predict(data[1][0]), model.predict(data[1][0]))
    assert back.callbacks[0]._trial.params == trial.params


def test_second_training_on_one_trial_is_an_error(matrices):
    tuner = tuner_for()
    trial = tuner.ask()
    train(trial, matrices)
    with pytest.raises(hpo.InvalidReport, match=r"trial.folds\(n\).*second phase.*pass xgb_model="):
        train(trial, matrices)


@pytest.mark.parametrize(
    ("metric", "nearest"), [("valid-logloss", "validation-logloss"), ("validation_logloss", "validation-logloss")]
)
def test_missing_metric_is_named_after_the_first_round(metric, nearest, matrices):
    tuner = tuner_for(metric)
    expected = (
        f"{metric!r} was not reported after the first epoch. Reported: 'train-logloss', 'validation-logloss'. "
        f"Did you mean {nearest!r}"
    )
    with pytest.raises(hpo.MetricNotFound) as caught:
        for trial in tuner:
            train(trial, matrices)
    assert expected in str(caught.value)
    assert tuner.trials[0].state is hpo.TrialState.FAILED
    assert tuner.trials[0].error.startswith("MetricNotFound: ")


def test_training_without_evals_is_told_so(matrices):
    with pytest.raises(hpo.MetricNotFound, match="No metric was reported"):
        for trial in tuner_for():
            xgboost.train(FIXED, matrices[0], 3, callbacks=[TrialCallback(trial)])


def test_nan_metric_fails_the_trial(matrices):
    tuner = tuner_for("validation-bad")
    trial = tuner.ask()
    booster = train(
        trial, matrices, custom_metric=lambda p, d: ("bad", float("nan")), params={"disable_default_eval_metric": 1}
    )
    trial.end()
    assert booster.num_boosted_rounds() == 1
    assert tuner.trials[0].error == "validation-bad was nan at epoch 1"


def test_result_is_the_same_as_without_the_callback(matrices):
    parameters = FIXED | {"subsample": 0.7, "colsample_bytree": 0.7, "seed": 3, "eta": 0.3}
    plain = xgboost.train(parameters, matrices[0], 12)
    tuned = train(tuner_for().ask(), matrices, params=parameters)
    assert np.array_equal(plain.predict(matrices[1]), tuned.predict(matrices[1]))


# Pause and resume.

TREES = {"objective": "binary:logistic", "nthread": 1, "eta": 0.3, "max_depth": 3}


def pausing(metric="validation-logloss", at=4, total=12, **arguments):
    """A tuner whose one trial is paused after ``at`` rounds."""
    strategy = hpo.Hyperband(min_resource=at, max_resource=total, reduction_factor=total, pause=True)
    arguments = {"max_trials": 1, "seed": 0} | arguments
    return hpo.Tuner({"x": hpo.Continuous(0, 1)}, hpo.Minimize(metric), strategy=strategy, **arguments)


def train_plainly(matrices, params, rounds=12, callbacks=(), **arguments):
    dtrain, dvalid = matrices
    return xgboost.train(
        params, dtrain, rounds, evals=[(dvalid, "validation")], verbose_eval=False, callbacks=callbacks, **arguments
    )


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"tree_method": "exact"},
        {"tree_method": "approx"},
        {"multi_strategy": "multi_output_tree"},
        {"booster": "gblinear", "max_depth": None},
        {"booster": "dart", "rate_drop": 0.3, "seed_per_iteration": True},
    ],
    ids=str,
)
def test_resumed_training_is_bit_identical(change, matrices):
    params = {name: value for name, value in (TREES | change).items() if value is not None}
    whole, resumed = {}, {}
    expected = train_plainly(matrices, params, evals_result=whole)
    starts = []
    for trial in pausing():
        starts.append(trial.start_epoch)
        model = train_plainly(matrices, params, callbacks=[TrialCallback(trial)], evals_result=resumed)
    assert starts == [0, 4]
    assert model.num_boosted_rounds() == 12
    assert np.array_equal(model.predict(matrices[1]), expected.predict(matrices[1]))
    assert resumed == whole


def test_resumed_training_with_sampling_draws_anew(matrices):
    """XGBoost cannot save its generator: not the same rows, but not those of the first rounds again either."""
    params = TREES | {"subsample": 0.5, "seed": 3}
    for trial in pausing(total=8):
        model = train_plainly(matrices, params, rounds=8, callbacks=[TrialCallback(trial)])
    counts = model.trees_to_dataframe().query("ID.str.endswith('-0')")["Cover"].tolist()
    assert len(counts) == 8
    assert counts[:4] != counts[4:]


def test_early_stopping_counts_on(matrices):
    params = TREES | {"eta": 1.5}
    expected = train_plainly(matrices, params, rounds=60, early_stopping_rounds=4)
    at = expected.num_boosted_rounds() - 2
    for trial in pausing(at=at, total=60):
        model = train_plainly(matrices, params, rounds=60, callbacks=[TrialCallback(trial)], early_stopping_rounds=4)
    assert model.num_boosted_rounds() == expected.num_boosted_rounds()
    assert (model.best_iteration, model.best_score) == (expected.best_iteration, expected.best_score)


def test_num_boost_round_stays_the_total_below_max_resource(matrices):
    tuner = pausing(total=50)
    for trial in tuner:
        model = train_plainly(matrices, TREES, rounds=9, callbacks=[TrialCallback(trial)])
    assert model.num_boosted_rounds() == tuner.trials[0].epochs == 9


def test_sklearn_class_resumes(data):
    expected = xgboost.XGBClassifier(n_estimators=12, n_jobs=1).fit(*data[0], eval_set=[data[1]], verbose=False)
    for trial in pausing("validation_0-logloss"):
        model = xgboost.XGBClassifier(n_estimators=12, n_jobs=1, callbacks=[TrialCallback(trial)])
        model.fit(*data[0], eval_set=[data[1]], verbose=False)
    assert np.array_equal(model.predict_proba(data[1][0]), expected.predict_proba(data[1][0]))
    assert model.evals_result() == expected.evals_result()
    pickle.dumps(model)


def test_cv_resumes(matrices):
    expected = xgboost.cv(TREES, matrices[0], 12, nfold=3, seed=1)
    tuner = pausing("test-logloss")
    for trial in tuner:
        table = xgboost.cv(TREES, matrices[0], 12, nfold=3, seed=1, callbacks=[TrialCallback(trial)])
    assert list(tuner.trials[0].curve.values()) == list(expected["test-logloss-mean"])
    assert len(table) == 8


def test_killed_training_resumes_from_its_checkpoint(matrices, tmp_path, monkeypatch):
    save_always(monkeypatch)
    expected = train_plainly(matrices, TREES)

    class Interrupt(xgboost.callback.TrainingCallback):
        def after_iteration(self, model, epoch, evals_log):
            if epoch == 6:
                raise KeyboardInterrupt
            return False

    def make():
        return pausing(storage=tmp_path / "a.db", at=12)

    with pytest.raises(KeyboardInterrupt):
        for trial in make():
            train_plainly(matrices, TREES, callbacks=[TrialCallback(trial), Interrupt()])
    for trial in make():
        assert trial.start_epoch == 6  # round 7 was reported and not yet saved
        model = train_plainly(matrices, TREES, callbacks=[TrialCallback(trial)])
    assert np.array_equal(model.predict(matrices[1]), expected.predict(matrices[1]))


def damage(path, how):
    content = path.read_bytes()
    path.write_bytes(
        {"truncated": content[: len(content) // 2], "flipped": content[:200] + b"\xff" + content[201:]}[how]
    )


@pytest.mark.parametrize("how", ["truncated", "flipped"])
def test_damaged_checkpoint_is_an_error_and_the_trial_stays(how, matrices, tmp_path):
    tuner = pausing(storage=tmp_path / "a.db")
    trial = tuner.ask()
    train_plainly(matrices, TREES, callbacks=[TrialCallback(trial)])
    trial.end()
    damage(next(tmp_path.rglob("epoch-*")), how)
    with pytest.raises(hpo.CheckpointError, match=r"is damaged or not written by XGBoost: .* tuner.restart\(0\)"):
        for trial in tuner:
            train_plainly(matrices, TREES, callbacks=[TrialCallback(trial)])
    assert tuner.trials[0].state is hpo.TrialState.RUNNING
    tuner.restart(0)
    for trial in tuner:
        train_plainly(matrices, TREES, callbacks=[TrialCallback(trial)])
    assert tuner.trials[0].state is hpo.TrialState.COMPLETED


def test_checkpoint_of_another_model_is_an_error(matrices, data):
    tuner = pausing()
    trial = tuner.ask()
    train_plainly(matrices, TREES, callbacks=[TrialCallback(trial)])
    trial.end()
    with pytest.raises(hpo.CheckpointError, match="is of another model: .*'objective': 'binary:logistic'"):
        train_plainly(matrices, TREES | {"booster": "dart"}, callbacks=[TrialCallback(tuner.ask())])
    session_of(tuner).release_all()
    fewer = [xgboost.DMatrix(x[:, :5], y, nthread=1) for x, y in data]
    with pytest.raises(hpo.CheckpointError, match="'features': 30.*'features': 5"):
        train_plainly(fewer, TREES, callbacks=[TrialCallback(tuner.ask())])


def test_bayesian_search_pauses_and_repeats_no_round(matrices, tmp_path):
    """The whole way, with nothing in the training run but the callback: each curve is the uninterrupted training's."""
    tuner = hpo.Tuner(
        {"eta": hpo.Continuous(1e-2, 1.0, scale="log"), "max_depth": hpo.Integer(1, 6)},
        hpo.Minimize("validation-logloss"),
        strategy=hpo.Bayesian(max_resource=21, pause=True),
        max_trials=10,
        storage=tmp_path / "study.db",
        seed=0,
    )
    rounds = 0
    for trial in tuner:
        booster = train_plainly(matrices, TREES | trial.params, rounds=21, callbacks=[TrialCallback(trial)])
        rounds += booster.num_boosted_rounds() - trial.start_epoch
    assert max(t.attempts for t in tuner.trials) > 1
    assert rounds == sum(t.epochs for t in tuner.trials) < 10 * 21
    for trial in tuner.trials:
        log = {}
        train_plainly(matrices, TREES | trial.params, rounds=trial.epochs, evals_result=log)
        assert list(trial.curve.values()) == log["validation"]["logloss"]
