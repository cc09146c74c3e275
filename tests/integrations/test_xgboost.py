import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer

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


def test_stop_returns_the_partial_model_and_shows_the_last_round_to_all(matrices):
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


def test_second_training_on_one_trial_is_an_error_that_names_the_ways_out(matrices):
    tuner = tuner_for()
    trial = tuner.ask()
    train(trial, matrices)
    with pytest.raises(hpo.InvalidReport, match=r"must not go backwards, but got epoch=1 after epoch=12 .* xgboost.cv"):
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
